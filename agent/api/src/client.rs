//! A client of the HTTP API, for the CLI and the operator.
//!
//! It speaks HTTP/1.1 over TCP, TLS and Unix sockets, keeps connections, looks names up with
//! hickory-resolver (static binaries have no getaddrinfo), bounds every answer, and reports errors
//! in the words that users of Consul's CLI know.

mod config;
mod connect;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{client::legacy, rt::TokioExecutor};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};

pub use config::{Config, ConfigError, Token};

/// What a path segment may hold unescaped; `/` too, because KV keys are paths.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
/// What a query value may hold unescaped.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 512 * 1024 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer: nobody listens, the name is unknown, TLS failed, the connection broke.
    #[error("{} \"{url}\": {reason}", go_method(.method))]
    Transport {
        /// The request's method.
        method: Method,
        /// Where it was sent.
        url: String,
        /// Why, in Go's words where there are some.
        reason: String,
    },
    /// An answer that says no.
    #[error("Unexpected response code: {} ({body})", status.as_u16())]
    Status {
        /// The status.
        status: StatusCode,
        /// The answer's text.
        body: String,
    },
    /// An answer that cannot be understood.
    #[error("decoding the answer of {url}")]
    Decode {
        /// What was asked.
        url: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A request that cannot be sent: a key that is no valid path, an unreadable token file.
    #[error("{0}")]
    Invalid(String),
}

impl ClientError {
    /// Whether the same request may succeed later: no answer, or a server without a leader.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Decode { .. } | Self::Invalid(_) => false,
        }
    }

    /// The answer's status, if there was an answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Go prints `Get` and `Put`.
fn go_method(method: &Method) -> String {
    let name = method.as_str().to_ascii_lowercase();
    name[..1].to_ascii_uppercase() + &name[1..]
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    url: String,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body decoded.
    ///
    /// # Errors
    /// [`ClientError::Decode`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|source| ClientError::Decode { url: self.url.clone(), source })
    }

    /// `X-Consul-Index`, or 0.
    pub fn index(&self) -> u64 {
        self.headers
            .get("x-consul-index")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0)
    }

    /// This answer if it says yes.
    ///
    /// # Errors
    /// [`ClientError::Status`] otherwise.
    pub fn success(self) -> Result<Self, ClientError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(ClientError::Status { status: self.status, body: self.text().trim_end().to_owned() })
    }
}

/// A client of one agent. Cloning shares its connections.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<connect::Connector, Full<Bytes>>,
    base: String,
    config: Config,
}

// === impl Client ===

