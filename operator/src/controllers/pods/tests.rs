//! The registrar against servers in memory.

use lictor_api::types::health::CheckStatus;
use serde_json::json;

use super::*;
use crate::{metrics, plan::Instance, servers::memory::MemoryServers};

/// Returns what [`pod`] does, with a name that a Service of its namespace gives it.
fn served(namespace: &str) -> (Arc<Pod>, Arc<Service>) {
    let mut pod = Pod::clone(&pod("web-x", &format!("uid-{namespace}"), true));
    pod.metadata.namespace = Some(namespace.to_owned());
    pod.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
    pod.spec.as_mut().unwrap().service_account_name = None;
    let service = json!({
        "metadata": {"name": "web", "namespace": namespace}, "spec": {"selector": {"app": "web"}},
    });
    (Arc::new(pod), Arc::new(serde_json::from_value(service).unwrap()))
}

fn pod(name: &str, uid: &str, ready: bool) -> Arc<Pod> {
    let status = if ready { "True" } else { "False" };
    let pod = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": uid},
        "spec": {"nodeName": "k0", "serviceAccountName": "web", "containers": []},
        "status": {
            "podIP": "10.0.0.7", "hostIP": "192.0.2.1",
            "conditions": [{"type": "Ready", "status": status}],
        },
    });
    let mut pod: Pod = serde_json::from_value(pod).unwrap();
    let annotation = ("lictor.dev/connect-service".to_owned(), "web".to_owned());
    pod.metadata.annotations = Some([annotation].into());
    Arc::new(pod)
}

fn registered(servers: &MemoryServers) -> Vec<(String, String, CheckStatus)> {
    let state = servers.state();
    let instances = state.catalog.instances.values();
    instances
        .map(|i| (i.service.id.to_string(), i.pod_uid().to_owned(), i.check.status))
        .filter(|(id, ..)| !id.ends_with("-sidecar-proxy"))
        .collect()
}

fn entry(id: &str, uid: &str, ready: bool) -> (String, String, CheckStatus) {
    let status = if ready { CheckStatus::Passing } else { CheckStatus::Critical };
    (id.to_owned(), uid.to_owned(), status)
}

