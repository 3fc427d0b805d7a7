//! `lictor-sidecar probe`: requests the sidecar's readiness from its admin listener.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_RESPONSE_BYTES: usize = 4096;

/// Requests the readiness of the sidecar behind `admin`; returns one line if it is ready.
///
/// # Errors
/// Why the sidecar is not ready, or why the request failed.
pub async fn probe(admin: SocketAddr) -> Result<String, String> {
    let response = tokio::time::timeout(PROBE_TIMEOUT, get_ready(admin)).await;
    match response {
        Ok(Ok((true, text))) => Ok(text),
        Ok(Ok((false, text))) => Err(format!("not ready: {text}")),
        Ok(Err(error)) => Err(format!("asking {admin}: {error}")),
        Err(_) => Err(format!("asking {admin}: no answer within {PROBE_TIMEOUT:?}")),
    }
}

/// Requests `/ready`; returns whether the status is a success, and the body.
async fn get_ready(
    admin: SocketAddr,
) -> Result<(bool, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/ready")
        .header(header::HOST, admin.to_string())
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let ready = response.status().is_success();
        let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await?;
        Ok((ready, String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()))
    };
    let (outcome, connection) = tokio::join!(exchange, connection);
    connection?;
    outcome
}
