//! What needs more than one module of the core.

mod formats;
