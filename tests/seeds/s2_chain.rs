//! s2: the dev agent, DNS of a job's service, and the chain of sidecars.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use harness::{Agent, Process, binary::binary, eventually, ports, tools};
use serde_json::{Value, json};

use crate::{Web, soon, text};

#[test]
fn s2_1_the_dev_agent_needs_nothing() {
    let version = Command::new(binary("lictor")).arg("--version").output().unwrap();
    let first = text(&version).lines().next().unwrap().to_owned();
    let numbers: Vec<&str> = first.strip_prefix("Consul v").unwrap().split('.').collect();
    assert_eq!(numbers.iter().filter(|number| number.parse::<u32>().is_ok()).count(), 3, "{first}");
    let agent = Agent::dev(json!({}));
    assert_eq!(agent.get("/v1/status/leader"), format!("\"127.0.0.1:{}\"", agent.ports.server));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, agent.ports.grpc)).is_ok());
}

#[test]
fn s2_4_a_service_with_its_own_address_is_answered_by_it() {
    let agent = Agent::dev(json!({}));
    agent.put(
        "/v1/agent/service/register",
        r#"{"Name":"nginx","Address":"192.168.3.38","Check":{"TTL":"1h","Status":"passing"}}"#,
    );
    agent.wait_for_passing("nginx", 1);
    let answer = agent.dig(&["nginx.service.consul.", "SRV"]);
    assert!(answer.contains("IN\tSRV\t1 1 0 c0a80326.addr.dc1.consul."), "{answer}");
    assert!(answer.contains("c0a80326.addr.dc1.consul. 0\tIN\tA\t192.168.3.38"), "{answer}");
    assert!(answer.contains("TXT\t\"consul-network-segment=\""), "{answer}");
    assert_eq!(agent.dig(&["+short", "c0a80326.addr.dc1.consul"]), "192.168.3.38");
    agent.put("/v1/agent/check/fail/service:nginx", "");
    soon("NXDOMAIN with the SOA", || {
        let answer = agent.dig(&["nginx.service.consul.", "SRV"]);
        answer.contains("status: NXDOMAIN")
            && answer.contains("consul.\t\t\t0\tIN\tSOA\tns.consul. hostmaster.consul.")
            && answer.contains(" 3600 600 86400 0")
    });
}

#[test]
fn s2_7_long_names_with_hyphens_work_with_and_without_the_final_dot() {
    let agent = Agent::dev(json!({}));
    agent.put(
        "/v1/agent/service/register",
        r#"{"Name":"hello-consul-web-server-nginx","Port":80,"Check":{"TTL":"1h","Status":"passing"}}"#,
    );
    agent.wait_for_passing("hello-consul-web-server-nginx", 1);
    for name in [
        "hello-consul-web-server-nginx.service.consul.",
        "hello-consul-web-server-nginx.service.consul",
    ] {
        assert!(agent.dig(&["+short", name, "SRV"]).starts_with("1 1 80 "), "{name}");
    }
    let checks = agent.get_json("/v1/health/checks/hello-consul-web-server-nginx");
    assert_eq!(checks.as_array().unwrap().len(), 1);
}

/// The workshop's four services, each with the upstreams of its job. Where two of them bind port
/// 5000, they do so on different loopback addresses, as they would in different namespaces.
struct Chain {
    agent: Agent,
    entry: Web,
    _webs: Vec<Web>,
    _sidecars: Vec<Process>,
}

struct Part {
    name: &'static str,
    prefix: &'static str,
    upstreams: &'static [(&'static str, &'static str)],
}

const PARTS: [Part; 4] = [
    Part { name: "japan-app", prefix: "Japan", upstreams: &[] },
    Part { name: "corp-app", prefix: "Corp ", upstreams: &[("japan-app", "127.50.0.2")] },
    Part { name: "hashi-app", prefix: "Hashi", upstreams: &[] },
    Part {
        name: "hashicorpjapan-app",
        prefix: "",
        upstreams: &[("hashi-app", "127.50.0.3"), ("corp-app", "127.50.0.4")],
    },
];

