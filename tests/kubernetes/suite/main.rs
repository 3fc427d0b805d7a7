//! The mesh on a real cluster: helm install, the HashiCorp Japan chain, DNS, intentions, uninstall.
//!
//! `tests/kubernetes/run.sh` runs it, on a cluster that it makes or on the one of `KUBECONFIG`.
//! The steps share one installation and run in order, each claim under a name of its own; a step
//! that fails prints what the cluster knows about it. Everything the suite makes lies in two
//! namespaces and one release, and the last step proves that nothing else stays. It decides
//! nothing that a test without a cluster can decide.
//!
//! Environment: `LICTOR_REGISTRY` (default `localhost`) holds the three images,
//! `LICTOR_TOOLS_IMAGE` is any image with sh, wget, nc, httpd, dig and openssl, and
//! `LICTOR_KEEP=1` leaves a failed installation in place.

#![expect(clippy::print_stdout, reason = "progress of a suite that takes minutes")]

mod chain;
mod dns;
mod install;
mod intentions;
mod kubectl;
mod servers;
mod stream;
mod workloads;

use std::time::Instant;

use kubectl::Cluster;

#[test]
fn the_mesh_works_on_a_real_cluster() {
    let Some(cluster) = Cluster::from_environment() else {
        println!("skipped: tests/kubernetes/run.sh runs this, on KUBECONFIG or a cluster it makes");
        return;
    };
    let before = install::prepare(&cluster);
    for (claim, step) in STEPS {
        println!("- {claim}");
        let start = Instant::now();
        step(&cluster);
        println!("  {:.1} s", start.elapsed().as_secs_f32());
    }
    println!("- helm uninstall leaves nothing behind");
    install::uninstall(&cluster, &before);
}

/// Proves its claim, or panics.
type Step = fn(&Cluster);

/// What has to hold, in order: a claim, and the step that fails where it does not.
const STEPS: [(&str, Step); 20] = [
    ("helm install comes to Ready", install::install),
    ("of three servers one leads and all vote", servers::three_vote),
    ("helm test resolves and writes a key", install::helm_test),
    ("the example applies and becomes ready", chain::apply),
    ("in each pod the sidecar is the first init container", chain::sidecar_comes_first),
    ("the Service answers HashiCorp Japan", chain::answers),
    ("a service without an intention is refused", chain::unintentional_is_refused),
    (
        "a pod without a mesh certificate cannot use the sidecar's port",
        chain::no_certificate_no_service,
    ),
    ("a bad annotation is refused at admission by its item", workloads::bad_annotation_is_refused),
    ("cluster DNS answers with pod addresses", dns::cluster_dns_answers),
    ("the DNS Service answers with pod addresses", dns::dns_service_answers),
    ("SRV answers carry the application's and the sidecar's port", dns::srv_carries_the_ports),
    (
        "a deleted intention takes effect within a second, on open connections too",
        intentions::deletion,
    ),
    ("a pod that is not ready leaves DNS within two seconds", dns::not_ready_leaves),
    ("three replicas share the load", workloads::replicas_share_the_load),
    ("a Job with an upstream completes", workloads::job_completes),
    (
        "a rolling restart of the servers under writes and calls loses nothing",
        servers::rolling_restart,
    ),
    ("a server that lost its volume is replaced and catches up", servers::lost_volume),
    ("sidecars go on serving without the servers", chain::goes_on_without_servers),
    ("a killed pod leaves the catalog", dns::killed_pod_leaves),
];
