//! `lictor rtt`: the estimated round-trip time between two nodes.

use std::process::ExitCode;

use anyhow::{Context, bail};
use lictor_api::{
    client::Client,
    types::coordinate::{Coordinate, DatacenterMap, Entry},
};
use serde::Deserialize;

use super::{Verb, api_flags::AgentFlags, output};

/// Flags of `rtt`.
#[derive(Debug, clap::Args)]
pub struct RttVerb {
    /// Between servers over the WAN, as name or name.datacenter
    #[arg(long)]
    wan: bool,
    /// One node, or two
    nodes: Vec<String>,
    #[command(flatten)]
    api: AgentFlags,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentSelf {
    config: AgentConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    node_name: String,
    datacenter: String,
}

impl Verb for RttVerb {
    const PATH: &'static str = "rtt";
    const ABOUT: &'static str = "Estimate the network round trip between two nodes";
    const DETAILS: &'static str = "\
Examples:
  lictor rtt n1         from this agent's node
  lictor rtt n1 n2
  lictor rtt -wan n1.dc1 n2.dc2";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.api.client()?;
        let (from, to) = match self.nodes.as_slice() {
            [] => bail!("At least one node name must be specified"),
            [one] => (own_name(&client, self.wan).await?, one.clone()),
            [from, to] => (from.clone(), to.clone()),
            _ => bail!("Too many node names were specified"),
        };
        let (from_at, to_at) = if self.wan {
            let maps: Vec<DatacenterMap> = client
                .get_json("/v1/coordinate/datacenters", &[])
                .await
                .context("Error getting coordinates")?;
            let entries: Vec<Entry> = maps.into_iter().flat_map(|map| map.coordinates).collect();
            (find(&entries, &from)?, find(&entries, &to)?)
        } else {
            let entries: Vec<Entry> = client
                .get_json("/v1/coordinate/nodes", &[])
                .await
                .context("Error getting coordinates")?;
            (find(&entries, &from)?, find(&entries, &to)?)
        };
        let milliseconds = from_at.seconds_to(&to_at) * 1000.0;
        let pool = if self.wan { "WAN" } else { "LAN" };
        output::line(format!(
            "Estimated {from} <-> {to} rtt: {milliseconds:.3} ms (using {pool} coordinates)"
        ));
        Ok(ExitCode::SUCCESS)
    }
}

async fn own_name(client: &Client, wan: bool) -> anyhow::Result<String> {
    let agent: AgentSelf =
        client.get_json("/v1/agent/self", &[]).await.context("Unable to look up agent info")?;
    let AgentConfig { node_name, datacenter } = agent.config;
    Ok(if wan { format!("{node_name}.{datacenter}") } else { node_name })
}

fn find(entries: &[Entry], node: &str) -> anyhow::Result<Coordinate> {
    entries
        .iter()
        .find(|entry| entry.node == node)
        .map(|entry| entry.coord.clone())
        .with_context(|| format!("Could not find a coordinate for node {node:?}"))
}
