//! Configuration: what was written (`source`) becomes what it means (`runtime`).
//!
//! Two steps on purpose. The source has every key optional, mergeable and refused by name when
//! unknown; the runtime configuration has no options left where there is a default, is validated,
//! and is what the rest of the agent reads.

pub mod build;
pub mod files;
pub mod runtime;
pub mod source;

pub use build::{ConfigError, build};
pub use runtime::RuntimeConfig;
pub use source::Source;
