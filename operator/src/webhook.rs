//! The admission webhook on the network: its endpoint, its certificates, its place in the cluster.
//!
//! The decisions are made in [`crate::injection`]. Nothing here sends a request to the API server
//! or the catalog while a pod's admission waits.

pub mod certs;
pub mod keeper;
pub mod server;
