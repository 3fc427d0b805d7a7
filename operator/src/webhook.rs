//! The admission webhook: which pods get a sidecar, and how their object is changed.
//!
//! [`validate`] and [`mutate`] are pure. Nothing
//! here asks the API server or the catalog while a pod waits.

pub mod mutate;
pub mod validate;
