//! Decides which pods get a sidecar, and computes the patch.
//!
//! Pure: takes a pod, returns a refusal or a patch. The webhook runs both halves at admission;
//! registration validates again, because annotations may be edited later.

pub mod mutate;
pub mod validate;
