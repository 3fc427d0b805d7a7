//! HTTP checks: 2xx passes, 429 warns, anything else is critical; the output shows the beginning of
//! the body.
//!
//! One connection per request. Up to ten redirects are followed, as Consul follows them, unless the
//! check sets `disable_redirects`. No more of a body is read than the output may hold.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, HOST, LOCATION, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1, ext::ReasonPhrase};
use hyper_util::rt::TokioIo;
use lictor_api::types::{agent::CheckDefinition, health::CheckStatus};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use url::Url;

use lictor_api::names::{join_host_port, prefix};

use super::Outcome;
use crate::dial::Dialer;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 10;

/// A response with the beginning of its body.
struct Fetched {
    status: StatusCode,
    reason: String,
    location: Option<String>,
    /// The beginning of the body.
    body: Vec<u8>,
}

/// Requests the check's URL once.
pub(super) async fn run(definition: &CheckDefinition, dialer: &Dialer) -> Outcome {
    let limit = if definition.timeout.is_zero() { DEFAULT_TIMEOUT } else { definition.timeout.0 };
    let method = match definition.method.as_str() {
        "" => "GET",
        method => method,
    };
    let reason = match timeout(limit, fetch(definition, method, dialer)).await {
        Ok(Ok(outcome)) => return outcome,
        Ok(Err(reason)) => reason,
        Err(_) => {
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()
        }
    };
    let (first, rest) = method.split_at(method.len().min(1));
    let verb = format!("{first}{}", rest.to_ascii_lowercase());
    Outcome::critical(format!("{verb} \"{}\": {reason}", definition.http))
}

async fn fetch(
    definition: &CheckDefinition,
    method: &str,
    dialer: &Dialer,
) -> Result<Outcome, String> {
    let mut url = Url::parse(&definition.http).map_err(|error| error.to_string())?;
    let mut verb = Method::from_bytes(method.as_bytes())
        .map_err(|_| format!("net/http: invalid method {method:?}"))?;
    let mut body = definition.body.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = send(definition, &verb, &url, &body, dialer).await?;
        let Some(next) = redirect(definition, &url, &response) else {
            return Ok(outcome_of(definition, method, &response));
        };
        url = next;
        let repeats = matches!(
            response.status,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        if !repeats {
            body.clear();
            if verb != Method::HEAD {
                verb = Method::GET;
            }
        }
    }
    Err(format!("stopped after {MAX_REDIRECTS} redirects"))
}

fn redirect(definition: &CheckDefinition, url: &Url, response: &Fetched) -> Option<Url> {
    let moved = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if definition.disable_redirects || !moved {
        return None;
    }
    url.join(response.location.as_deref()?).ok()
}

async fn send(
    definition: &CheckDefinition,
    method: &Method,
    url: &Url,
    body: &str,
    dialer: &Dialer,
) -> Result<Fetched, String> {
    let request = request(definition, method, url, body)?;
    let limit = definition.output_max_size as usize;
    let host = url.host_str().ok_or("http: no Host in request URL")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let secure = match url.scheme() {
        "http" => false,
        "https" => true,
        other => return Err(format!("unsupported protocol scheme \"{other}\"")),
    };
    let port = url.port_or_known_default().ok_or("no port in request URL")?;
    let address = join_host_port(host, port);
    let stream = dialer.connect_tcp(&address).await?;
    if secure {
        let stream = dialer.start_tls(stream, &address, definition).await?;
        exchange(stream, request, limit).await
    } else {
        exchange(stream, request, limit).await
    }
}

fn request(
    definition: &CheckDefinition,
    method: &Method,
    url: &Url,
    body: &str,
) -> Result<Request<Full<Bytes>>, String> {
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("Consul Health Check"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/plain, text/*, */*"));
    let host = HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
    headers.insert(HOST, host);
    for (name, values) in &definition.header {
        let invalid = || format!("net/http: invalid header field {name:?}");
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        headers.remove(&key);
        for value in values {
            headers.append(&key, HeaderValue::from_str(value).map_err(|_| invalid())?);
        }
    }
    Ok(request)
}

/// Sends one request and reads the beginning of the response; then the connection is closed.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Fetched, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
    let response = async {
        let (head, body) =
            sender.send_request(request).await.map_err(|error| failure(&error))?.into_parts();
        let reason = match head.extensions.get::<ReasonPhrase>() {
            Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
            None => head.status.canonical_reason().unwrap_or_default().to_owned(),
        };
        let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        Ok(Fetched {
            status: head.status,
            reason,
            location: location.map(str::to_owned),
            body: beginning(body, limit).await,
        })
    };
    let (mut connection, mut response) = (pin!(connection), pin!(response));
    tokio::select! {
        received = &mut response => received,
        // What was received before the connection ended can still be read.
        _ = &mut connection => response.await,
    }
}

fn failure(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None if error.is_incomplete_message() => "EOF".to_owned(),
        None => error.to_string(),
    }
}

fn outcome_of(definition: &CheckDefinition, method: &str, response: &Fetched) -> Outcome {
    let status = match response.status {
        code if code.is_success() => CheckStatus::Passing,
        StatusCode::TOO_MANY_REQUESTS => CheckStatus::Warning,
        _ => CheckStatus::Critical,
    };
    let text = String::from_utf8_lossy(&response.body);
    let output = format!(
        "HTTP {method} {}: {} {} Output: {}",
        definition.http,
        response.status.as_u16(),
        response.reason,
        prefix(&text, definition.output_max_size as usize)
    );
    Outcome { status, output }
}

/// Reads at most `limit` bytes of a body. Returns what was received of a body that breaks off.
async fn beginning(mut body: Incoming, limit: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    while kept.len() < limit {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Some(chunk) = frame.data_ref() {
                    kept.extend_from_slice(&chunk[..chunk.len().min(limit - kept.len())]);
                }
            }
            Some(Err(_)) | None => break,
        }
    }
    kept
}

#[cfg(test)]
mod tests;
