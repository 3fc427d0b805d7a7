//! Sidecars in one process, with real sockets, real TLS and a real authority.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lictor_sidecar::{
    Config,
    config::{Credential, ServerTls, Servers, Source, Subject, Upstreams},
    metrics::Metrics,
    probe,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{
    Ca, LIMIT, Server, TRUST_DOMAIN, config, destination, echo, eventually, exchange, own_upstream,
    ready, source, start, unused,
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_echo_passes_through_two_sidecars() {
    let server = Server::start(HOUR);
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let bind = unused();
    let public = echo_sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    let web = source(&server, "web", "echo", bind).await;

    assert_eq!(exchange(bind, b"hello!").await.unwrap(), b"hello!");
    assert_eq!(web.handle.upstream_address("echo"), Some(bind));
    let leaf = web.handle.certificate().unwrap();
    assert_eq!(leaf.spiffe_id, server.mesh.ca.id("web"));
    assert!(
        leaf.not_after.duration_since(leaf.not_before).unwrap() >= HOUR - Duration::from_secs(2)
    );
}

#[tokio::test]
async fn an_endpoint_with_another_identity_gets_no_data() {
    let server = Server::start(HOUR);
    let other = destination(&server, "other", echo().await).await;
    let bind = unused();
    let public = other.handle.public_address().unwrap();
    // The servers say "echo lives here", but the certificate there is that of "other".
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    let _web = source(&server, "web", "echo", bind).await;
    assert!(exchange(bind, b"secret").await.is_err());
}

/// Speaks TLS to a public listener as anyone might, and says whether a byte came back.
async fn stranger(
    public: SocketAddr,
    certificate: Option<(String, String)>,
) -> std::io::Result<usize> {
    #[derive(Debug)]
    struct Anything;
    impl rustls::client::danger::ServerCertVerifier for Anything {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls_pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything));
    let tls = match certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let talk = async {
        let tcp = TcpStream::connect(public).await?;
        let name = ServerName::IpAddress(public.ip().into());
        let mut tls = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?;
        tls.write_all(b"hello!").await?;
        tls.flush().await?;
        tls.read(&mut [0; 16]).await
    };
    timeout(LIMIT, talk).await.expect("an answer in time")
}

#[tokio::test]
async fn only_a_certificate_of_the_mesh_opens_the_public_listener() {
    let server = Server::start(HOUR);
    let ca = &server.mesh.ca;
    let sidecar = destination(&server, "echo", echo().await).await;
    let public = sidecar.handle.public_address().unwrap();

    let id = ca.id("web").to_string();
    assert_eq!(stranger(public, Some(ca.leaf(std::slice::from_ref(&id)))).await.unwrap(), 6);

    assert!(stranger(public, None).await.is_err(), "no certificate");
    let foreign = Ca::new(TRUST_DOMAIN);
    let forged = foreign.leaf(std::slice::from_ref(&id));
    assert!(stranger(public, Some(forged)).await.is_err(), "another authority");
    let elsewhere =
        "spiffe://99999999-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web";
    let elsewhere = ca.leaf(&[elsewhere.to_owned()]);
    assert!(stranger(public, Some(elsewhere)).await.is_err(), "another trust domain");
    let double = ca.leaf(&[id.clone(), ca.id("api").to_string()]);
    assert!(stranger(public, Some(double)).await.is_err(), "two identities");
    assert!(stranger(public, Some(ca.leaf(&[]))).await.is_err(), "no identity");
}

#[tokio::test]
async fn a_denied_intention_cuts_open_connections_and_refuses_new_ones() {
    let server = Server::start(HOUR);
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let bind = unused();
    let public = echo_sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    let _web = source(&server, "web", "echo", bind).await;

    let mut open = TcpStream::connect(bind).await.unwrap();
    open.write_all(b"one").await.unwrap();
    open.read_exact(&mut [0; 3]).await.unwrap();

    server.mesh.intend("echo", true, &[("api", false)]);
    open.write_all(b"two").await.unwrap();
    open.read_exact(&mut [0; 3]).await.unwrap();

    server.mesh.intend("echo", true, &[("web", false)]);
    let cut = timeout(Duration::from_secs(1), open.read(&mut [0; 3])).await;
    assert!(cut.expect("cut within a second").is_err(), "a reset, not an orderly end");
    assert!(exchange(bind, b"three").await.is_err());

    server.mesh.intend("echo", true, &[]);
    eventually("the way is open again", || async {
        exchange(bind, b"four").await.is_ok_and(|answer| answer == b"four")
    })
    .await;
}

