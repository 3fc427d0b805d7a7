//! Workloads of the suite's own, all under Pod Security restricted.

use std::collections::BTreeSet;

use crate::{
    chain, dns,
    kubectl::{Cluster, DEMO, eventually},
};

/// A pod template that runs a shell line in the tools image. `account` names it to the mesh.
fn pod(cluster: &Cluster, account: &str, annotations: &str, probe: &str, line: &str) -> String {
    format!(
        r#"
metadata:
  labels: {{app: {account}}}
  annotations: {{suite: lictor{annotations}}}
spec:
  serviceAccountName: {account}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {{runAsNonRoot: true, runAsUser: 10001, seccompProfile: {{type: RuntimeDefault}}}}
  volumes: [{{name: tmp, emptyDir: {{}}}}]
  containers:
    - name: app
      image: {image}
      imagePullPolicy: IfNotPresent
      command: [sh, -c, {line:?}]
      ports: [{{name: http, containerPort: 8080}}]
      readinessProbe: {{exec: {{command: [sh, -c, {probe:?}]}}, periodSeconds: 1, failureThreshold: 1}}
      volumeMounts: [{{name: tmp, mountPath: /tmp}}]
      securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"#,
        image = cluster.tools,
    )
}

/// A text moved `spaces` to the right, to lie inside another object.
fn indent(spaces: usize, text: &str) -> String {
    let margin = " ".repeat(spaces);
    text.trim().lines().map(|line| format!("\n{margin}{line}")).collect()
}

/// Annotations that inject, in the form [`pod`] takes.
fn inject(more: &str) -> String {
    format!(", lictor.dev/connect-inject: \"true\"{more}")
}

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done";

fn apply(cluster: &Cluster, yaml: &str) {
    cluster.apply(yaml).unwrap_or_else(|error| panic!("{error}"));
}

/// A pod outside the mesh that asks.
pub(crate) fn apply_client(cluster: &Cluster) {
    let pod = pod(cluster, "default", "", "true", FOREVER);
    apply(
        cluster,
        &format!(
            "apiVersion: v1\nkind: Pod{}",
            pod.replacen("metadata:", "metadata:\n  name: client", 1)
        ),
    );
    cluster.kubectl(&["-n", DEMO, "wait", "--for=condition=Ready", "pod/client", "--timeout=90s"]);
}

/// A second instance of corp-app that never is ready: it has the identity, and no calls come to it.
pub(crate) fn apply_holder(cluster: &Cluster) {
    let upstream = inject(
        ", lictor.dev/connect-service: corp-app, lictor.dev/connect-service-upstreams: \"japan-app:5000\"",
    );
    let pod = pod(cluster, "corp-app", &upstream, "false", FOREVER)
        .replacen("app: corp-app", "app: holder", 1)
        .replacen("metadata:", "metadata:\n  name: holder", 1);
    apply(cluster, &format!("apiVersion: v1\nkind: Pod{pod}"));
    let running = "--for=jsonpath={.status.containerStatuses[0].started}=true";
    cluster.kubectl(&["-n", DEMO, "wait", running, "pod/holder", "--timeout=60s"]);
}

/// A service that answers with its pod's name, and is ready while /tmp/ready exists.
pub(crate) fn apply_echo(cluster: &Cluster) {
    let serve = "trap 'exit 0' TERM; touch /tmp/ready; hostname > /tmp/index.html; httpd -f -p 8080 -h /tmp & wait";
    let template = indent(4, &pod(cluster, "echo", &inject(""), "test -e /tmp/ready", serve));
    apply(
        cluster,
        &format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: echo}}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: echo}}\n\
             spec: {{selector: {{app: echo}}, ports: [{{port: 8080, targetPort: http}}]}}\n---\n\
             apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: echo}}\n\
             spec:\n  selector: {{matchLabels: {{app: echo}}}}\n  template:{template}\n---\n\
             apiVersion: consul.hashicorp.com/v1alpha1\nkind: ServiceIntentions\nmetadata: {{name: echo}}\n\
             spec: {{destination: {{name: echo}}, sources: [{{name: caller, action: allow}}]}}\n"
        ),
    );
    cluster.kubectl(&["-n", DEMO, "rollout", "status", "deployment/echo", "--timeout=90s"]);
}

