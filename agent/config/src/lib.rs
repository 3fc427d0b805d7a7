//! Configuration of the agent: merges files and flags (`source`) and builds the validated values
//! that the rest of the agent reads (`runtime`).
//!
//! Two types, because their rules differ. In the source every key is optional and mergeable, and an
//! unknown key is an error that names it; the runtime configuration has a value wherever there is a
//! default. `keys` is the table that the source is generated from; `reload` decides which changes
//! need a restart.

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
