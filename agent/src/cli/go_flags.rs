//! Go-style flags for clap: `-x v`, `-x=v`, `--x v` and `--x=v` are the same, booleans are `-x` or
//! `-x=false`, and flags end at the first positional argument. COMPAT: Consul's command line.

use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};

use super::help;

/// Why the words after a verb are not its flags.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlagError {
    /// Go's words.
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    /// Go's words.
    #[error("flag needs an argument: -{0}")]
    MissingValue(String),
    /// What clap found: a bad value, a missing argument, or a request for help.
    #[error(transparent)]
    Clap(#[from] clap::Error),
}

impl FlagError {
    /// Prints the error with a hint, or the help that was asked for.
    pub(super) fn print(self, verb: &str) -> ExitCode {
        match self {
            Self::Clap(error) if !error.use_stderr() => {
                help::print_text(&error.render().to_string());
                ExitCode::SUCCESS
            }
            Self::Clap(error) => {
                let text = error.render().to_string();
                let text = text.strip_prefix("error: ").unwrap_or(&text).replace("'--", "'-");
                let first = text.split("\n\n").next().unwrap_or_default();
                help::print_error(&format!("{}\n\nTry 'lictor {verb} -h'.", first.trim()));
                ExitCode::FAILURE
            }
            other => {
                help::print_error(&format!("{other}\n\nTry 'lictor {verb} -h'."));
                ExitCode::FAILURE
            }
        }
    }
}

/// A boolean flag: absent is false, `-x` is true, `-x=false` is false.
fn is_boolean(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
        || arg.get_num_args().is_some_and(|range| range.min_values() == 0)
}

/// Rewrites Go-style words as clap expects them: `--name=value`, then `--`, then positionals.
pub(super) fn normalize(command: &Command, words: &[String]) -> Result<Vec<String>, FlagError> {
    let mut normalized = vec![command.get_name().to_owned()];
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        let Some(flag) = word
            .strip_prefix("--")
            .or_else(|| word.strip_prefix('-'))
            .filter(|flag| !flag.is_empty())
        else {
            normalized.push("--".to_owned());
            normalized.push(word.clone());
            normalized.extend(words.cloned());
            return Ok(normalized);
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if matches!(name, "h" | "help") {
            normalized.push("--help".to_owned());
            continue;
        }
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name))
            .ok_or_else(|| FlagError::Unknown(name.to_owned()))?;
        let value = match value {
            None if is_boolean(arg) => "true".to_owned(),
            None => {
                words.next().cloned().ok_or_else(|| FlagError::MissingValue(name.to_owned()))?
            }
            Some(value) => value,
        };
        normalized.push(format!("--{name}={value}"));
    }
    if words.len() > 0 {
        normalized.push("--".to_owned());
        normalized.extend(words.cloned());
    }
    Ok(normalized)
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[derive(Debug, Args)]
    struct Flags {
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
        dev: bool,
        #[arg(long)]
        config_dir: Vec<String>,
        #[arg(long, allow_hyphen_values = true)]
        expect: Option<i32>,
        words: Vec<String>,
    }

    fn parse(words: &[&str]) -> Result<Flags, FlagError> {
        use clap::FromArgMatches;
        let command = Flags::augment_args(Command::new("x"));
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let matches = command.clone().try_get_matches_from(normalize(&command, &words)?)?;
        Ok(Flags::from_arg_matches(&matches)?)
    }

    #[test]
    fn dashes_equals_and_blanks_mix_freely() {
        let flags =
            parse(&["-dev", "--config-dir=/a", "-config-dir", "/b", "-expect", "-1"]).unwrap();
        assert!(flags.dev);
        assert_eq!(flags.config_dir, ["/a", "/b"]);
        assert_eq!(flags.expect, Some(-1));
        assert!(!parse(&["--dev=false"]).unwrap().dev);
    }

    #[test]
    fn flags_end_at_the_first_positional_argument() {
        assert_eq!(parse(&["-dev", "ls", "-l"]).unwrap().words, ["ls", "-l"]);
        assert_eq!(parse(&["-dev", "--", "-l"]).unwrap().words, ["-l"]);
        assert_eq!(parse(&["-"]).unwrap().words, ["-"]);
    }

    #[test]
    fn unknown_flags_and_missing_values_read_as_in_go() {
        assert_eq!(
            parse(&["-nope"]).unwrap_err().to_string(),
            "flag provided but not defined: -nope"
        );
        assert_eq!(parse(&["-expect"]).unwrap_err().to_string(), "flag needs an argument: -expect");
        assert!(parse(&["-expect", "x"]).unwrap_err().to_string().contains("invalid value 'x'"));
    }
}