impl Client {
    /// A client as `config` says; nothing is connected yet.
    ///
    /// # Errors
    /// [`ConfigError`] names the bad address or certificate file.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let (connector, base) = connect::connector(&config)?;
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, base, config })
    }

    /// The agent's address as a URL without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Reads; any status is an answer.
    ///
    /// # Errors
    /// [`ClientError`] when there is no answer.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, ClientError> {
        self.send(Method::GET, path, query, Bytes::new()).await
    }

    /// Reads and decodes.
    ///
    /// # Errors
    /// [`ClientError`], for a status other than 2xx too.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        self.get(path, query).await?.success()?.json()
    }

    /// Writes a JSON document.
    ///
    /// # Errors
    /// [`ClientError`], for a status other than 2xx too.
    pub async fn put_json(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<Answer, ClientError> {
        let body =
            serde_json::to_vec(body).map_err(|error| ClientError::Invalid(error.to_string()))?;
        self.send(Method::PUT, path, query, body.into()).await?.success()
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// [`ClientError`], for a status other than 2xx too.
    pub async fn put(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        self.send(Method::PUT, path, query, body).await?.success()
    }

    /// Deletes.
    ///
    /// # Errors
    /// [`ClientError`], for a status other than 2xx too.
    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, ClientError> {
        self.send(Method::DELETE, path, query, Bytes::new()).await?.success()
    }

    /// Sends any request. `path` is not escaped yet; the configured datacenter, consistency and
    /// token are added.
    ///
    /// # Errors
    /// [`ClientError`] when there is no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let url = self.url(path, query);
        let transport = |reason: String| ClientError::Transport {
            method: method.clone(),
            url: url.clone(),
            reason,
        };
        let mut request = Request::builder().method(method.clone()).uri(&url);
        if let Some((name, value)) = self.config.token.header()? {
            request = request.header(name, value);
        }
        let request = request
            .header(header::USER_AGENT, concat!("lictor/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| ClientError::Invalid(format!("{url}: {error}")))?;
        let answer =
            self.http.request(request).await.map_err(|error| transport(connect::reason(&error)))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| transport(error.to_string()))?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes(), url })
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        let mut url = format!("{}{}", self.base, utf8_percent_encode(path, PATH));
        let common = [
            self.config.datacenter.as_deref().map(|datacenter| ("dc", datacenter)),
            self.config.stale.then_some(("stale", "")),
        ];
        for (i, (name, value)) in
            query.iter().copied().chain(common.into_iter().flatten()).enumerate()
        {
            url.push(if i == 0 { '?' } else { '&' });
            url.push_str(name);
            if !value.is_empty() {
                url.push('=');
                url.extend(utf8_percent_encode(value, QUERY));
            }
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn client(address: &str) -> Result<Client, ConfigError> {
        Client::new(Config { address: address.to_owned(), ..Config::default() })
    }

    #[test]
    fn addresses_are_understood_as_consul_does() {
        for (address, base) in [
            ("", "http://127.0.0.1:8500"),
            ("10.0.0.1:8500", "http://10.0.0.1:8500"),
            ("https://consul.example:8501/", "https://consul.example:8501"),
            ("unix:///run/consul.sock", "http://localhost"),
        ] {
            assert_eq!(client(address).unwrap().base(), base, "{address}");
        }
        for address in ["ftp://x", "http://", "a b"] {
            assert!(client(address).is_err(), "{address}");
        }
    }

    #[test]
    fn the_environment_is_read_and_secrets_do_not_print() {
        let config = Config::from_vars(|name| match name {
            "CONSUL_HTTP_ADDR" => Some("x:1".to_owned()),
            "CONSUL_HTTP_TOKEN" => Some("s3cret".to_owned()),
            "CONSUL_HTTP_SSL" => Some("true".to_owned()),
            _ => None,
        })
        .unwrap();
        assert!(config.tls && config.address == "x:1");
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn paths_and_queries_are_escaped() {
        let client = client("").unwrap();
        let url = client.url("/v1/kv/a b/ü?", &[("recurse", ""), ("separator", "/&")]);
        assert_eq!(url, "http://127.0.0.1:8500/v1/kv/a%20b/%C3%BC%3F?recurse&separator=%2F%26");
    }

    #[tokio::test]
    async fn an_answer_that_came_before_the_request_is_read() {
        const REFUSAL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\n\
            Connection: close\r\n\r\ntoo many\n";
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = client(&listener.local_addr().unwrap().to_string()).unwrap();
        // As an agent does at the bound of its connections: it answers at once, ends its side, and
        // waits for a request's beginning.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.write_all(REFUSAL).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                if stream.read(&mut [0; 4096]).is_err() {
                    return;
                }
            }
        });
        for body in [Bytes::new(), Bytes::from(vec![b'x'; 8 << 20])] {
            for _ in 0..20 {
                let error = client.put("/v1/kv/x", &[], body.clone()).await.unwrap_err();
                assert_eq!(error.to_string(), "Unexpected response code: 429 (too many)");
            }
        }
    }

    #[tokio::test]
    async fn nobody_listening_reads_as_in_consul() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = client(&format!("127.0.0.1:{port}"))
            .unwrap()
            .get("/v1/status/leader", &[])
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "Get \"http://127.0.0.1:{port}/v1/status/leader\": dial tcp 127.0.0.1:{port}: connect: connection refused"
            )
        );
        assert!(error.is_retryable());
    }
}
