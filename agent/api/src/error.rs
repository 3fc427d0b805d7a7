//! Consul's exact error bodies that more than one member produces or matches, and the one way to
//! print an error with its causes.
//!
//! The bodies are wire contract: clients and scripts compare them. The HTTP server's own table is
//! in the agent (`http/error.rs`); nothing inside lictor decides by comparing them.

use std::{error::Error, iter};

/// No server currently leads.
pub const NO_LEADER: &str = "No cluster leader";
/// A client agent knows no server.
pub const NO_SERVERS: &str = "No known Consul servers";
/// The datacenter is not reachable.
pub const NO_DATACENTER: &str = "No path to datacenter";

/// Returns the text of `error` and of its sources, joined by `: `. A source that the text before
/// it repeats is left out, because libraries often print theirs themselves.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut previous = text.clone();
    for cause in iter::successors(error.source(), |&cause| cause.source()) {
        let next = cause.to_string();
        if !previous.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        previous = next;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (text, rest) = texts.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| Box::new(layers(rest)));
        Layer { text, source }
    }

    #[test]
    fn an_error_is_printed_with_its_causes() {
        assert_eq!(chain(&layers(&["alone"])), "alone");
        assert_eq!(chain(&layers(&["reading", "opening", "refused"])), "reading: opening: refused");
    }

    #[test]
    fn a_cause_that_is_repeated_is_printed_once() {
        assert_eq!(chain(&layers(&["asking: refused", "refused"])), "asking: refused");
        assert_eq!(chain(&layers(&["a: b: c", "b: c", "c", "d"])), "a: b: c: d");
        assert_eq!(chain(&layers(&["same", "same", "same"])), "same");
    }
}