/// Bytes that betray any reordering or loss.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    let byte = |i: usize| (i.wrapping_mul(31) ^ (i >> 8) ^ (i >> 16)) as u8 ^ seed;
    (0..length).map(byte).collect()
}

#[tokio::test]
async fn half_closed_transfers_are_exact_in_both_directions() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let server = Server::start(HOUR);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    // First hears the client out to its end of stream, then answers at length, then ends.
    let application = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        stream.read_to_end(&mut request).await.unwrap();
        stream.write_all(&pattern(LENGTH, 7)).await.unwrap();
        stream.shutdown().await.unwrap();
        request
    });
    let sidecar = destination(&server, "bulk", app).await;
    let bind = unused();
    let public = sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "bulk", bind, &[server.mesh.endpoint("bulk", public)]);
    let _web = source(&server, "web", "bulk", bind).await;

    let answer = exchange(bind, &pattern(LENGTH, 3)).await.unwrap();
    assert!(answer == pattern(LENGTH, 7), "{} bytes came back", answer.len());
    let request = timeout(LIMIT, application).await.unwrap().unwrap();
    assert!(request == pattern(LENGTH, 3), "{} bytes arrived", request.len());
}

#[tokio::test]
async fn a_server_that_ends_first_is_heard_out_and_may_still_be_spoken_to() {
    let server = Server::start(HOUR);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    let application = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"greeting").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        rest
    });
    let sidecar = destination(&server, "greeter", app).await;
    let bind = unused();
    let public = sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "greeter", bind, &[server.mesh.endpoint("greeter", public)]);
    let _web = source(&server, "web", "greeter", bind).await;

    let mut stream = TcpStream::connect(bind).await.unwrap();
    let mut greeting = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut greeting)).await.unwrap().unwrap();
    assert_eq!(greeting, b"greeting");
    stream.write_all(b"thank you").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(LIMIT, application).await.unwrap().unwrap(), b"thank you");
}

#[tokio::test]
async fn an_abort_never_looks_like_the_end_of_the_data() {
    let server = Server::start(HOUR);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"half of the ans").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        stream.set_zero_linger().unwrap();
    });
    let sidecar = destination(&server, "breaker", app).await;
    let bind = unused();
    let public = sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "breaker", bind, &[server.mesh.endpoint("breaker", public)]);
    let _web = source(&server, "web", "breaker", bind).await;

    let mut stream = TcpStream::connect(bind).await.unwrap();
    stream.read_exact(&mut [0; 15]).await.unwrap();
    stream.write_all(b"more").await.unwrap();
    let end = timeout(LIMIT, stream.read(&mut [0; 1])).await.unwrap();
    assert!(end.is_err(), "read {end:?}");
}

#[tokio::test]
async fn renewed_certificates_drop_nothing() {
    let server = Server::start(Duration::from_secs(3));
    let mut signed = server.mesh.signed();
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let bind = unused();
    let public = echo_sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    let web = source(&server, "web", "echo", bind).await;
    let first = web.handle.certificate().unwrap();

    let mut old = TcpStream::connect(bind).await.unwrap();
    let renewals = signed.wait_for(|count| *count >= 6);
    let traffic = async {
        loop {
            assert_eq!(exchange(bind, b"new").await.unwrap(), b"new");
            old.write_all(b"old").await.unwrap();
            old.read_exact(&mut [0; 3]).await.unwrap();
        }
    };
    tokio::select! {
        renewed = timeout(LIMIT, renewals) => assert!(renewed.is_ok(), "not renewed in time"),
        () = traffic => {}
    }
    assert_ne!(web.handle.certificate().unwrap(), first);
}

