//! `/v1/catalog/`: nodes, services and instances as the servers know them (Consul "Catalog HTTP
//! API").

mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lictor_api::{
    NodeName, ServiceName,
    types::catalog::{CatalogService, Node, NodeService},
};
use lictor_core::{
    acl::Access,
    state::{Instance, Topic, catalog::fold},
};
use serde::Serialize;
pub(super) use write::{
    check_type, deregister, existing, register, removed_node, validate_service, written_node,
    written_service,
};

use super::{Context, HttpError, Request, Response, near::Near};
use crate::telemetry::metrics;

/// `GET /v1/catalog/datacenters`.
pub(super) async fn datacenters(cx: Context, _: Request) -> Result<Response, HttpError> {
    let own = cx.agent.config.load().datacenter.clone();
    let mut names = cx.agent.forwarder.servers().datacenters();
    names.retain(|name| *name != own);
    names.insert(0, own);
    Response::json(&names)
}

/// `GET /v1/catalog/nodes`.
pub(super) async fn nodes(cx: Context, request: Request) -> Result<Response, HttpError> {
    let filter = request.filter::<Node>()?;
    let meta_filter = request.node_meta();
    let near = Near::new(&cx, &request);
    let (meta, nodes) = cx
        .read_catalog(&request, |state, topics| -> Vec<Arc<Node>> {
            topics.add(Topic::Nodes);
            let nodes = state.catalog.nodes();
            let mut nodes: Vec<_> =
                nodes.filter(|node| has_meta(node, &meta_filter)).cloned().collect();
            near.sort(state, &mut nodes, |node| &node.name);
            nodes
        })
        .await?;
    Ok(Response::json(&filter.apply(nodes)?)?.with_meta(&meta))
}

/// `GET /v1/catalog/services`: every service's name with the tags of all its instances.
pub(super) async fn services(cx: Context, request: Request) -> Result<Response, HttpError> {
    let filter = request.filter::<CatalogService>()?;
    let meta_filter = request.node_meta();
    let (meta, instances) = cx
        .read_catalog(&request, |state, topics| -> Vec<(Arc<Node>, Arc<NodeService>)> {
            topics.add(Topic::Services);
            if !meta_filter.is_empty() {
                topics.add(Topic::Nodes);
            }
            let instances = state.catalog.instances();
            let chosen = instances.filter(|instance| has_meta(instance.node, &meta_filter));
            chosen.map(|instance| (instance.node.clone(), instance.service.clone())).collect()
        })
        .await?;
    let mut services: BTreeMap<&ServiceName, BTreeSet<&str>> = BTreeMap::new();
    for (node, service) in &instances {
        if filter.is_empty() || filter.passes(&CatalogService::new(node, service))? {
            let tags = services.entry(&service.service).or_default();
            tags.extend(service.tags.iter().map(String::as_str));
        }
    }
    Ok(Response::json(&services)?.with_meta(&meta))
}

/// `GET /v1/catalog/service/:name`.
pub(super) async fn service(cx: Context, request: Request) -> Result<Response, HttpError> {
    instances(cx, request, false).await
}

/// `GET /v1/catalog/connect/:name`: the service's mesh endpoints.
pub(super) async fn connect(cx: Context, request: Request) -> Result<Response, HttpError> {
    instances(cx, request, true).await
}

async fn instances(cx: Context, request: Request, mesh: bool) -> Result<Response, HttpError> {
    let queries =
        if mesh { &metrics::CATALOG_CONNECT_QUERY } else { &metrics::CATALOG_SERVICE_QUERY };
    queries.increment();
    let filter = request.filter::<CatalogService>()?;
    let query = InstanceQuery::new(&request, mesh)?;
    let near = Near::new(&cx, &request);
    cx.authorize(&Access::Service { name: &query.name, write: false, of_pod: false })?;
    let (meta, rows) = cx
        .read_catalog(&request, |state, topics| {
            let row = |i: Instance<'_>| CatalogService::new(i.node, i.service);
            let mut rows = query.select(state, topics, row);
            near.sort(state, &mut rows, |row| &row.node);
            rows
        })
        .await?;
    Ok(Response::json(&filter.apply(rows)?)?.with_meta(&meta))
}

