//! `lictor snapshot ...`: the cluster's state in a file.

pub mod decode;
pub mod inspect;
pub mod restore;
pub mod save;

use std::{fs::File, path::Path};

use anyhow::Context;
use lictor_core::state::State;
use serde::Serialize;
use serde_json::Value;

use crate::archive::{self, Archive};

/// Reads and verifies a file.
fn open(path: &Path) -> anyhow::Result<Archive> {
    let file = File::open(path).with_context(|| format!("Error opening snapshot file {path:?}"))?;
    archive::unpack(file).with_context(|| format!("Error reading snapshot file {path:?}"))
}

/// Lists every row of a state with its kind, in Consul's words, without the key of the certificate
/// authority.
fn rows(state: &State) -> impl Iterator<Item = (&'static str, Value)> + '_ {
    let (catalog, entries) = (&state.catalog, &state.config_entries);
    let nodes = catalog.nodes().map(|node| ("Register", json(node)));
    let services = catalog.instances().map(|instance| {
        let (node, service) = (&instance.node.name, json(instance.service));
        ("Register", serde_json::json!({ "Node": node, "Service": service }))
    });
    let checks = catalog.checks().map(|check| ("Register", json(check)));
    let pairs = state.kv.list("").map(|pair| ("KVS", json(pair)));
    let entries = entries.all().map(|entry| ("ConfigEntry", json(entry)));
    let roots = state.ca.iter().flat_map(|ca| &ca.roots).map(|root| ("ConnectCA", json(root)));
    let ca = state.ca.iter().map(|ca| ("ConnectCAConfig", json(&ca.config)));
    let autopilot = state.autopilot.iter().map(|settings| ("Autopilot", json(settings)));
    let sessions = state.sessions.list().map(|session| ("Session", json(session)));
    let coordinates = state.coordinates.list();
    let coordinates = coordinates.map(|entry| ("CoordinateBatchUpdate", json(entry)));
    let ca = ca.chain(autopilot).chain(sessions).chain(coordinates);
    nodes.chain(services).chain(checks).chain(pairs).chain(entries).chain(roots).chain(ca)
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
