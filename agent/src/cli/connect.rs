//! `lictor connect ...`: the mesh.

pub mod ca;
