//! One response: status, headers, body.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Room for all headers of a read, so that their table never grows.
const HEADERS_CAPACITY: usize = 12;

/// A response without its connection.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// Plain text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { body: text.into().into(), ..Self::empty(status) }
            .with_header("content-type", "text/plain; charset=utf-8")
    }

    /// No body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::with_capacity(HEADERS_CAPACITY), body: Bytes::new() }
    }

    /// The same answer with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Sets a header; `name` in lower case. A value that HTTP cannot carry is left out.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Sets a header that needs no check.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name, value.into());
        self
    }
}
