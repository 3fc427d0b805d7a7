//! Real sockets: UDP, TCP, dig, reload and shutdown.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    process::Command,
    sync::Arc,
};

use arc_swap::ArcSwap;
use lictor_store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::dns::{Backend, Listeners, serve, udp::THREAD};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// An address that no other test uses: its ports are free again when the test frees them.
const OWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 8, 1)), 0);
/// Longer than any answer on loopback takes.
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) backend: Backend,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub(super) fn start(state: State, zone: Zone) -> Self {
        Self::start_at(LOOPBACK, state, zone)
    }

    pub(super) fn start_at(address: SocketAddr, state: State, zone: Zone) -> Self {
        let backend = Backend {
            store: Arc::default(),
            zone: Arc::new(ArcSwap::from_pointee(zone)),
            remote: None,
        };
        Store::publish(&backend.store, state, &Touched::default());
        let listeners = Listeners::bind(&[address]).unwrap();
        let address = listeners.addresses()[0];
        let shutdown = CancellationToken::new();
        let tasks = lictor_runtime::Tasks::until(shutdown.clone());
        let serving = backend.clone();
        let task = tokio::spawn(async move {
            let result = serve(listeners, serving, tasks.clone()).await;
            tasks.stop(DEADLINE).await;
            result
        });
        Self { address, backend, shutdown, task }
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// Runs blocking client code beside the server.
pub(super) async fn client<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run).await.unwrap()
}

pub(super) fn ask_udp(server: SocketAddr, request: &Message) -> Message {
    let loopback = match server {
        SocketAddr::V4(_) => LOOPBACK,
        SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0)),
    };
    let socket = UdpSocket::bind(loopback).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.connect(server).unwrap();
    socket.send(&request.to_vec().unwrap()).unwrap();
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).unwrap();
    Message::from_vec(&answer[..length]).unwrap()
}

pub(super) fn ask_tcp(stream: &mut TcpStream, request: &Message) -> Message {
    let packet = request.to_vec().unwrap();
    stream.write_all(&u16::try_from(packet.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&packet).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

#[tokio::test]
async fn queries_are_answered_over_udp_and_tcp() {
    let served = Served::start(catalog(), zone());
    let address = served.address;
    client(move || {
        let request = query("web.service.consul.", RecordType::A);
        let over_udp = ask_udp(address, &request);
        assert_eq!(over_udp.answers[0].data.to_string(), "10.1.0.1");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        for _ in 0..2 {
            assert_eq!(ask_tcp(&mut stream, &request), over_udp);
        }
    })
    .await;
    served.stop().await;
}

#[tokio::test]
async fn a_query_that_panics_a_thread_is_lost_and_those_after_it_are_answered() {
    let served = Served::start(catalog(), zone());
    let address = served.address;
    client(move || {
        let request = query("foo.node.consul.", RecordType::A);
        let packet = request.to_vec().unwrap();
        crate::plant::plant_panic(THREAD, &format!("{packet:?}"));
        let socket = UdpSocket::bind(LOOPBACK).unwrap();
        socket.connect(address).unwrap();
        socket.send(&packet).unwrap();
        // From the same port, so that the same thread answers.
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let begin = std::time::Instant::now();
        let mut answer = [0; 4096];
        loop {
            let next = query("web.service.consul.", RecordType::A);
            socket.send(&next.to_vec().unwrap()).unwrap();
            if let Ok(length) = socket.recv(&mut answer) {
                let answer = Message::from_vec(&answer[..length]).unwrap();
                assert_eq!(answer.metadata.id, next.metadata.id, "the lost query is not answered");
                break;
            }
            assert!(begin.elapsed() < DEADLINE);
        }
        assert!(crate::plant::has_panicked(THREAD, &format!("{packet:?}")));
    })
    .await;
    assert!(lictor_runtime::panics::by_task().iter().any(|(task, _)| *task == THREAD));
    served.stop().await;
}

#[tokio::test]
async fn a_reload_changes_the_next_answer() {
    let served = Served::start(catalog(), zone());
    let address = served.address;
    let ttl = move || ask_udp(address, &query("foo.node.consul.", RecordType::A)).answers[0].ttl;
    assert_eq!(client(ttl).await, 0);
    let mut zone = zone();
    zone.settings.node_ttl = Duration::from_secs(9);
    served.backend.zone.store(Arc::new(zone));
    assert_eq!(client(ttl).await, 9);
    served.stop().await;
}

#[tokio::test]
async fn shutdown_closes_open_connections_and_frees_the_port() {
    let served = Served::start_at(OWN, catalog(), zone());
    let address = served.address;
    let mut idle = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        ask_tcp(&mut stream, &query("foo.node.consul.", RecordType::A));
        stream
    })
    .await;
    served.stop().await;
    client(move || {
        idle.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    })
    .await;
    Listeners::bind(&[address]).unwrap();
}

#[test]
fn a_port_in_use_is_named_even_if_its_user_would_share_it() {
    let own = SocketAddr::new([127, 0, 8, 2].into(), 0);
    let taken = Listeners::bind(&[own]).unwrap();
    let address = taken.addresses()[0];
    let in_use = |protocol: &str| {
        let error = Listeners::bind(&[address]).unwrap_err();
        assert_eq!(error.to_string(), format!("listening for {protocol} on {address}"));
        assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
    };
    in_use("DNS over TCP");
    drop(taken);
    let udp = UdpSocket::bind(address).unwrap();
    socket2::SockRef::from(&udp).set_reuse_port(true).unwrap();
    in_use("DNS over UDP");
}

#[tokio::test]
async fn dig_prints_what_the_tutorials_show() {
    if Command::new("dig").arg("-v").output().is_err() {
        eprintln!("skipped: dig is not installed");
        return;
    }
    let served = Served::start(catalog(), zone());
    let port = served.address.port().to_string();
    let dig = move |arguments: &[&str]| {
        let output = Command::new("dig")
            .args(["@127.0.0.1", "-p", &port, "+tries=1", "+time=10"])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    client(move || {
        assert_eq!(dig(&["web.service.consul", "+short"]), "10.1.0.1\n");
        assert_eq!(dig(&["web.service.consul", "SRV", "+short"]), "1 1 80 Foo.node.dc1.consul.\n");
        assert_eq!(dig(&["foo.node.consul", "+tcp", "+short"]), "10.1.0.1\n");
        assert_eq!(dig(&["-x", "10.1.0.1", "+short"]), "Foo.node.dc1.consul.\n");
        let node = dig(&["foo.node.consul"]);
        assert!(node.contains("flags: qr aa rd;"), "{node}");
        assert!(node.contains("recursion requested but not available"), "{node}");
        assert!(node.contains("TXT\t\"consul-network-segment=\""), "{node}");
        let missing = dig(&["missing.service.consul"]);
        assert!(missing.contains("status: NXDOMAIN"), "{missing}");
        assert!(missing.contains("SOA\tns.consul. hostmaster.consul."), "{missing}");
        assert!(dig(&["foo"]).contains("status: REFUSED"));
    })
    .await;
    served.stop().await;
}
