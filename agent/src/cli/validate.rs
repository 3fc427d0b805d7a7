//! `lictor validate`: checks configuration files without an agent.

use std::{path::PathBuf, process::ExitCode};

use lictor_config::Source;

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

/// Fills in the keys that only a whole configuration has. COMPAT: a fragment is valid on its own,
/// and is a client's unless it says `server`.
fn completed(mut source: Source) -> Source {
    source.data_dir.get_or_insert_with(|| ".".to_owned());
    if source.bind_addr.is_none() && source.advertise_addr.is_none() {
        source.bind_addr = Some("127.0.0.1".to_owned());
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds what `validate` builds of a file with this text.
    fn check(json: &str) -> Result<(), String> {
        let source = lictor_config::files::parse("x.json".as_ref(), json).unwrap();
        match lictor_config::build(completed(source), false, Vec::new()) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_fragment_is_a_clients_unless_it_says_server() {
        for valid in [
            "{}",
            r#"{"service":{"name":"web","port":80}}"#,
            r#"{"auto_encrypt":{"tls":true}}"#,
            r#"{"server":true,"bootstrap":true}"#,
            r#"{"server":true,"bootstrap_expect":3}"#,
            r#"{"server":true,"auto_encrypt":{"allow_tls":true}}"#,
        ] {
            assert_eq!(check(valid), Ok(()), "{valid}");
        }
        for (invalid, text) in [
            (r#"{"bootstrap":true}"#, "'bootstrap = true' requires 'server = true'"),
            (r#"{"bootstrap_expect":3}"#, "'bootstrap_expect > 0' requires 'server = true'"),
            (
                r#"{"auto_encrypt":{"allow_tls":true}}"#,
                "auto_encrypt.allow_tls can only be used on a server",
            ),
            (
                r#"{"server":true,"auto_encrypt":{"tls":true}}"#,
                "auto_encrypt.tls can only be used on a client",
            ),
        ] {
            assert_eq!(check(invalid), Err(text.to_owned()), "{invalid}");
        }
    }
}
