//! `/v1/coordinate/`: where nodes are in the network (Consul "Network coordinates").

use http::StatusCode;
use lictor_api::{
    NodeName,
    types::coordinate::{DatacenterMap, Entry},
};
use lictor_core::{
    acl::Access,
    fsm::{Command, CoordinateCommand},
    state::Topic,
};

use super::{Context, HttpError, Request, Response};

/// `GET /v1/coordinate/datacenters`: the servers of the WAN pool as this agent sees them.
pub(super) async fn datacenters(cx: Context, _: Request) -> Result<Response, HttpError> {
    let own = cx.agent.config.load().datacenter.clone();
    let mut maps: Vec<DatacenterMap> = cx.agent.pools.wan.as_ref().map(wan_map).unwrap_or_default();
    if maps.iter().all(|map| map.datacenter != own) {
        maps.push(DatacenterMap {
            datacenter: own,
            area_id: "wan".into(),
            coordinates: Vec::new(),
        });
    }
    maps.sort_by(|a, b| a.datacenter.cmp(&b.datacenter));
    Response::json(&maps)
}

fn wan_map(pool: &lictor_membership::Pool) -> Vec<DatacenterMap> {
    let mut maps: Vec<DatacenterMap> = Vec::new();
    for member in pool.members().iter().filter(|member| member.is_alive()) {
        let datacenter = member.datacenter();
        let position = maps.iter().position(|map| map.datacenter == datacenter);
        let position = position.unwrap_or_else(|| {
            let (datacenter, area_id) = (datacenter.to_owned(), "wan".to_owned());
            maps.push(DatacenterMap { datacenter, area_id, coordinates: Vec::new() });
            maps.len() - 1
        });
        if let Some(coord) = pool.coordinate_of(&member.name) {
            let entry = Entry { node: member.name.clone(), segment: String::new(), coord };
            maps[position].coordinates.push(entry);
        }
    }
    maps
}

/// `GET /v1/coordinate/nodes`.
pub(super) async fn nodes(cx: Context, request: Request) -> Result<Response, HttpError> {
    let (meta, entries) = cx
        .read(&request, |state, topics| {
            topics.add(Topic::Coordinates);
            state.coordinates.list().cloned().collect::<Vec<_>>()
        })
        .await?;
    Ok(Response::json(&entries)?.with_meta(&meta))
}

/// `GET /v1/coordinate/node/:node`; 404 without a coordinate.
pub(super) async fn node(cx: Context, request: Request) -> Result<Response, HttpError> {
    let name = node_name(&request)?;
    cx.authorize(&Access::Node { name: &name, write: false, synthetic: false })?;
    let (meta, entry) = cx
        .read(&request, |state, topics| {
            topics.add(Topic::Coordinates);
            state.coordinates.get(&name).cloned()
        })
        .await?;
    let response = match entry {
        Some(entry) => Response::json(&[entry])?,
        None => Response::empty(StatusCode::NOT_FOUND),
    };
    Ok(response.with_meta(&meta))
}

/// `PUT /v1/coordinate/update`.
pub(super) async fn update(cx: Context, request: Request) -> Result<Response, HttpError> {
    let entry: Entry = request.decode()?;
    let name = NodeName::from(entry.node.as_str());
    if name.is_empty() {
        return Err(HttpError::MissingNodeName);
    }
    cx.authorize(&Access::Node { name: &name, write: true, synthetic: false })?;
    if !entry.coord.is_valid() {
        return Err(HttpError::InvalidCoordinate);
    }
    if entry.coord.vec.len() != lictor_api::types::coordinate::Coordinate::default().vec.len() {
        return Err(HttpError::IncompatibleCoordinate);
    }
    cx.propose(Command::Coordinate(CoordinateCommand::Update(vec![entry]))).await?;
    Ok(Response::empty(StatusCode::OK))
}

fn node_name(request: &Request) -> Result<NodeName, HttpError> {
    match request.tail() {
        "" => Err(HttpError::MissingNodeName),
        name => Ok(NodeName::from(name)),
    }
}
