//! Why a sidecar ends by itself: the few failures that trying again would not mend.

use lictor_runtime::TaskFailed;

use crate::listener::BindError;

/// The sidecar cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused for good; trying again would not help.
    #[error("the server refused {what}: {}", status.message())]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The server's answer, whose message is all there is to say.
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
    /// A task is gone without which the sidecar would only look healthy.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}
