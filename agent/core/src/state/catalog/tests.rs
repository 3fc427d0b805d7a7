//! What is derived agrees with the rows, whatever was written before.

use lictor_api::{
    CheckId, NodeName, ServiceId,
    types::{
        catalog::{Node, NodeService},
        health::{CheckStatus, HealthCheck},
    },
};
use proptest::prelude::*;

use super::{Catalog, fold};
use crate::state::watch::{Change, Touched};

#[derive(Debug, Clone)]
enum Write {
    Node(u8),
    Service { node: u8, id: u8, name: u8, proxy: bool },
    Check { node: u8, id: u8, of: Option<u8>, status: CheckStatus },
    DeleteNode(u8),
    DeleteService { node: u8, id: u8 },
    DeleteCheck { node: u8, id: u8 },
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let few = || 0..3u8;
    let status = prop_oneof![
        Just(CheckStatus::Passing),
        Just(CheckStatus::Warning),
        Just(CheckStatus::Critical)
    ];
    let service = (few(), few(), few(), any::<bool>())
        .prop_map(|(node, id, name, proxy)| Write::Service { node, id, name, proxy });
    let check = (few(), few(), proptest::option::of(few()), status)
        .prop_map(|(node, id, of, status)| Write::Check { node, id, of, status });
    let write = prop_oneof![
        2 => few().prop_map(Write::Node),
        6 => service,
        8 => check,
        1 => few().prop_map(Write::DeleteNode),
        2 => (few(), few()).prop_map(|(node, id)| Write::DeleteService { node, id }),
        3 => (few(), few()).prop_map(|(node, id)| Write::DeleteCheck { node, id }),
    ];
    proptest::collection::vec(write, 1..60)
}

fn node_name(node: u8) -> NodeName {
    // The spelling of a registration differs from the folded key.
    format!("Node{node}").into()
}

fn apply(catalog: &mut Catalog, index: u64, write: &Write) {
    let touched = &mut Touched::default();
    let change = &mut Change::new(index, touched);
    match write {
        Write::Node(node) => {
            let address = format!("10.0.{node}.{}", index % 250);
            let node = Node { name: node_name(*node), address, ..Node::default() };
            catalog.upsert_node(change, node);
        }
        Write::Service { node, id, name, proxy } => {
            let node = node_name(*node);
            if catalog.node(&node).is_none() {
                return;
            }
            let mut service = NodeService {
                id: format!("id{id}").into(),
                service: format!("Name{name}").into(),
                port: u16::try_from(index).unwrap(),
                ..NodeService::default()
            };
            service.connect.native = *proxy;
            catalog.upsert_service(change, &node, service);
        }
        Write::Check { node, id, of, status } => {
            let of = of.map_or_else(String::new, |of| format!("id{of}"));
            let node = node_name(*node);
            let exists = of.is_empty() || catalog.service(&node, &of).is_some();
            if catalog.node(&node).is_none() || !exists {
                return;
            }
            let check = HealthCheck {
                node,
                check_id: format!("check{id}").into(),
                service_id: of.into(),
                status: *status,
                ..HealthCheck::default()
            };
            catalog.upsert_check(change, check);
        }
        Write::DeleteNode(node) => {
            catalog.delete_node(change, &fold(&node_name(*node)));
        }
        Write::DeleteService { node, id } => {
            let id = ServiceId::from(format!("id{id}"));
            catalog.delete_service(change, &fold(&node_name(*node)), &id);
        }
        Write::DeleteCheck { node, id } => {
            let id = CheckId::from(format!("check{id}"));
            catalog.delete_check(change, &fold(&node_name(*node)), &id);
        }
    }
}

/// Every instance as the rows alone say it: service, node's address, port, worst state, checks.
fn from_rows(catalog: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    for ((node, id), service) in &catalog.services {
        let row = &catalog.nodes[node];
        let of = |service: &str| -> Vec<_> {
            catalog
                .node_checks(node.as_str())
                .filter(|check| &*check.service_id == service)
                .collect()
        };
        let checks: Vec<_> = of("").into_iter().chain(of(id)).collect();
        let status = checks.iter().map(|check| check.status).max().unwrap_or(CheckStatus::Passing);
        let ids: Vec<_> = checks.iter().map(|check| &*check.check_id).collect();
        let name = &service.service;
        found.push(format!("{name} {} {id} {} {status:?} {ids:?}", row.address, service.port));
        if service.connect.native {
            found.push(format!("mesh {name} {} {id} {} {status:?}", row.address, service.port));
        }
    }
    found.sort();
    found
}

/// Every instance as readers see it.
fn as_read(catalog: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    for name in (0..3).map(|name| format!("naME{name}")) {
        for instance in catalog.service_instances(&name) {
            let (service, address) = (instance.service, &instance.node.address);
            let ids: Vec<_> = instance.checks().map(|check| &*check.check_id).collect();
            let (name, id, port) = (&service.service, &service.id, service.port);
            found.push(format!("{name} {address} {id} {port} {:?} {ids:?}", instance.status));
        }
        for instance in catalog.connect_instances(&name) {
            let (service, address) = (instance.service, &instance.node.address);
            let (name, id, port) = (&service.service, &service.id, service.port);
            found.push(format!("mesh {name} {address} {id} {port} {:?}", instance.status));
        }
    }
    found.sort();
    found
}

proptest! {
    #[test]
    fn the_status_beside_an_instance_is_that_of_its_checks(writes in writes()) {
        let mut catalog = Catalog::default();
        for (index, write) in (1..).zip(&writes) {
            apply(&mut catalog, index, write);
            prop_assert_eq!(as_read(&catalog), from_rows(&catalog));
        }
        let names: Vec<_> = catalog.service_names().cloned().collect();
        let mut reloaded = catalog.clone();
        reloaded.reindex();
        prop_assert_eq!(as_read(&reloaded), as_read(&catalog));
        prop_assert_eq!(reloaded.service_names().cloned().collect::<Vec<_>>(), names);
    }
}