#[tokio::test]
async fn pods_come_change_and_go() {
    let servers = MemoryServers::default();
    let mut registrar = Registrar::new(&servers, "east");
    registrar.reconcile(vec![pod("web-0", "u1", false)], &[]).await;
    assert_eq!(registered(&servers), [entry("web-0-web", "u1", false)]);
    registrar.reconcile(vec![pod("web-0", "u1", true)], &[]).await;
    assert_eq!(registered(&servers), [entry("web-0-web", "u1", true)]);
    registrar.reconcile(vec![pod("web-0", "u2", true)], &[]).await;
    assert_eq!(registered(&servers), [entry("web-0-web", "u2", true)]);
    registrar.reconcile(vec![], &[]).await;
    assert_eq!(registered(&servers), []);
    assert!(servers.state().catalog.nodes.is_empty(), "the empty node is removed");
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changed() {
    let servers = MemoryServers::default();
    let mut registrar = Registrar::new(&servers, "east");
    for _ in 0..3 {
        registrar.reconcile(vec![pod("web-0", "u1", true)], &[]).await;
    }
    assert_eq!(servers.state().writes.len(), 2);
}

#[tokio::test]
async fn a_failing_write_holds_up_no_other_and_is_tried_again() {
    let servers = MemoryServers::default();
    servers.state().broken.insert("web-0-web".to_owned());
    let mut registrar = Registrar::new(&servers, "east");
    let pods = || vec![pod("web-0", "u0", true), pod("web-1", "u1", true)];
    registrar.reconcile(pods(), &[]).await;
    assert_eq!(registered(&servers), [entry("web-1-web", "u1", true)]);
    assert!(registrar.pause() < Duration::from_secs(1));
    servers.state().broken.clear();
    registrar.reconcile(pods(), &[]).await;
    assert_eq!(registered(&servers).len(), 2);
    assert_eq!(registrar.pause(), RESYNC_INTERVAL);
}

#[tokio::test]
async fn orphans_of_an_earlier_leader_are_removed_but_only_this_clusters() {
    let servers = MemoryServers::default();
    Registrar::new(&servers, "east").reconcile(vec![pod("web-0", "u0", true)], &[]).await;
    let mut next = Registrar::new(&servers, "east");
    next.reconcile(vec![pod("web-1", "u1", true)], &[]).await;
    assert_eq!(registered(&servers), [entry("web-1-web", "u1", true)]);
}

#[tokio::test]
async fn an_unreachable_catalog_is_no_reason_to_write() {
    let servers = MemoryServers::default();
    servers.state().broken.insert("catalog".to_owned());
    let mut registrar = Registrar::new(&servers, "east");
    registrar.reconcile(vec![pod("web-0", "u0", true)], &[]).await;
    assert!(servers.state().writes.is_empty());
}

#[tokio::test]
async fn a_name_is_not_taken_over_while_its_pods_restart() {
    let servers = MemoryServers::default();
    let (owner, own) = served("shop");
    let (stranger, foreign) = served("bank");
    let services = [own, foreign];
    let mut registrar = Registrar::new(&servers, "east");
    registrar.reconcile(vec![owner], &services).await;
    let notices = registrar.reconcile(vec![Arc::clone(&stranger)], &services).await;
    assert_eq!(notices[0].1.reason, "ServiceNameTaken");
    assert_eq!(registered(&servers), [], "the owner's instance is gone, nobody took its place");
}

#[tokio::test]
async fn a_new_leader_knows_the_owner_from_the_catalog() {
    let servers = MemoryServers::default();
    let (owner, own) = served("shop");
    let (stranger, foreign) = served("bank");
    let services = [own, foreign];
    Registrar::new(&servers, "east").reconcile(vec![owner], &services).await;
    let notices = Registrar::new(&servers, "east").reconcile(vec![stranger], &services).await;
    assert_eq!(notices[0].1.reason, "ServiceNameTaken");
}

#[tokio::test]
async fn every_kind_of_planned_write_reaches_the_servers_in_its_order() {
    let servers = MemoryServers::default();
    let mut orphan = Instance { node: "gone-virtual".into(), ..Instance::default() };
    orphan.service.id = "orphan".into();
    servers.state().catalog.register(&orphan);
    let planned = {
        let mut registrar = Registrar::new(&servers, "east");
        let before = servers.state().catalog.clone();
        registrar.reconcile(vec![pod("web-0", "u0", true)], &[]).await;
        plan::plan(&servers.state().catalog.instances, &before)
    };
    let Plan { register, deregister, remove_nodes } = planned;
    let register = register.iter().map(|instance| format!("register {}", instance.service.id));
    let deregister = deregister.iter().map(|removal| format!("deregister {}", removal.service_id));
    let remove_nodes = remove_nodes.iter().map(|node| format!("remove {node}"));
    let planned: Vec<_> = register.chain(deregister).chain(remove_nodes).collect();
    assert_eq!(servers.state().writes, planned);
    assert_eq!(
        planned,
        [
            "register web-0-web",
            "register web-0-web-sidecar-proxy",
            "deregister orphan",
            "remove gone-virtual",
        ]
    );
}

#[test]
fn a_failed_pass_is_counted_whether_reading_or_writing_failed() {
    let moved = metrics::moved_by(async {
        for broken in ["catalog", "web-0-web"] {
            let servers = MemoryServers::default();
            servers.state().broken.insert(broken.to_owned());
            let mut registrar = Registrar::new(&servers, "east");
            registrar.reconcile(vec![pod("web-0", "u0", true)], &[]).await;
        }
    });
    let expect = "lictor_operator_controller_failures_total{controller=\"pods\"} 2";
    assert!(moved.contains(expect), "{moved}");
}
