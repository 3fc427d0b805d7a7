//! One request, parsed once: path, query parameters, headers and body; and who sent it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, header::AUTHORIZATION, request::Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What Go escapes in a query.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Header of a request that a server forwarded to the leader. A server that does not lead answers it
/// with 421, having done nothing. What clients send under this name is dropped.
pub const TO_LEADER: &str = "x-lictor-to-leader";

/// Header that counts how often a request was forwarded. What clients send under this name is
/// dropped.
const HOPS: &str = "x-lictor-hops";

/// The path or the query is not percent-encoded UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path or the query is not percent-encoded UTF-8")]
pub struct MalformedRequest;

/// Who is on the other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A client of a Unix socket; the file's permissions have let it in.
    Unix,
    /// Another agent, which forwards what its client asked.
    Forwarded {
        /// The other agent.
        address: SocketAddr,
        /// It is a server of this datacenter, which asked the gate before it forwarded this.
        is_authorized: bool,
    },
}

impl Peer {
    /// Through another agent.
    pub fn is_forwarded(self) -> bool {
        matches!(self, Self::Forwarded { .. })
    }

    /// On this machine: loopback or a Unix socket.
    pub fn is_local(self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix => true,
            Self::Forwarded { .. } => false,
        }
    }

    /// Returns whether another server has authorized the request.
    pub fn is_authorized(self) -> bool {
        matches!(self, Self::Forwarded { is_authorized: true, .. })
    }
}

/// A request without its socket.
#[derive(Clone)]
pub struct Request {
    method: Method,
    path: String,
    tail: String,
    query: Vec<(String, String)>,
    raw_query: String,
    headers: HeaderMap,
    /// The body, already bounded.
    pub body: Bytes,
    /// Who sent it.
    pub peer: Peer,
}

impl Request {
    /// Parses the head of a request.
    ///
    /// # Errors
    /// [`MalformedRequest`] for a query that is not percent-encoded UTF-8.
    pub fn new(mut head: Parts, body: Bytes, peer: Peer) -> Result<Self, MalformedRequest> {
        if !peer.is_forwarded() {
            head.headers.remove(TO_LEADER);
            head.headers.remove(HOPS);
        }
        Ok(Self {
            query: parse_query(head.uri.query().unwrap_or_default())?,
            raw_query: head.uri.query().unwrap_or_default().to_owned(),
            path: head.uri.path().to_owned(),
            tail: String::new(),
            method: head.method,
            headers: head.headers,
            body,
            peer,
        })
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path as it was sent, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What follows the route's path, percent-decoded: a key, a service's name. May be empty and
    /// may contain slashes.
    pub fn tail(&self) -> &str {
        &self.tail
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// All query parameters in the order given, decoded.
    pub fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// The first value of a query parameter; empty text when it has none.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params(name).next()
    }

    /// Every value of a repeatable query parameter.
    pub fn params(&self, name: &str) -> impl Iterator<Item = &str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a query parameter is there, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        self.param(name).is_some()
    }

    /// Returns how often agents forwarded the request before it came here.
    pub fn hops(&self) -> u8 {
        self.header(HOPS).and_then(|hops| hops.parse().ok()).unwrap_or(0)
    }

    /// Counts that the request is forwarded once more.
    pub fn add_hop(&mut self) {
        self.headers.insert(HOPS, u16::from(self.hops().saturating_add(1)).into());
    }

    /// Adds a header for the agent that the request is forwarded to.
    pub fn mark(&mut self, name: &'static str) {
        self.headers.insert(name, http::HeaderValue::from_static("1"));
    }

    /// Replaces `near=_agent` with this agent's node name before forwarding; the receiver would
    /// resolve it to itself.
    pub fn fill_in_agent(&mut self, node: &str) {
        if self.peer.is_forwarded() || !self.params("near").any(|near| near == "_agent") {
            return;
        }
        let named = format!("near={}", utf8_percent_encode(node, COMPONENT));
        let means_agent = |pair: &str| {
            let decoded = parse_query(pair).unwrap_or_default();
            matches!(&decoded[..], [(key, value)] if key == "near" && value == "_agent")
        };
        let pair = |pair| if means_agent(pair) { named.as_str() } else { pair };
        self.raw_query = self.raw_query.split('&').map(pair).collect::<Vec<_>>().join("&");
        for (_, value) in self.query.iter_mut().filter(|(key, _)| key == "near") {
            if value == "_agent" {
                node.clone_into(value);
            }
        }
    }

    /// Path and query as they were sent.
    pub fn uri(&self) -> String {
        let mark = if self.raw_query.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.path, self.raw_query)
    }

    /// The datacenter that the client names.
    pub fn datacenter(&self) -> Option<&str> {
        ["datacenter", "dc"]
            .into_iter()
            .find_map(|name| self.param(name).filter(|value| !value.is_empty()))
    }

    /// The query as it was sent.
    pub fn raw_query(&self) -> &str {
        &self.raw_query
    }

    /// The query as Go writes it: sorted by key, without the token.
    pub fn encoded_query(&self) -> String {
        let encode = |text| utf8_percent_encode(text, COMPONENT).to_string().replace("%20", "+");
        let mut pairs: Vec<_> = self.query.iter().filter(|(key, _)| key != "token").collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let pairs = pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value)));
        pairs.collect::<Vec<_>>().join("&")
    }

    /// A header's text, if it is text.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The client's token: `?token=`, else `X-Consul-Token`, else `Authorization: Bearer`.
    pub fn token(&self) -> Option<&str> {
        let bearer = || {
            let (scheme, token) = self.header(AUTHORIZATION)?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        };
        self.param("token")
            .filter(|token| !token.is_empty())
            .or_else(|| self.header("x-consul-token"))
            .or_else(bearer)
    }

    /// Sets the tail to what follows `path`, which the request's own begins with.
    ///
    /// # Errors
    /// [`MalformedRequest`] for what is not percent-encoded UTF-8.
    pub fn strip(&mut self, path: &str) -> Result<(), MalformedRequest> {
        let rest = self.path.strip_prefix(path).unwrap_or_default();
        self.tail = decode_component(rest)?;
        Ok(())
    }
}

fn parse_query(query: &str) -> Result<Vec<(String, String)>, MalformedRequest> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| decode_component(&text.replace('+', " "));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

fn decode_component(text: &str) -> Result<String, MalformedRequest> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| MalformedRequest)
}