#[tokio::test]
async fn without_servers_new_connections_are_still_served_and_a_return_is_noticed() {
    let mut server = Server::start(HOUR);
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let bind = unused();
    let public = echo_sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    let web = source(&server, "web", "echo", bind).await;
    assert_eq!(exchange(bind, b"before").await.unwrap(), b"before");
    server.kill();
    for _ in 0..5 {
        assert_eq!(exchange(bind, b"during").await.unwrap(), b"during");
    }
    assert_eq!(web.handle.check(), Ok(()));

    server.mesh.upstream("web", "echo", bind, &[]);
    server.restart();
    eventually("what changed meanwhile is known", || async {
        exchange(bind, b"after").await.is_err()
    })
    .await;
}

#[tokio::test]
async fn new_roots_are_trusted_at_once_and_certificates_follow() {
    let server = Server::start(Duration::from_secs(10));
    let mut signed = server.mesh.signed();
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let bind = unused();
    let public = echo_sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    let _web = source(&server, "web", "echo", bind).await;
    assert_eq!(*signed.borrow_and_update(), 2);
    server.mesh.rotate();
    let renewed = timeout(LIMIT, signed.wait_for(|count| *count == 4));
    let traffic = async {
        loop {
            assert_eq!(exchange(bind, b"x").await.unwrap(), b"x");
        }
    };
    tokio::select! {
        renewed = renewed => assert!(renewed.is_ok(), "not renewed in time"),
        () = traffic => {}
    }
    assert_eq!(exchange(bind, b"x").await.unwrap(), b"x");
}

/// As in a pod: TLS with pinned roots and a token file.
fn pod_config(server: &Server, folder: &std::path::Path, name: &str) -> Config {
    Config {
        source: Source::Servers(Servers {
            uris: vec![format!("https://localhost:{}", server.address.port()).parse().unwrap()],
            tls: Some(ServerTls {
                roots_file: folder.join("roots.pem"),
                server_name: name.to_owned(),
            }),
            credential: Credential::TokenFile(folder.join("token")),
            subject: Subject::Service("web".to_owned()),
        }),
        ..config(server.address, "web")
    }
}

#[tokio::test]
async fn a_rotated_token_is_read_again_and_servers_are_known_by_name_and_root() {
    let server = Server::start_tls();
    *server.mesh.token.lock().unwrap() = Some("fresh");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "stale\n").unwrap();
    let foreign = Ca::new(TRUST_DOMAIN);
    std::fs::write(folder.path().join("roots.pem"), foreign.pem()).unwrap();

    let web = start(pod_config(&server, folder.path(), "server.dc1.consul"));
    let misled = start(pod_config(&server, folder.path(), "server.dc2.consul"));
    std::fs::write(folder.path().join("roots.pem"), server.mesh.ca.pem()).unwrap();
    std::fs::write(folder.path().join("token"), "fresh\n").unwrap();
    ready(&web).await;
    // It has the same token and roots; only the name is not the servers'.
    let deceived = timeout(Duration::from_secs(1), misled.handle.ready()).await;
    assert!(deceived.is_err() && misled.handle.certificate().is_none());
}

#[tokio::test]
async fn a_port_in_use_is_named_while_the_other_upstream_serves() {
    let server = Server::start(HOUR);
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let public = echo_sidecar.handle.public_address().unwrap();
    let (taken, free) = (unused(), unused());
    let owner = TcpListener::bind(taken).await.unwrap();
    server.mesh.upstream("web", "echo", free, &[server.mesh.endpoint("echo", public)]);
    let web = start(Config {
        upstreams: Upstreams::Fixed(vec![own_upstream("late", taken), own_upstream("echo", free)]),
        ..config(server.address, "web")
    });
    eventually("the other upstream serves", || async {
        exchange(free, b"x").await.is_ok_and(|answer| answer == b"x")
    })
    .await;
    assert_eq!(web.handle.check(), Err(format!("{taken} is already in use")));

    drop(owner);
    ready(&web).await;
    assert_eq!(web.handle.upstream_address("late"), Some(taken));
}

