//! The HashiCorp Japan chain: injection, mTLS between pods, and who is kept out.

use serde_json::Value;

use crate::kubectl::{Cluster, DEMO, SYSTEM, eventually};

/// The four services of the chain, and the one that nobody intended.
const APPS: [&str; 5] =
    ["japan-app", "corp-app", "hashi-app", "hashicorpjapan-app", "unintentionalapp"];
/// Where clients outside the mesh call the chain.
pub(crate) const CALL: &str = "timeout 2 wget -qO- http://hashicorpjapan-app:8080";

/// The example's manifests.
pub(crate) fn manifests(cluster: &Cluster) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/examples/hashicorp-japan.yaml");
    let text = std::fs::read_to_string(path).expect("the example exists");
    text.replace("image: localhost/", &format!("image: {}/", cluster.registry))
}

/// Applies the example and waits for its Deployments.
pub(crate) fn apply(cluster: &Cluster) {
    cluster.apply(&manifests(cluster)).unwrap_or_else(|error| panic!("{error}"));
    for app in APPS {
        cluster.kubectl(&[
            "-n",
            DEMO,
            "rollout",
            "status",
            &format!("deployment/{app}"),
            "--timeout=120s",
        ]);
    }
}

/// Every pod has the native sidecar in front and one application container; others have none.
pub(crate) fn sidecar_comes_first(cluster: &Cluster) {
    for app in APPS {
        let pods = cluster.kubectl(&[
            "-n",
            DEMO,
            "get",
            "pods",
            "-l",
            &format!("app={app}"),
            "-o",
            "json",
        ]);
        let pods: Value = serde_json::from_str(&pods).expect("kubectl writes JSON");
        let pod = &pods["items"][0];
        let first = &pod["spec"]["initContainers"][0];
        assert_eq!(first["name"], "lictor-sidecar", "{app}");
        assert_eq!(first["restartPolicy"], "Always", "{app}");
        assert_eq!(pod["spec"]["initContainers"].as_array().map(Vec::len), Some(1), "{app}");
        assert_eq!(pod["spec"]["containers"].as_array().map(Vec::len), Some(1), "{app}");
    }
    let client = cluster.kubectl(&[
        "-n",
        DEMO,
        "get",
        "pod",
        "client",
        "-o",
        "jsonpath={.spec.initContainers}",
    ]);
    assert_eq!(client, "", "a pod without the annotation is left alone");
}

/// The chain's answer through three mutually authenticated hops.
pub(crate) fn answers(cluster: &Cluster) {
    eventually("the chain answers", 20, || match cluster.client(CALL) {
        answer if answer.trim() == "HashiCorp Japan" => Ok(()),
        answer => Err(answer),
    });
}

/// `unintentionalapp` declares the upstream, and is refused.
pub(crate) fn unintentional_is_refused(cluster: &Cluster) {
    let answer = cluster.client("timeout 2 wget -qO- http://unintentionalapp:8080");
    assert!(!answer.contains("Japan"), "{answer}");
}

/// The sidecar's port demands a certificate of the mesh, from TLS clients and from others.
pub(crate) fn no_certificate_no_service(cluster: &Cluster) {
    let address = &cluster.addresses("japan-app")[0];
    let request = "printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 1";
    let tls = cluster.client(&format!(
        "({request}) | timeout 5 openssl s_client -ign_eof -connect {address}:20000"
    ));
    assert!(tls.contains("CONNECTED") && tls.contains("alert"), "the handshake is refused: {tls}");
    assert!(!tls.contains("Japan"), "{tls}");
    let own = "printf '[req]\\ndistinguished_name=dn\\n[dn]\\n' > /tmp/o.cnf; openssl req -config /tmp/o.cnf -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=corp-app -addext subjectAltName=URI:spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/corp-app -keyout /tmp/k.pem -out /tmp/c.pem";
    let forged = format!(
        "{own} 2>/dev/null; ({request}) | timeout 5 openssl s_client -ign_eof -cert /tmp/c.pem -key /tmp/k.pem -connect {address}:20000"
    );
    let forged = cluster.client(&forged);
    assert!(
        forged.contains("CONNECTED") && forged.contains("alert"),
        "a certificate of its own making: {forged}"
    );
    assert!(!forged.contains("Japan"), "{forged}");
    let plain = cluster.client(&format!("({request}) | timeout 5 nc {address} 20000"));
    assert!(!plain.contains("Japan"), "{plain}");
}

/// Running sidecars need no server for what they know; when it is back, all is as before.
pub(crate) fn goes_on_without_servers(cluster: &Cluster) {
    let scale =
        |replicas| cluster.kubectl(&["-n", SYSTEM, "scale", "statefulset/lictor-server", replicas]);
    scale("--replicas=0");
    let label = "app.kubernetes.io/component=server";
    cluster.kubectl(&["-n", SYSTEM, "wait", "--for=delete", "pod", "-l", label, "--timeout=60s"]);
    let answers =
        cluster.client(&format!("for i in $(seq 20); do {CALL} || echo error; echo; done"));
    assert_eq!(answers.matches("HashiCorp Japan").count(), 20, "{answers}");
    scale("--replicas=3");
    cluster.kubectl(&[
        "-n",
        SYSTEM,
        "rollout",
        "status",
        "statefulset/lictor-server",
        "--timeout=90s",
    ]);
    self::answers(cluster);
}
