//! `lictor validate`: whether configuration files would be taken.

use std::{path::PathBuf, process::ExitCode};

use super::{Verb, output};
use crate::config;

/// Flags of `validate`.
#[derive(Debug, clap::Args)]
pub struct ValidateVerb {
    /// Print nothing when the files are valid
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    quiet: bool,
    /// Format of the files: json
    #[arg(long, value_parser = ["json"])]
    config_format: Option<String>,
    /// Files and directories, merged in order
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

impl Verb for ValidateVerb {
    const PATH: &'static str = "validate";
    const ABOUT: &'static str = "Check configuration files";

    async fn run(self) -> anyhow::Result<ExitCode> {
        // COMPAT: fragments are valid on their own, so the keys that a whole configuration needs are
        // filled in as -dev does.
        let checked = config::files::load(&self.paths)
            .map_err(anyhow::Error::from)
            .and_then(|source| Ok(config::build(source, true, self.paths.clone())?));
        match checked {
            Ok(_) => {
                if !self.quiet {
                    output::line("Configuration is valid!");
                }
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                output::error_line(format!("Config validation failed: {error:#}"));
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
