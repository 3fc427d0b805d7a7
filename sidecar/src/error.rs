//! Why a sidecar ends by itself: the few failures that a retry would not resolve.

use lictor_runtime::TaskFailed;

use crate::listener::BindError;

/// The sidecar cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server rejected the request with a final status; a retry would not help.
    #[error("the server refused {what}: {}", status.message())]
    Refused {
        /// What was requested.
        what: &'static str,
        /// The server's status; its message is part of the text.
        status: Box<tonic::Status>,
    },
    /// The admin or metrics listener could not be opened.
    #[error("opening the {what} listener")]
    Listener {
        /// `admin` or `metrics`.
        what: &'static str,
        /// Names address and port.
        source: BindError,
    },
    /// A task failed without which the sidecar would only look healthy.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}
