//! What each of our long-running processes does in the same way.
//!
//! INVARIANT: nothing here knows of Consul, catalogs or meshes.

#![forbid(unsafe_code)]

pub mod files;
