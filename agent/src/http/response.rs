//! Consul's way of writing responses: its headers and its JSON.
//!
//! COMPAT: JSON is written as Go's encoding/json does it, with `<`, `>` and `&` escaped; compact,
//! or indented by four spaces for `?pretty` (with a newline at the end) and for `-dev`.

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, VARY},
};
use lictor_api::query::{Consistency, QueryMeta};
use memchr::{memchr, memchr3};
use serde::Serialize;

use super::{HttpError, Request, Response};

/// Bodies shorter than this are not compressed.
const GZIP_MIN_BYTES: usize = 1400;

/// What most bodies are.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Response {
    /// 200 with a JSON document.
    ///
    /// # Errors
    /// [`HttpError::Encode`] for a value that JSON cannot express.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, HttpError> {
        let body = serde_json::to_vec(value).map_err(HttpError::Encode)?;
        let response = Self { body: body.into(), ..Self::empty(StatusCode::OK) };
        Ok(response.with(CONTENT_TYPE, JSON))
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

    /// Adds the headers of a read.
    #[must_use]
    pub fn with_meta(self, meta: &QueryMeta) -> Self {
        const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
        const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
        const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
        const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
        const BACKEND: HeaderName = HeaderName::from_static("x-consul-query-backend");
        let consistency = match meta.consistency {
            Consistency::Default => "leader",
            Consistency::Consistent => "consistent",
            Consistency::Stale => "stale",
        };
        let known_leader = if meta.known_leader { "true" } else { "false" };
        self.with(INDEX, meta.index.max(1))
            .with(LAST_CONTACT, meta.last_contact_ms)
            .with(KNOWN_LEADER, HeaderValue::from_static(known_leader))
            .with(CONSISTENCY, HeaderValue::from_static(consistency))
            .with(BACKEND, HeaderValue::from_static("blocking-query"))
    }

    /// Formats and compresses the body.
    pub(super) fn finish(mut self, indented: bool, pretty: bool, gzip: bool) -> Self {
        if self.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == JSON) {
            if indented || pretty {
                self.body = indent(&self.body, pretty);
            }
            self.body = escape(self.body);
        }
        self = self.with(VARY, HeaderValue::from_static("Accept-Encoding"));
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
    if memchr3(b'<', b'>', b'&', &json).is_none() && memchr(0xe2, &json).is_none() {
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
