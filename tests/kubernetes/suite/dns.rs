//! Names: in cluster DNS, at the DNS Service, and how soon they follow the pods.

use std::time::Duration;

use crate::{
    kubectl::{Cluster, DEMO, SYSTEM, eventually},
    stream::Stream,
    workloads,
};

/// The lines of a `dig +short`, sorted.
fn dig(cluster: &Cluster, question: &str) -> Vec<String> {
    let mut lines: Vec<_> = cluster
        .client(&format!("dig +short +time=2 +tries=1 {question}"))
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

/// Waits until a question is answered with exactly the addresses of an application's pods.
pub(crate) fn expect_addresses(cluster: &Cluster, app: &str, question: &str, seconds: u64) {
    eventually(question, seconds, || {
        let (wanted, answer) = (cluster.addresses(app), dig(cluster, question));
        if answer == wanted { Ok(()) } else { Err(format!("{answer:?} instead of {wanted:?}")) }
    });
}

/// The address of the DNS Service.
fn service_address(cluster: &Cluster) -> String {
    cluster.kubectl(&[
        "-n",
        SYSTEM,
        "get",
        "service",
        "lictor-dns",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ])
}

/// resolv.conf → CoreDNS → the managed block → lictor.
pub(crate) fn cluster_dns_answers(cluster: &Cluster) {
    // kubelet refreshes the Corefile's volume within about a minute
    expect_addresses(cluster, "japan-app", "japan-app.service.consul", 120);
    let answer = cluster.client("dig +noall +comments nosuch.service.consul");
    assert!(answer.contains("NXDOMAIN"), "{answer}");
}

/// The DNS Service over UDP and TCP.
pub(crate) fn dns_service_answers(cluster: &Cluster) {
    let address = service_address(cluster);
    for transport in ["+notcp", "+tcp"] {
        expect_addresses(
            cluster,
            "japan-app",
            &format!("{transport} @{address} japan-app.service.consul"),
            5,
        );
    }
    expect_addresses(
        cluster,
        "japan-app",
        &format!("@{address} japanapp.japan-app.service.consul"),
        5,
    );
    let answer =
        cluster.client(&format!("dig +noall +answer @{address} consul.service.consul ANY"));
    assert!(answer.contains("IN\tA\t"), "the servers are a service too: {answer}");
}

/// 8080 is the application's port; 20000 is the sidecar's.
pub(crate) fn srv_carries_the_ports(cluster: &Cluster) {
    for (name, port) in
        [("japan-app.service.consul", "8080"), ("japan-app.connect.consul", "20000")]
    {
        for server in [String::new(), format!("@{}", service_address(cluster))] {
            let answer = dig(cluster, &format!("{server} {name} SRV"));
            assert_eq!(answer.len(), 1, "{name} {server}: {answer:?}");
            assert_eq!(answer[0].split(' ').nth(2), Some(port), "{name} {server}: {answer:?}");
        }
    }
}

/// From the pod's condition to the answer: at most two seconds, and back again.
pub(crate) fn not_ready_leaves(cluster: &Cluster) {
    workloads::apply_echo(cluster);
    let address = service_address(cluster);
    expect_addresses(cluster, "echo", &format!("@{address} echo.service.consul"), 20);
    let look = |server: &str| {
        let line = format!(
            "for i in $(seq 300); do echo \"[$(dig +short +time=1 +tries=1 {server} echo.service.consul)]\"; sleep 0.05; done"
        );
        Stream::exec("client", &line)
    };
    let (direct, cluster_dns) = (look(&format!("@{address}")), look(""));
    let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}";
    let pod = cluster.kubectl(&[
        "-n",
        DEMO,
        "get",
        "pods",
        "-l",
        "app=echo",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    let watch = Stream::kubectl(&["-n", DEMO, "get", "pod", &pod, "-w", "-o", ready]);
    watch.wait_for("the pod is watched", 10, |line| line == "True");
    direct.wait_for("DNS has the pod", 10, |line| line != "[]");
    cluster.kubectl(&["-n", DEMO, "exec", &pod, "-c", "app", "--", "rm", "/tmp/ready"]);
    let not_ready = watch.wait_for("the pod becomes NotReady", 20, |line| line == "False");
    for (name, stream) in [("the DNS Service", direct), ("cluster DNS", cluster_dns)] {
        // only what was asked after the condition changed counts; earlier lines still hold the pod
        let gone = stream.wait_for(name, 15, |line| line == "[]");
        let took = gone.saturating_duration_since(not_ready);
        println!("  {name}: {} ms", took.as_millis());
        assert!(took < Duration::from_secs(2), "{name}: the pod left after {took:?}");
    }
    cluster.kubectl(&["-n", DEMO, "exec", &pod, "-c", "app", "--", "touch", "/tmp/ready"]);
    expect_addresses(cluster, "echo", &format!("@{address} echo.service.consul"), 20);
}

/// No grace period, no goodbye: the catalog forgets the pod all the same.
pub(crate) fn killed_pod_leaves(cluster: &Cluster) {
    let list =
        ["-n", DEMO, "get", "pods", "-l", "app=echo", "-o", "jsonpath={.items[0].metadata.name}"];
    let pod = cluster.kubectl(&list);
    cluster.kubectl(&["-n", DEMO, "delete", "pod", &pod, "--grace-period=0", "--force"]);
    cluster.kubectl(&["-n", DEMO, "rollout", "status", "deployment/echo", "--timeout=60s"]);
    expect_addresses(
        cluster,
        "echo",
        &format!("@{} echo.service.consul", service_address(cluster)),
        20,
    );
}
