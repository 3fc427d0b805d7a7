//! What the operator asks of lictor's servers: a catalog and config entries.
//!
//! The trait is the seam where controllers are tested against servers in memory; [`http`]
//! is the real thing.

use lictor_api::types::intention::ServiceIntentions;

use crate::plan::{Actual, Write};

pub mod http;
#[cfg(test)]
pub(crate) mod memory;

/// The servers could not do what was asked. Every one may be tried again; `Changed` after reading
/// the catalog anew.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// No server could be reached, or it did not answer.
    #[error("servers not reachable for {what}")]
    Unreachable {
        /// What was asked.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server answered with an error.
    #[error("servers refused {what} with status {status}: {body}")]
    Refused {
        /// What was asked.
        what: String,
        /// HTTP status.
        status: u16,
        /// The body, which is a sentence.
        body: String,
    },
    /// The catalog is not what it was when the change was planned.
    #[error("{0} changed since it was read")]
    Changed(String),
}

/// The servers, as far as the operator uses them.
pub trait Servers: Send + Sync + 'static {
    /// What the catalog holds of `cluster`.
    fn actual(&self, cluster: &str) -> impl Future<Output = Result<Actual, ServersError>> + Send;

    /// Carries out one change; a removal only if the instance is still that pod's, and the node
    /// still empty.
    fn write(&self, write: &Write) -> impl Future<Output = Result<(), ServersError>> + Send;

    /// The intentions of one destination.
    fn intentions(
        &self,
        destination: &str,
    ) -> impl Future<Output = Result<Option<ServiceIntentions>, ServersError>> + Send;

    /// The intentions of all destinations.
    fn all_intentions(
        &self,
    ) -> impl Future<Output = Result<Vec<ServiceIntentions>, ServersError>> + Send;

    /// Creates or replaces the intentions of one destination.
    fn put_intentions(
        &self,
        entry: &ServiceIntentions,
    ) -> impl Future<Output = Result<(), ServersError>> + Send;

    /// Removes the intentions of one destination.
    fn delete_intentions(
        &self,
        destination: &str,
    ) -> impl Future<Output = Result<(), ServersError>> + Send;
}
