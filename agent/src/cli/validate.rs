//! `lictor validate`: checks configuration files without an agent.

use std::{path::PathBuf, process::ExitCode};

use super::{Verb, output};

/// Flags of `validate`.
#[derive(Debug, clap::Args)]
pub struct ValidateVerb {
    /// Print nothing when the files are valid
    #[arg(long)]
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
        let checked = lictor_config::files::load(&self.paths)
            .map_err(anyhow::Error::from)
            .and_then(|source| Ok(lictor_config::validate(source, self.paths.clone())?));
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
