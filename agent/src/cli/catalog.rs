//! `lictor catalog ...`: datacenters, nodes and services of the catalog.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use anyhow::Context;
use lictor_api::types::catalog::{CatalogService, Node, NodeServices};

use super::{Verb, api_flags::ApiFlags, output};

/// Flags of `catalog datacenters`.
#[derive(Debug, clap::Args)]
pub struct DatacentersVerb {
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for DatacentersVerb {
    const PATH: &'static str = "catalog datacenters";
    const ABOUT: &'static str = "List the datacenters";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let names: Vec<String> = self
            .api
            .client()?
            .get_json("/v1/catalog/datacenters", &[])
            .await
            .context("Error listing datacenters")?;
        names.iter().for_each(output::line);
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `catalog nodes`.
#[derive(Debug, clap::Args)]
pub struct NodesVerb {
    /// Show tagged addresses and meta too
    #[arg(long)]
    detailed: bool,
    /// Only nodes that match this filter expression
    #[arg(long)]
    filter: Option<String>,
    /// Sort by the round-trip time to this node
    #[arg(long)]
    near: Option<String>,
    /// Only nodes with this meta, as key=value; may be given several times
    #[arg(long)]
    node_meta: Vec<String>,
    /// Only nodes that run this service
    #[arg(long)]
    service: Option<String>,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for NodesVerb {
    const PATH: &'static str = "catalog nodes";
    const ABOUT: &'static str = "List the nodes";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.api.client()?;
        let meta: Vec<String> =
            self.node_meta.iter().map(|pair| pair.replacen('=', ":", 1)).collect();
        let mut query: Vec<(&str, &str)> =
            meta.iter().map(|pair| ("node-meta", pair.as_str())).collect();
        query.extend(self.near.as_deref().map(|near| ("near", near)));
        query.extend(self.filter.as_deref().map(|filter| ("filter", filter)));
        let nodes: Vec<Node> = match &self.service {
            None => {
                client.get_json("/v1/catalog/nodes", &query).await.context("Error listing nodes")?
            }
            Some(service) => {
                let rows: Vec<CatalogService> = client
                    .get_json(&format!("/v1/catalog/service/{service}"), &query)
                    .await
                    .context("Error listing nodes")?;
                let mut seen = BTreeSet::new();
                rows.into_iter().filter(|row| seen.insert(row.node.clone())).map(node_of).collect()
            }
        };
        if nodes.is_empty() {
            output::error_line("No nodes match the given query - try expanding your search.");
            return Ok(ExitCode::SUCCESS);
        }
        output::table(&self.rows(&nodes));
        Ok(ExitCode::SUCCESS)
    }
}

fn node_of(row: CatalogService) -> Node {
    Node {
        id: row.id,
        name: row.node,
        address: row.address,
        datacenter: row.datacenter,
        tagged_addresses: row.tagged_addresses,
        meta: row.node_meta,
        ..Node::default()
    }
}

impl NodesVerb {
    fn rows(&self, nodes: &[Node]) -> Vec<Vec<String>> {
        let pairs = |map: &BTreeMap<String, String>| {
            map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
        };
        let header = output::row(["Node", "ID", "Address", "DC"]);
        if !self.detailed {
            let row = |node: &Node| {
                output::row([
                    &node.name,
                    node.id.get(..8).unwrap_or(&node.id),
                    &node.address,
                    &node.datacenter,
                ])
            };
            return std::iter::once(header).chain(nodes.iter().map(row)).collect();
        }
        let header = output::row(["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"]);
        let row = |node: &Node| {
            output::row([
                &node.name,
                &node.id,
                &node.address,
                &node.datacenter,
                &pairs(&node.tagged_addresses),
                &pairs(&node.meta),
            ])
        };
        std::iter::once(header).chain(nodes.iter().map(row)).collect()
    }
}

/// Flags of `catalog services`.
#[derive(Debug, clap::Args)]
pub struct ServicesVerb {
    /// Only services on this node
    #[arg(long)]
    node: Option<String>,
    /// Only services on nodes with this meta, as key=value; may be given several times
    #[arg(long)]
    node_meta: Vec<String>,
    /// Show each service's tags
    #[arg(long)]
    tags: bool,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for ServicesVerb {
    const PATH: &'static str = "catalog services";
    const ABOUT: &'static str = "List the services";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.api.client()?;
        let meta: Vec<String> =
            self.node_meta.iter().map(|pair| pair.replacen('=', ":", 1)).collect();
        let query: Vec<(&str, &str)> =
            meta.iter().map(|pair| ("node-meta", pair.as_str())).collect();
        let services: BTreeMap<String, Vec<String>> = match &self.node {
            None => client
                .get_json("/v1/catalog/services", &query)
                .await
                .context("Error listing services")?,
            Some(node) => {
                let found: Option<NodeServices> = client
                    .get_json(&format!("/v1/catalog/node/{node}"), &query)
                    .await
                    .context("Error listing services")?;
                let services = found.unwrap_or_default().services.into_values();
                services.map(|service| (service.service.to_string(), service.tags)).collect()
            }
        };
        if !self.tags {
            services.keys().for_each(output::line);
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Vec<String>> = services
            .into_iter()
            .map(|(name, mut tags)| {
                tags.sort();
                vec![name, tags.join(",")]
            })
            .collect();
        output::table(&rows);
        Ok(ExitCode::SUCCESS)
    }
}
