//! The admission webhook on the network: its endpoint, its certificates, its place in the cluster.
//!
//! What it decides is in [`crate::injection`]. Nothing here asks the API server or the catalog
//! while a pod waits.

pub mod certs;
pub mod keeper;
pub mod server;