#[tokio::test]
async fn a_dead_endpoint_is_set_aside_and_no_connection_is_lost() {
    let server = Server::start(HOUR);
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let public = echo_sidecar.handle.public_address().unwrap();
    let (bind, dead) = (unused(), unused());
    let endpoints = [server.mesh.endpoint("echo", dead), server.mesh.endpoint("echo", public)];
    server.mesh.upstream("web", "echo", bind, &endpoints);
    let _web = source(&server, "web", "echo", bind).await;
    for _ in 0..20 {
        assert_eq!(exchange(bind, b"x").await.unwrap(), b"x");
    }
}

#[tokio::test]
async fn an_upstream_without_instances_is_refused_until_one_appears() {
    let server = Server::start(HOUR);
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let public = echo_sidecar.handle.public_address().unwrap();
    let bind = unused();
    let _web = source(&server, "web", "echo", bind).await;
    assert!(exchange(bind, b"x").await.is_err());
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    eventually("the new instance is used", || async {
        exchange(bind, b"x").await.is_ok_and(|answer| answer == b"x")
    })
    .await;
}

#[tokio::test]
async fn an_application_that_starts_late_is_found_without_a_restart() {
    let server = Server::start(HOUR);
    let app = unused();
    let sidecar = destination(&server, "late", app).await;
    let public = sidecar.handle.public_address().unwrap();
    let bind = unused();
    server.mesh.upstream("web", "late", bind, &[server.mesh.endpoint("late", public)]);
    let _web = source(&server, "web", "late", bind).await;
    assert!(exchange(bind, b"x").await.is_err());

    let listener = TcpListener::bind(app).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    assert_eq!(exchange(bind, b"x").await.unwrap(), b"x");
}

#[tokio::test]
async fn a_drain_lets_an_open_transfer_finish_and_accepts_nothing_new() {
    let server = Server::start(HOUR);
    let mut echo_sidecar = destination(&server, "echo", echo().await).await;
    let bind = unused();
    let public = echo_sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    let _web = source(&server, "web", "echo", bind).await;
    let mut open = TcpStream::connect(bind).await.unwrap();
    open.write_all(b"one").await.unwrap();
    open.read_exact(&mut [0; 3]).await.unwrap();

    echo_sidecar.stop.cancel();
    eventually("the public listener is closed", || async {
        TcpStream::connect(public).await.is_err()
    })
    .await;
    open.write_all(b"two").await.unwrap();
    open.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LIMIT, open.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"two");
    let ended = timeout(LIMIT, &mut echo_sidecar.task).await.expect("ends once drained");
    assert!(ended.unwrap().is_ok());
}

#[tokio::test]
async fn connections_beyond_the_cap_are_refused_and_the_others_stay() {
    let server = Server::start(HOUR);
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let bind = unused();
    let public = echo_sidecar.handle.public_address().unwrap();
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    let mut web = config(server.address, "web");
    web.upstreams = Upstreams::Fixed(vec![own_upstream("echo", bind)]);
    web.limits.max_connections = 1;
    let web = start(web);
    ready(&web).await;
    let mut open = TcpStream::connect(bind).await.unwrap();
    open.write_all(b"one").await.unwrap();
    open.read_exact(&mut [0; 3]).await.unwrap();
    assert!(exchange(bind, b"x").await.is_err());
    open.write_all(b"two").await.unwrap();
    open.read_exact(&mut [0; 3]).await.unwrap();
}

#[tokio::test]
async fn the_probe_says_what_is_missing_and_then_that_it_is_ready() {
    let mut server = Server::start(HOUR);
    let address = server.address;
    let (admin, orphan_admin) = (unused(), unused());
    let sidecar = start(Config { admin: Some(admin), ..config(address, "web") });
    ready(&sidecar).await;
    assert_eq!(probe::probe(admin).await, Ok("ready".to_owned()));
    server.kill();
    let _orphan = start(Config { admin: Some(orphan_admin), ..config(address, "web") });
    eventually("the probe answers", || async {
        probe::probe(orphan_admin).await == Err("not ready: waiting for a certificate".to_owned())
    })
    .await;
    assert!(probe::probe(unused()).await.is_err());
}

#[tokio::test]
async fn a_final_refusal_ends_the_sidecar_with_the_servers_words() {
    let server = Server::start(HOUR);
    let mut sidecar = start(config(server.address, "forbidden"));
    let ended = timeout(LIMIT, &mut sidecar.task).await.expect("ends").unwrap();
    assert_eq!(
        lictor_sidecar::report::chain(&ended.unwrap_err()),
        "the server refused a certificate: service \"forbidden\" is not yours"
    );
}

