//! `lictor validate`: whether configuration files would be taken.

use std::{path::PathBuf, process::ExitCode};

use lictor_config::Source;

use super::{Verb, output};

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
        let checked =
            lictor_config::files::load(&self.paths).map_err(anyhow::Error::from).and_then(
                |source| Ok(lictor_config::build(completed(source), false, self.paths.clone())?),
            );
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

/// COMPAT: fragments are valid on their own, so the keys that only a whole configuration has are
/// filled in.
fn completed(mut source: Source) -> Source {
    source.data_dir.get_or_insert_with(|| ".".to_owned());
    source.server.get_or_insert(true);
    if source.bind_addr.is_none() && source.advertise_addr.is_none() {
        source.bind_addr = Some("127.0.0.1".to_owned());
    }
    source
}
