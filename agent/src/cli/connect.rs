//! `lictor connect ...`: the mesh.

pub mod ca;
pub mod proxy;
