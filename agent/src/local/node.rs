//! This agent's node as registered in the catalog.

use std::collections::BTreeMap;

use lictor_api::{CONSUL_VERSION, NodeName, types::catalog::Node};
use lictor_config::RuntimeConfig;

/// Builds the node from the configuration.
pub fn from_config(config: &RuntimeConfig, node_id: &str) -> Node {
    let mut tagged_addresses = BTreeMap::new();
    for (tag, address) in [("lan", config.advertise_addr), ("wan", config.advertise_addr_wan)] {
        let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        tagged_addresses.insert(tag.to_owned(), address.to_string());
        tagged_addresses.insert(format!("{tag}_{family}"), address.to_string());
    }
    tagged_addresses.extend(config.tagged_addresses.clone());
    let mut meta = config.node_meta.clone();
    meta.insert("consul-network-segment".to_owned(), String::new());
    meta.insert("consul-version".to_owned(), CONSUL_VERSION.to_owned());
    Node {
        id: node_id.to_owned(),
        name: NodeName::from(config.node_name.as_str()),
        address: config.advertise_addr.to_string(),
        datacenter: config.datacenter.clone(),
        tagged_addresses,
        meta,
        ..Node::default()
    }
}
