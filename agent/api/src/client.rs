//! A client of the HTTP API, for the CLI and the operator.
//!
//! It speaks HTTP/1.1 over TCP, TLS and Unix sockets, keeps connections, looks names up with
//! hickory-resolver (static binaries have no getaddrinfo), bounds every response, and words errors
//! as Consul's CLI does.

mod config;
mod connect;

use std::{error::Error, io, path::PathBuf};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::{client::legacy, rt::TokioExecutor};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};

pub use config::{Config, ConfigError, Token};

/// Characters that are escaped in a path: all but letters, digits and `-_.~/`. Not `/`, because KV
/// keys are paths.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
/// Characters that are escaped in the value of a query parameter: all but letters, digits and
/// `-_.~`.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The largest body of a response that is received.
const MAX_RESPONSE_BYTES: usize = 512 * 1024 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No response: the connection was refused or broke, the name is unknown, TLS failed. The
    /// request may have been carried out.
    #[error("{} \"{url}\": {reason}", go_method(.method))]
    Transport {
        /// The request's method.
        method: Method,
        /// The request's URL.
        url: String,
        /// What failed, in Go's words where it has some.
        reason: String,
    },
    /// A response with a status other than 2xx.
    #[error("Unexpected response code: {} ({body})", status.as_u16())]
    Status {
        /// The status.
        status: StatusCode,
        /// The response's text.
        body: String,
    },
    /// A response whose body is not the JSON document that was expected.
    #[error("decoding the answer of {url}")]
    Decode {
        /// The request's URL.
        url: String,
        /// What is wrong with the body.
        source: serde_json::Error,
    },
    /// A response that was given up after 512 MiB. The request was carried out; a smaller one, such
    /// as a longer KV prefix, may have a response that fits.
    #[error("the response of {url} is larger than {MAX_RESPONSE_BYTES} bytes")]
    TooLarge {
        /// The request's URL.
        url: String,
    },
    /// A document that has no JSON form. Nothing was sent.
    #[error("encoding the request's body")]
    Encode(#[source] serde_json::Error),
    /// A URL that no request can have, such as one that is too long. Nothing was sent.
    #[error("{url}")]
    Request {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: http::Error,
    },
    /// The token's file cannot be read. Nothing was sent.
    #[error("reading the token in {}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The token cannot be sent in a header. Nothing was sent.
    #[error("the token holds characters that no header may hold")]
    TokenHeader,
}

impl ClientError {
    /// Returns whether the same request may succeed later: without a response, or with a status of
    /// 5xx or 429.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Decode { .. }
            | Self::TooLarge { .. }
            | Self::Encode(_)
            | Self::Request { .. }
            | Self::Token { .. }
            | Self::TokenHeader => false,
        }
    }

    /// Returns the response's status if it is other than 2xx.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns why the body of a response was not received.
    fn body(method: &Method, url: &str, error: &(dyn Error + Send + Sync + 'static)) -> Self {
        let url = url.to_owned();
        if error.is::<LengthLimitError>() {
            return Self::TooLarge { url };
        }
        Self::Transport { method: method.clone(), url, reason: error.to_string() }
    }
}

/// Go prints `Get` and `Put`.
fn go_method(method: &Method) -> String {
    let name = method.as_str().to_ascii_lowercase();
    name[..1].to_ascii_uppercase() + &name[1..]
}

/// A response with its whole body, whatever its status.
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
    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// [`ClientError::Decode`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|source| ClientError::Decode { url: self.url.clone(), source })
    }

    /// Returns `X-Consul-Index`, or 0.
    pub fn index(&self) -> u64 {
        self.headers
            .get("x-consul-index")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0)
    }

    /// Returns this response if its status is 2xx.
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
    /// Returns a client; nothing is connected yet.
    ///
    /// # Errors
    /// [`ConfigError`] names the address or certificate file that cannot be used.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let (connector, base) = connect::connector(&config)?;
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, base, config })
    }

    /// Returns the agent's address as a URL without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Reads; any status is a success.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, ClientError> {
        self.send(Method::GET, path, query, Bytes::new()).await
    }

    /// Reads and decodes a JSON document.
    ///
    /// # Errors
    /// As [`Self::send`], [`ClientError::Status`] and [`ClientError::Decode`].
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
    /// As [`Self::send`], [`ClientError::Status`] and [`ClientError::Encode`].
    pub async fn put_json(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<Answer, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Encode)?;
        self.send(Method::PUT, path, query, body.into()).await?.success()
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// As [`Self::send`], and [`ClientError::Status`].
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
    /// As [`Self::send`], and [`ClientError::Status`].
    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, ClientError> {
        self.send(Method::DELETE, path, query, Bytes::new()).await?.success()
    }

    /// Sends any request; any status is a success. Escapes `path` and the values of `query`, and
    /// adds the configured datacenter, consistency and token.
    ///
    /// # Errors
    /// [`ClientError::Request`], [`ClientError::Token`] and [`ClientError::TokenHeader`] before
    /// anything is sent; then [`ClientError::Transport`] and [`ClientError::TooLarge`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let url = self.url(path, query);
        let mut request = Request::builder().method(method.clone()).uri(&url);
        if let Some((name, value)) = self.config.token.header()? {
            request = request.header(name, value);
        }
        let request = request
            .header(header::USER_AGENT, concat!("lictor/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|source| ClientError::Request { url: url.clone(), source })?;
        let response = self.http.request(request).await.map_err(|error| {
            let reason = connect::reason(&error);
            ClientError::Transport { method: method.clone(), url: url.clone(), reason }
        })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_BYTES)
            .collect()
            .await
            .map_err(|error| ClientError::body(&method, &url, &*error))?;
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
    async fn a_response_sent_before_the_request_is_read() {
        const REFUSAL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\n\
            Connection: close\r\n\r\ntoo many\n";
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = client(&listener.local_addr().unwrap().to_string()).unwrap();
        // As an agent does at its limit of connections: it responds at once, closes its side, and
        // reads the beginning of a request.
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
    async fn a_response_beyond_the_limit_is_too_large_and_a_broken_one_a_transport_error() {
        let limited = Limited::new(Full::new(Bytes::from_static(b"four")), 3);
        let error = limited.collect().await.unwrap_err();
        let error = ClientError::body(&Method::GET, "http://a/v1/kv/", &*error);
        assert_eq!(
            error.to_string(),
            "the response of http://a/v1/kv/ is larger than 536870912 bytes"
        );
        assert!(!error.is_retryable());
        let broken = ClientError::body(&Method::GET, "http://a/", &io::Error::other("reset"));
        assert_eq!(broken.to_string(), "Get \"http://a/\": reset");
        assert!(broken.is_retryable());
    }

    #[tokio::test]
    async fn a_refused_connection_is_worded_as_by_consul() {
        // Bound and not listening: it refuses, and no other test gets its port.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = socket.local_addr().unwrap().port();
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