/// Runs a Job in the mesh whose upstream echo is at port 5000; gives what it wrote.
fn job(cluster: &Cluster, line: &str) -> String {
    let upstream = inject(", lictor.dev/connect-service-upstreams: \"echo:5000\"");
    let template = pod(cluster, "caller", &upstream, "true", line).replacen(
        "spec:",
        "spec:\n  restartPolicy: Never",
        1,
    );
    apply(
        cluster,
        &format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: caller}}\n---\n\
             apiVersion: batch/v1\nkind: Job\nmetadata: {{name: caller}}\n\
             spec:\n  backoffLimit: 0\n  template:{}\n",
            indent(4, &template)
        ),
    );
    cluster.kubectl(&[
        "-n",
        DEMO,
        "wait",
        "--for=condition=Complete",
        "job/caller",
        "--timeout=60s",
    ]);
    let output = cluster.kubectl(&["-n", DEMO, "logs", "job/caller", "-c", "app"]);
    cluster.kubectl(&["-n", DEMO, "delete", "job", "caller"]);
    output
}

/// The first thing the Job does is to call its upstream: the sidecar is there before it and ends after it.
pub(crate) fn job_completes(cluster: &Cluster) {
    let output = job(cluster, "timeout 5 wget -qO- http://127.0.0.1:5000");
    assert!(output.starts_with("echo-"), "{output}");
    let ask = "dig +short caller.service.consul";
    eventually("the finished Job leaves the catalog", 20, || match cluster.client(ask) {
        answer if answer.is_empty() => Ok(()),
        answer => Err(answer),
    });
}

/// Three pods are in DNS, and calls reach each of them; for the chain's last service too.
pub(crate) fn replicas_share_the_load(cluster: &Cluster) {
    for app in ["japan-app", "echo"] {
        let deployment = format!("deployment/{app}");
        cluster.kubectl(&["-n", DEMO, "scale", &deployment, "--replicas=3"]);
        cluster.kubectl(&["-n", DEMO, "rollout", "status", &deployment, "--timeout=90s"]);
        dns::expect_addresses(cluster, app, &format!("{app}.service.consul"), 20);
        assert_eq!(cluster.addresses(app).len(), 3, "{app}");
    }
    let output = job(
        cluster,
        "for i in $(seq 60); do timeout 5 wget -qO- http://127.0.0.1:5000 || exit 1; done",
    );
    assert_eq!(output.lines().count(), 60, "every call is answered: {output}");
    let pods: BTreeSet<_> = output.lines().collect();
    assert_eq!(pods.len(), 3, "{pods:?}");
    let calls = cluster
        .client(&format!("for i in $(seq 30); do {} || echo error; echo; done", chain::CALL));
    assert_eq!(calls.matches("HashiCorp Japan").count(), 30, "{calls}");
    for app in ["japan-app", "echo"] {
        cluster.kubectl(&["-n", DEMO, "scale", &format!("deployment/{app}"), "--replicas=1"]);
    }
}

/// The API server passes on what the webhook says.
pub(crate) fn bad_annotation_is_refused(cluster: &Cluster) {
    for (key, value, named) in [
        ("connect-service-upstreams", "japan-app:none", "japan-app:none"),
        ("connect-inject", "maybe", "maybe"),
        ("connect-service-port", "nosuch", "nosuch"),
    ] {
        let both = if key == "connect-inject" { String::new() } else { inject("") };
        let pod = pod(
            cluster,
            "default",
            &format!("{both}, consul.hashicorp.com/{key}: \"{value}\""),
            "true",
            FOREVER,
        );
        let pod = pod.replacen("metadata:", "metadata:\n  name: refused", 1);
        let refusal = cluster
            .apply(&format!("apiVersion: v1\nkind: Pod{pod}"))
            .expect_err("the pod is refused");
        assert!(refusal.contains(named) && refusal.contains(key), "{key}: {refusal}");
    }
}
