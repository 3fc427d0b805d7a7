//! Reads the pod's annotations from the downward-API file, again whenever kubelet changes it.
//!
//! One `key="value"` per line, values quoted as Go's `strconv.Quote` does. kubelet swaps a
//! symbolic link, so the path's metadata is polled every few seconds rather than watched with
//! inotify, which would see the link's directory only. A list with a bad item changes nothing.

use std::{
    convert::Infallible,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use lictor_api::{
    contract::{ANNOTATION_SERVICE, ANNOTATION_UPSTREAMS, CONSUL_PREFIX, LICTOR_PREFIX},
    error::chain,
    upstream::{self, InvalidUpstream, Upstream},
};
use tokio::sync::watch;

/// A pod's own prefix wins.
const PREFIXES: [&str; 2] = [LICTOR_PREFIX, CONSUL_PREFIX];
const POLL_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("reading the annotations file")]
    Read(#[from] io::Error),
    #[error("annotation connect-service-upstreams")]
    Upstreams(#[from] InvalidUpstream),
}

/// Returns the upstreams at start; empty, with an error in the log, if the file is invalid.
pub(crate) fn initial(path: &Path) -> Vec<Upstream> {
    read(path).unwrap_or_else(|failure| {
        let error = chain(&failure);
        tracing::error!(?path, %error, "starting without upstreams");
        Vec::new()
    })
}

/// Returns the service that annotation `connect-service` in the file at `path` names, if any.
pub fn service(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    value(&text, ANNOTATION_SERVICE).filter(|name| !name.is_empty())
}

/// Returns the value of annotation `name` in a file's `text`, under either prefix.
pub fn value(text: &str, name: &str) -> Option<String> {
    let find = |prefix: &&str| {
        text.lines().find_map(|line| {
            let value = line.strip_prefix(*prefix)?.strip_prefix(name)?.strip_prefix('=')?;
            Some(unquote(value))
        })
    };
    PREFIXES.iter().find_map(find)
}

/// Polls the file every [`POLL_INTERVAL`] and updates `upstreams`; never returns.
pub(crate) async fn follow(
    path: &Path,
    upstreams: &watch::Sender<Arc<Vec<Upstream>>>,
) -> Infallible {
    // The first poll always reads: an edit since the start may carry the same modification time.
    let mut seen = None;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        refresh(path, &mut seen, upstreams);
    }
}

/// Reads the file into `upstreams` if its modification time differs from `seen`.
fn refresh(
    path: &Path,
    seen: &mut Option<SystemTime>,
    upstreams: &watch::Sender<Arc<Vec<Upstream>>>,
) {
    let now = modified(path);
    if now == *seen {
        return;
    }
    *seen = now;
    match read(path) {
        Ok(list) => {
            let changed = upstreams.send_if_modified(|current| {
                let changed = **current != list;
                *current = Arc::new(list);
                changed
            });
            if changed {
                tracing::info!(count = upstreams.borrow().len(), "upstreams changed by annotation");
            }
        }
        Err(failure) => {
            let error = chain(&failure);
            match failure {
                Error::Upstreams(_) => tracing::error!(%error, "keeping the current upstreams"),
                Error::Read(_) => tracing::warn!(%error, "keeping the current upstreams"),
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn read(path: &Path) -> Result<Vec<Upstream>, Error> {
    let text = std::fs::read_to_string(path)?;
    Ok(upstream::parse(&value(&text, ANNOTATION_UPSTREAMS).unwrap_or_default())?)
}

/// Undoes Go's `strconv.Quote`; text that is not quoted is returned unchanged.
fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let digits = match chars.next() {
            Some('n') => '\n'.into(),
            Some('t') => '\t'.into(),
            Some('r') => '\r'.into(),
            Some('a') => '\x07'.into(),
            Some('b') => '\x08'.into(),
            Some('f') => '\x0c'.into(),
            Some('v') => '\x0b'.into(),
            Some('x') => escaped(&mut chars, 2),
            Some('u') => escaped(&mut chars, 4),
            Some('U') => escaped(&mut chars, 8),
            other => other,
        };
        out.push(digits.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    out
}

fn escaped(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let hex: String = chars.take(digits).collect();
    char::from_u32(u32::from_str_radix(&hex, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_prefix_wins_and_go_quoting_is_undone() {
        let text = concat!(
            "a=\"b\"\n",
            "consul.hashicorp.com/connect-service=\"other\"\n",
            "consul.hashicorp.com/connect-service-upstreams=\"a:1\"\n",
            "lictor.dev/connect-service-upstreams=\"b:2,\\n\\tc:3 \\u00e4\\\"\\\\\"\n",
        );
        assert_eq!(value(text, "connect-service-upstreams").unwrap(), "b:2,\n\tc:3 ä\"\\");
        assert_eq!(value(text, "connect-service").unwrap(), "other");
        assert_eq!(value(text, "service"), None);
    }

    #[test]
    fn every_escape_of_go_is_undone() {
        let text = r#"lictor.dev/connect-service="\a\b\f\n\r\t\v\\\"\x7f\u200b\U000e0001""#;
        let expected = "\x07\x08\x0c\n\r\t\x0b\\\"\x7f\u{200b}\u{e0001}";
        assert_eq!(value(text, "connect-service").unwrap(), expected);
    }

    #[test]
    fn a_list_with_a_bad_item_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("annotations");
        let upstreams = watch::Sender::default();
        let mut seen = None;
        let mut after = |list: &str, seconds: u64| -> Vec<String> {
            let line = format!("lictor.dev/connect-service-upstreams=\"{list}\"\n");
            std::fs::write(&path, line).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            refresh(&path, &mut seen, &upstreams);
            upstreams.borrow().iter().map(|upstream| upstream.service.clone()).collect()
        };
        assert_eq!(after("web:1,api:2", 1), ["web", "api"]);
        assert_eq!(after("db:3,web:nope", 2), ["web", "api"]);
        assert_eq!(after("db:3", 3), ["db"]);
    }
}
