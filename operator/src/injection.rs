//! Which pods get a sidecar, and how their object is changed.
//!
//! Pure: a pod goes in, a refusal or a patch comes out. The webhook runs both halves at admission;
//! registration validates again what a later edit of the annotations says.

pub mod mutate;
pub mod validate;
