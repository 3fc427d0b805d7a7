//! The admission webhook: which pods get a sidecar, and how their object is changed.
//!
//! [`validate`] and [`mutate`] are pure; [`server`] and [`certs`] put them on the network. Nothing
//! here asks the API server or the catalog while a pod waits.

pub mod certs;
pub mod keeper;
pub mod mutate;
pub mod server;
pub mod validate;