#[tokio::test]
async fn upstreams_follow_the_annotations_file_and_a_bad_list_changes_nothing() {
    let server = Server::start(HOUR);
    let echo_sidecar = destination(&server, "echo", echo().await).await;
    let public = echo_sidecar.handle.public_address().unwrap();
    let bind = unused();
    server.mesh.upstream("web", "echo", bind, &[server.mesh.endpoint("echo", public)]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("annotations");
    let write = |list: &str| {
        // A rename, as kubelet's symbolic link: the file is never seen half written.
        let next = folder.path().join("next");
        std::fs::write(&next, format!("lictor.dev/connect-service-upstreams=\"{list}\"\n"))
            .unwrap();
        std::fs::rename(next, &file).unwrap();
    };
    write("echo:nope");
    let web = start(Config {
        upstreams: Upstreams::Annotations(file.clone()),
        ..config(server.address, "web")
    });
    ready(&web).await;
    write(&format!("late:{}:local_bind_address={}", bind.port(), unused().ip()));
    eventually("the new upstream is open", || async {
        web.handle.upstream_address("late").is_some()
    })
    .await;
}

#[tokio::test]
async fn every_end_of_a_connection_is_counted_by_its_result() {
    let server = Server::start(HOUR);
    let sidecar = destination(&server, "counted", echo().await).await;
    let public = sidecar.handle.public_address().unwrap();
    let (bind, metrics) = (unused(), unused());
    server.mesh.upstream("web", "counted", bind, &[server.mesh.endpoint("counted", public)]);
    let web = start(Config {
        upstreams: Upstreams::Fixed(vec![own_upstream("counted", bind)]),
        metrics: Some((metrics, Metrics::install().unwrap())),
        ..config(server.address, "web")
    });
    ready(&web).await;

    exchange(bind, b"hello!").await.unwrap();
    let counted = |line: &'static str| async move {
        eventually(line, || async {
            scrape(metrics).await.lines().any(|found| found.starts_with(line))
        })
        .await;
    };
    counted("# TYPE lictor_sidecar_connections_closed_total counter").await;
    counted(r#"lictor_sidecar_connections_closed_total{side="outbound",service="counted",result="ok"} 1"#).await;
    counted(r#"lictor_sidecar_connections_closed_total{side="inbound",service="counted",result="ok"} 1"#).await;
    counted(r#"lictor_sidecar_sent_bytes_total{side="outbound",service="counted"} 6"#).await;
    counted(r#"lictor_sidecar_received_bytes_total{side="outbound",service="counted"} 6"#).await;
    counted("lictor_sidecar_certificate_expiry_timestamp_seconds ").await;

    // Each change takes a moment to arrive, so connections are made until one ends that way.
    let ends = |line: &'static str| async move {
        eventually(line, || async {
            drop(exchange(bind, b"x").await);
            scrape(metrics).await.lines().any(|found| found.starts_with(line))
        })
        .await;
    };
    server.mesh.upstream("web", "counted", bind, &[server.mesh.endpoint("counted", unused())]);
    ends(r#"lictor_sidecar_connections_closed_total{side="outbound",service="counted",result="connect_failed"}"#).await;
    ends(r#"lictor_sidecar_endpoint_failures_total{service="counted"}"#).await;
    server.mesh.upstream("web", "counted", bind, &[]);
    ends(r#"lictor_sidecar_connections_closed_total{side="outbound",service="counted",result="no_endpoints"}"#).await;
    server.mesh.upstream("web", "counted", bind, &[server.mesh.endpoint("counted", public)]);
    server.mesh.intend("counted", false, &[]);
    ends(r#"lictor_sidecar_connections_closed_total{side="inbound",service="counted",result="denied"}"#).await;
}

/// The metrics page.
async fn scrape(metrics: SocketAddr) -> String {
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut page = String::new();
    timeout(LIMIT, stream.read_to_string(&mut page)).await.unwrap().unwrap();
    page
}