/// `GET /v1/catalog/node/:node`: a node with its instances by ID; `null` without such a node.
pub(super) async fn node(cx: Context, request: Request) -> Result<Response, HttpError> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Row<'a> {
        node: &'a Node,
        services: BTreeMap<&'a str, &'a NodeService>,
    }
    let (meta, node, services) = on_node(&cx, &request).await?;
    let row = node.as_ref().map(|node| Row {
        node,
        services: services.iter().map(|service| (service.id.as_str(), &**service)).collect(),
    });
    Ok(Response::json(&row)?.with_meta(&meta))
}

/// `GET /v1/catalog/node-services/:node`: a node with a list of its instances.
pub(super) async fn node_services(cx: Context, request: Request) -> Result<Response, HttpError> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Row {
        node: Option<Arc<Node>>,
        services: Vec<Arc<NodeService>>,
    }
    let (meta, node, services) = on_node(&cx, &request).await?;
    Ok(Response::json(&Row { node, services })?.with_meta(&meta))
}

type OnNode = (lictor_api::query::QueryMeta, Option<Arc<Node>>, Vec<Arc<NodeService>>);

async fn on_node(cx: &Context, request: &Request) -> Result<OnNode, HttpError> {
    let filter = request.filter::<NodeService>()?;
    let name = NodeName::from(request.tail());
    if name.is_empty() {
        return Err(HttpError::MissingNodeName);
    }
    cx.authorize(&Access::Node { name: &name, write: false, synthetic: false })?;
    let (meta, (node, services)) = cx
        .read_catalog(request, |state, topics| {
            topics.add(Topic::Node(fold(&name)));
            let services: Vec<_> = state.catalog.node_services(&name).cloned().collect();
            (state.catalog.node(&name).cloned(), services)
        })
        .await?;
    Ok((meta, node, filter.apply(services)?))
}

/// What the endpoints that list instances of a service have in common.
pub(super) struct InstanceQuery {
    /// The service.
    pub(super) name: ServiceName,
    mesh: bool,
    tags: Vec<String>,
    node_meta: Vec<(String, String)>,
}

impl InstanceQuery {
    /// Reads name, `tag` and `node-meta`; `mesh` asks for the service's mesh endpoints.
    pub(super) fn new(request: &Request, mesh: bool) -> Result<Self, HttpError> {
        if request.tail().is_empty() {
            return Err(HttpError::MissingServiceName);
        }
        Ok(Self {
            name: request.tail().into(),
            mesh,
            tags: request.params("tag").filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            node_meta: request.node_meta(),
        })
    }

    /// The rows of the instances asked for.
    pub(super) fn select<T>(
        &self,
        state: &lictor_core::state::State,
        topics: &mut lictor_core::state::WatchSet,
        mut row: impl FnMut(Instance<'_>) -> T,
    ) -> Vec<T> {
        let mut rows = Vec::new();
        let mut push = |instance: Instance<'_>| {
            if self.wants(&instance) {
                rows.push(row(instance));
            }
        };
        if self.mesh {
            topics.add(Topic::Connect(fold(&self.name)));
            state.catalog.connect_instances(&self.name).for_each(&mut push);
        } else {
            topics.add(Topic::Service(fold(&self.name)));
            state.catalog.service_instances(&self.name).for_each(&mut push);
        }
        rows
    }

    /// Every tag is there, whatever its case, and so is the node's meta.
    fn wants(&self, instance: &Instance<'_>) -> bool {
        let has_tag =
            |tag: &String| instance.service.tags.iter().any(|own| own.eq_ignore_ascii_case(tag));
        self.tags.iter().all(has_tag) && has_meta(instance.node, &self.node_meta)
    }
}

/// Whether a node has all these meta pairs.
pub(super) fn has_meta(node: &Node, pairs: &[(String, String)]) -> bool {
    pairs.iter().all(|(key, value)| node.meta.get(key) == Some(value))
}

impl Request {
    /// The `node-meta=key:value` parameters.
    pub(super) fn node_meta(&self) -> Vec<(String, String)> {
        let pair = |text: &str| {
            let (key, value) = text.split_once(':').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        };
        self.params("node-meta").map(pair).collect()
    }
}
