//! Installing and uninstalling, and what is in the cluster before and after.

use std::collections::BTreeSet;

use crate::{
    kubectl::{Cluster, DEMO, SYSTEM, eventually},
    workloads,
};

/// What was in the cluster before the release: the names of all objects, and cluster DNS.
pub(crate) struct Before {
    objects: BTreeSet<String>,
    corefile: Option<String>,
}

/// Makes the namespaces and client pods, and notes what is there.
pub(crate) fn prepare(cluster: &Cluster) -> Before {
    for namespace in [SYSTEM, DEMO] {
        cluster.kubectl(&["create", "namespace", namespace]);
        let label = "pod-security.kubernetes.io/enforce=restricted";
        cluster.kubectl(&["label", "namespace", namespace, label]);
        eventually("the namespace is furnished", 30, || {
            cluster.try_kubectl(&[
                "-n",
                namespace,
                "get",
                "serviceaccount/default",
                "configmap/kube-root-ca.crt",
            ])
        });
    }
    workloads::apply_client(cluster);
    Before { objects: inventory(cluster), corefile: corefile(cluster) }
}

/// Names of all objects of the cluster, but for those that come and go by themselves.
fn inventory(cluster: &Cluster) -> BTreeSet<String> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
    let moving = [
        "events",
        "events.events.k8s.io",
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "ipaddresses.networking.k8s.io",
        "componentstatuses",
    ];
    let kinds: Vec<_> =
        kinds.lines().filter(|kind| !moving.contains(kind) && !kind.contains("metrics")).collect();
    let names = "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name";
    let list = cluster.kubectl(&["get", &kinds.join(","), "-A", "--no-headers", "-o", names]);
    list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The configuration of CoreDNS, where there is one.
fn corefile(cluster: &Cluster) -> Option<String> {
    cluster
        .try_kubectl(&[
            "-n",
            "kube-system",
            "get",
            "configmap",
            "coredns",
            "-o",
            "jsonpath={.data}",
        ])
        .ok()
}

/// `helm install`, as a user would.
pub(crate) fn install(cluster: &Cluster) {
    let registry = format!("global.image.registry={}", cluster.registry);
    let arguments = [
        "install",
        "lictor",
        "charts/lictor",
        "-n",
        SYSTEM,
        "--set",
        &registry,
        "--set",
        "dns.coredns.manage=true,server.replicas=3",
        "--wait",
        "--timeout=3m",
    ];
    cluster.run("helm", &arguments, "").unwrap_or_else(|error| panic!("{error}"));
    let ready = "jsonpath={.status.readyReplicas}";
    assert_eq!(
        cluster.kubectl(&["-n", SYSTEM, "get", "statefulset", "lictor-server", "-o", ready]),
        "3"
    );
}

/// `helm test`, as NOTES.txt says.
pub(crate) fn helm_test(cluster: &Cluster) {
    let arguments = ["-n", SYSTEM, "test", "lictor", "--timeout=90s"];
    cluster.run("helm", &arguments, "").unwrap_or_else(|error| panic!("{error}"));
}

/// `helm uninstall` while workloads and intentions exist; then looks for leftovers.
pub(crate) fn uninstall(cluster: &Cluster, before: &Before) {
    let arguments = ["-n", SYSTEM, "uninstall", "lictor", "--wait", "--timeout=2m"];
    cluster.run("helm", &arguments, "").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(corefile(cluster), before.corefile, "cluster DNS is as it was");
    cluster.kubectl(&["-n", DEMO, "delete", "deployments,jobs,services", "--all"]);
    cluster.kubectl(&["-n", DEMO, "delete", "pods", "--field-selector=metadata.name!=client"]);
    let accounts = cluster.kubectl(&["-n", DEMO, "get", "serviceaccounts", "-o", "name"]);
    for account in accounts.lines().filter(|name| *name != "serviceaccount/default") {
        cluster.kubectl(&["-n", DEMO, "delete", account]);
    }
    eventually("everything that the release made is gone", 60, || {
        let after = inventory(cluster);
        let left: Vec<_> = after.difference(&before.objects).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:#?}")) }
    });
    let after = inventory(cluster);
    let gone: Vec<_> = before.objects.difference(&after).collect();
    assert!(gone.is_empty(), "uninstalling took away what was not the release's: {gone:#?}");
    cluster.kubectl(&["delete", "namespace", SYSTEM, DEMO]);
}