impl Chain {
    /// `adjust` may change a sidecar's registration before it is made.
    fn start(adjust: impl Fn(&str, &mut Value)) -> Self {
        let agent = Agent::dev(json!({}));
        let port = ports::free();
        let (mut webs, mut sidecars) = (Vec::new(), Vec::new());
        for part in &PARTS {
            let urls: Vec<String> =
                part.upstreams.iter().map(|(_, bind)| format!("http://{bind}:{port}/")).collect();
            let web = Web::start(agent.dir(), part.prefix, &urls);
            let upstreams: Vec<Value> = part
                .upstreams
                .iter()
                .map(|(name, bind)| json!({"destination_name": name, "local_bind_address": bind, "local_bind_port": port}))
                .collect();
            let public = ports::free();
            let mut sidecar = json!({
                "port": public,
                "proxy": {"upstreams": upstreams},
                "check": {"name": "Connect Sidecar Listening", "tcp": format!("127.0.0.1:{public}"), "interval": "1s"},
            });
            adjust(part.name, &mut sidecar);
            agent.write_config(
                &format!("{}.json", part.name),
                &json!({"service": {"name": part.name, "port": web.port, "connect": {"sidecar_service": sidecar}}}),
            );
            webs.push(web);
        }
        agent.cli_stdout(&["reload"]);
        for part in &PARTS {
            let log = agent.dir().join(format!("{}-sidecar.log", part.name));
            let mut command = Command::new(binary("lictor"));
            command.args(["connect", "proxy", "-sidecar-for", part.name]);
            command.env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", agent.ports.http));
            sidecars.push(Process::start(&mut command, &log));
        }
        for part in &PARTS {
            agent.wait_for_passing(&format!("{}-sidecar-proxy", part.name), 1);
        }
        let entry = webs.pop().unwrap();
        Self { agent, entry, _webs: webs, _sidecars: sidecars }
    }

    fn wait_for_answer(&self) {
        eventually("the chain's answer", || {
            (tools::stdout("curl", &["-s", &self.entry.url()]) == "HashiCorp Japan").then_some(())
        });
    }
}

#[test]
fn s2_6_the_chain_answers_through_four_proxies() {
    let chain = Chain::start(|_, _| {});
    chain.wait_for_answer();
    let services = chain.agent.get_json("/v1/catalog/services");
    for part in &PARTS {
        assert!(services.get(part.name).is_some(), "{services}");
        assert!(services.get(format!("{}-sidecar-proxy", part.name)).is_some(), "{services}");
    }
}

#[test]
fn s2_10_between_sidecars_there_is_only_tls() {
    let relay = Relay::start();
    let port = relay.port;
    // japan-app's sidecar is registered under the relay's port and listens on its own.
    let chain = Chain::start(|name, sidecar| {
        if name == "japan-app" {
            let public = sidecar["port"].as_u64().unwrap();
            relay.forward_to(u16::try_from(public).unwrap());
            sidecar["port"] = json!(port);
            sidecar["proxy"]["config"] = json!({"bind_port": public});
        }
    });
    chain.wait_for_answer();
    let bytes = relay.seen.lock().unwrap().clone();
    assert_eq!(bytes[..2], [0x16, 0x03], "the first bytes are a TLS handshake");
    assert!(
        !bytes.windows(5).any(|window| window == b"Japan" || window == b"GET /"),
        "no clear text"
    );
    // A client without a certificate of the mesh gets no answer through the public listener.
    let service = chain.agent.get_json("/v1/agent/service/corp-app-sidecar-proxy");
    let public = service["Port"].as_u64().unwrap();
    let output =
        tools::run("curl", &["-sk", "--max-time", "5", &format!("https://127.0.0.1:{public}/")]);
    assert!(!output.status.success(), "{}", text(&output));
    let output =
        tools::run("curl", &["-s", "--max-time", "5", &format!("http://127.0.0.1:{public}/")]);
    assert!(!output.status.success(), "{}", text(&output));
}

/// A TCP relay that keeps what passes through it.
struct Relay {
    port: u16,
    target: Arc<Mutex<u16>>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Relay {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free())).unwrap();
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            target: Arc::default(),
            seen: Arc::default(),
        };
        let (target, seen) = (relay.target.clone(), relay.seen.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, *target.lock().unwrap()))
                else {
                    continue;
                };
                let pairs = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
                for (from, to) in pairs {
                    let (from, to, seen) = (from.unwrap(), to.unwrap(), seen.clone());
                    thread::spawn(move || pump(from, to, &seen));
                }
            }
        });
        relay
    }

    fn forward_to(&self, port: u16) {
        *self.target.lock().unwrap() = port;
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, seen: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
        seen.lock().unwrap().extend_from_slice(&buffer[..read]);
    }
    to.shutdown(std::net::Shutdown::Write).ok();
}
