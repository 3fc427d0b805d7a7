//! The servers as the operator uses them: a catalog and config entries.
//!
//! Controllers are tested against an implementation of [`Servers`] in memory; [`http`] is the real
//! one.

use lictor_api::{NodeName, types::intention::ServiceIntentions};

use crate::plan::{Actual, Instance, Removal};

pub mod http;
#[cfg(test)]
pub(crate) mod memory;

/// The servers failed or rejected a request. Each may be retried, `Changed` only after the catalog
/// was read again.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// No server could be reached, or none responded in time.
    #[error("servers not reachable for {what}")]
    Unreachable {
        /// The request.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server responded with an error status.
    #[error("servers refused {what} with status {status}: {body}")]
    Refused {
        /// The request.
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
    /// Reads the instances and virtual nodes of `cluster` from the catalog.
    fn actual(&self, cluster: &str) -> impl Future<Output = Result<Actual, ServersError>> + Send;

    /// Creates or replaces an instance.
    fn register(
        &self,
        instance: &Instance,
    ) -> impl Future<Output = Result<(), ServersError>> + Send;

    /// Removes an instance, if it is still that pod's.
    fn deregister(
        &self,
        removal: &Removal,
    ) -> impl Future<Output = Result<(), ServersError>> + Send;

    /// Removes a virtual node, if it is still empty.
    fn remove_node(&self, node: &NodeName)
    -> impl Future<Output = Result<(), ServersError>> + Send;

    /// Reads the intentions of one destination.
    fn intentions(
        &self,
        destination: &str,
    ) -> impl Future<Output = Result<Option<ServiceIntentions>, ServersError>> + Send;

    /// Reads the intentions of all destinations.
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
