//! HTTP checks against real sockets of scripted servers.

use std::net::SocketAddr;

use lictor_api::GoDuration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::*;

/// Answers each connection with the next text, and returns the requests.
async fn server(answers: Vec<String>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            requests.push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    });
    (address, serving)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn check(url: String) -> CheckDefinition {
    CheckDefinition {
        http: url,
        timeout: GoDuration::from_secs(20),
        output_max_size: 4096,
        ..CheckDefinition::default()
    }
}

async fn once(definition: &CheckDefinition) -> Outcome {
    run(definition, &Dialer::new()).await
}

#[tokio::test]
async fn s2_3_the_status_decides_and_the_whole_body_is_shown() {
    use CheckStatus::{Critical, Passing, Warning};
    for (line, status) in [
        ("200 OK", Passing),
        ("204 No Content", Passing),
        ("404 Not Found", Critical),
        ("429 Slow down", Warning),
        ("500 Internal Server Error", Critical),
    ] {
        let body = if line.starts_with("204") { "" } else { "<h1>hello</h1>\n" };
        let (address, serving) = server(vec![answer(line, body)]).await;
        let url = format!("http://{address}/index.html?a=b");
        let outcome = once(&check(url.clone())).await;
        let output = format!("HTTP GET {url}: {line} Output: {body}");
        assert_eq!(outcome, Outcome { status, output });
        let request = &serving.await.unwrap()[0];
        assert!(request.starts_with("GET /index.html?a=b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("user-agent: Consul Health Check\r\n"), "{request}");
        assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn a_body_is_shown_up_to_the_limit() {
    for length in [4096, 4097, 100_000] {
        let (address, serving) = server(vec![answer("200 OK", &"x".repeat(length))]).await;
        let outcome = once(&check(format!("http://{address}/"))).await;
        let shown = format!("HTTP GET http://{address}/: 200 OK Output: {}", "x".repeat(4096));
        assert_eq!(outcome, Outcome::passing(shown), "{length}");
        serving.abort();
    }
}

#[tokio::test]
async fn redirects_are_followed_unless_the_check_forbids_it() {
    let moved = || answer("302 Found\r\nlocation: /next", "");
    let (address, serving) = server(vec![moved(), answer("200 OK", "there")]).await;
    let mut definition = check(format!("http://{address}/first"));
    definition.method = "POST".to_owned();
    let outcome = once(&definition).await;
    let shown = format!("HTTP POST http://{address}/first: 200 OK Output: there");
    assert_eq!(outcome, Outcome::passing(shown));
    let requests = serving.await.unwrap();
    assert!(requests[0].starts_with("POST /first ") && requests[1].starts_with("GET /next "));

    let (address, serving) = server(vec![moved()]).await;
    let mut definition = check(format!("http://{address}/"));
    definition.disable_redirects = true;
    assert_eq!(
        once(&definition).await,
        Outcome::critical(format!("HTTP GET http://{address}/: 302 Found Output: "))
    );
    serving.await.unwrap();
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let (address, serving) = server(vec![answer("302 Found\r\nlocation: /", ""); 11]).await;
    assert_eq!(
        once(&check(format!("http://{address}/"))).await,
        Outcome::critical(format!("Get \"http://{address}/\": stopped after 10 redirects"))
    );
    serving.await.unwrap();
}

#[tokio::test]
async fn headers_and_body_are_sent() {
    let (address, serving) = server(vec![answer("200 OK", "")]).await;
    let mut definition = check(format!("http://{address}/"));
    definition.method = "PUT".to_owned();
    definition.body = "ping".to_owned();
    definition.header.insert("Host".to_owned(), vec!["example.test".to_owned()]);
    definition.header.insert("X-Many".to_owned(), vec!["1".to_owned(), "2".to_owned()]);
    once(&definition).await;
    let request = serving.await.unwrap().remove(0);
    for line in ["host: example.test", "x-many: 1", "x-many: 2", "content-length: 4"] {
        assert!(request.contains(&format!("{line}\r\n")), "{line} in {request}");
    }
}

#[tokio::test]
async fn s4_11_localhost_is_loopback_and_a_refusal_is_worded_as_go_words_it() {
    let (address, serving) = server(vec![answer("200 OK", "ok")]).await;
    let url = format!("http://localhost:{}/", address.port());
    assert_eq!(
        once(&check(url.clone())).await,
        Outcome::passing(format!("HTTP GET {url}: 200 OK Output: ok"))
    );
    serving.await.unwrap();
    assert_eq!(
        once(&check(url.clone())).await,
        Outcome::critical(format!(
            "Get \"{url}\": dial tcp 127.0.0.1:{}: connect: connection refused",
            address.port()
        ))
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_is_critical_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut definition = check(url.clone());
    definition.timeout = GoDuration(Duration::from_millis(50));
    assert_eq!(
        once(&definition).await,
        Outcome::critical(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        ))
    );
}

#[tokio::test]
async fn an_unknown_certificate_fails_unless_verification_is_skipped() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key =
        rustls_pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer("200 OK", "secure").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let mut definition = check(format!("https://localhost:{port}/"));
    let outcome = once(&definition).await;
    assert_eq!(outcome.status, CheckStatus::Critical);
    assert!(outcome.output.contains("tls: "), "{}", outcome.output);
    definition.tls_skip_verify = true;
    assert_eq!(
        once(&definition).await,
        Outcome::passing(format!("HTTP GET https://localhost:{port}/: 200 OK Output: secure"))
    );
    serving.await.unwrap();
}
