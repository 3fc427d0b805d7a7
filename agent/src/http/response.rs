//! An answer: status, headers, body, and Consul's way of writing JSON.
//!
//! COMPAT: JSON is written as Go's encoding/json does it, with `<`, `>` and `&` escaped; compact,
//! or indented by four spaces for `?pretty` (with a newline at the end) and for `-dev`.

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use lictor_api::query::{Consistency, QueryMeta};
use serde::Serialize;

use super::{HttpError, Request};

/// Bodies shorter than this are not compressed.
const GZIP_MIN_BYTES: usize = 1400;

/// An answer.
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
    /// 200 with a JSON document.
    ///
    /// # Errors
    /// [`HttpError::Encode`] for a value that JSON cannot express.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, HttpError> {
        let body = serde_json::to_vec(value).map_err(HttpError::Encode)?;
        let response = Self { body: body.into(), ..Self::empty(StatusCode::OK) };
        Ok(response.with_header("content-type", "application/json"))
    }

    /// Plain text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { body: text.into().into(), ..Self::empty(status) }
            .with_header("content-type", "text/plain; charset=utf-8")
    }

    /// No body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// 301 to `path`, with the request's query. COMPAT: Go's `http.Redirect`.
    pub(super) fn moved(path: &str, request: &Request) -> Self {
        let query = request.raw_query();
        let mark = if query.is_empty() { "" } else { "?" };
        let location = format!("{path}{mark}{query}");
        let response =
            Self::empty(StatusCode::MOVED_PERMANENTLY).with_header("location", &location);
        if request.method() != Method::GET {
            return response;
        }
        let page = format!("<a href=\"{}\">Moved Permanently</a>.\n\n", escape_href(&location));
        Self { body: page.into(), ..response }
            .with_header("content-type", "text/html; charset=utf-8")
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

    /// Adds the headers of a read.
    #[must_use]
    pub fn with_meta(self, meta: &QueryMeta) -> Self {
        let consistency = match meta.consistency {
            Consistency::Default => "leader",
            Consistency::Consistent => "consistent",
            Consistency::Stale => "stale",
        };
        self.with_header("x-consul-index", &meta.index.max(1).to_string())
            .with_header("x-consul-lastcontact", &meta.last_contact_ms.to_string())
            .with_header("x-consul-knownleader", if meta.known_leader { "true" } else { "false" })
            .with_header("x-consul-effective-consistency", consistency)
            .with_header("x-consul-query-backend", "blocking-query")
    }

    /// Formats and compresses the body.
    pub(super) fn finish(mut self, indented: bool, pretty: bool, gzip: bool) -> Self {
        if self.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
            if indented || pretty {
                self.body = indent(&self.body, pretty);
            }
            self.body = escape(self.body);
        }
        self = self.with_header("vary", "Accept-Encoding");
        if gzip
            && self.headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/x-gzip")
            && self.body.len() >= GZIP_MIN_BYTES
            && let Ok(compressed) = compress(&self.body)
        {
            self.body = compressed;
            self = self.with_header("content-encoding", "gzip");
        }
        self
    }
}

fn escape_href(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

/// Indents a document by four spaces; unchanged if it is not JSON.
fn indent(json: &Bytes, newline: bool) -> Bytes {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(json) else { return json.clone() };
    let mut out = Vec::with_capacity(json.len() * 2);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    if value.serialize(&mut serializer).is_err() {
        return json.clone();
    }
    if newline {
        out.push(b'\n');
    }
    out.into()
}

/// Escapes what Go escapes for the sake of browsers. These characters appear in strings only, so
/// the document's structure does not matter.
fn escape(json: Bytes) -> Bytes {
    let special = |text: &[u8]| match text {
        [b'<', ..] => Some((&br"\u003c"[..], 1)),
        [b'>', ..] => Some((&br"\u003e"[..], 1)),
        [b'&', ..] => Some((&br"\u0026"[..], 1)),
        [0xe2, 0x80, 0xa8, ..] => Some((&br"\u2028"[..], 3)),
        [0xe2, 0x80, 0xa9, ..] => Some((&br"\u2029"[..], 3)),
        _ => None,
    };
    if !json.iter().any(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2)) {
        return json;
    }
    let mut out = Vec::with_capacity(json.len() + 64);
    let mut rest = &json[..];
    while let [first, ..] = rest {
        let skip = if let Some((escaped, length)) = special(rest) {
            out.extend_from_slice(escaped);
            length
        } else {
            out.push(*first);
            1
        };
        rest = &rest[skip..];
    }
    out.into()
}

fn compress(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    std::io::Write::write_all(&mut encoder, body)?;
    Ok(encoder.finish()?.into())
}
