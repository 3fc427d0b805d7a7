//! Configuration: what was written (`source`) becomes what it means (`runtime`).
//!
//! Two steps on purpose. The source has every key optional, mergeable and refused by name when
//! unknown; the runtime configuration has no options left where there is a default, is validated,
//! and is what the rest of the agent reads. `keys` is the table that the source is made from;
//! `reload` decides which changes need a restart.

#[macro_use]
pub mod keys;

pub mod build;
pub mod files;
pub mod reload;
pub mod runtime;
mod secret;
pub mod source;

pub use build::{ConfigError, build, validate};
pub use reload::{RestartNeeded, check_reload};
pub use runtime::RuntimeConfig;
pub use source::Source;

#[cfg(test)]
mod tests;
