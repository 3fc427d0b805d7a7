//! Go-style flags for clap: `-x v`, `-x=v`, `--x v` and `--x=v` are the same, booleans are `-x` or
//! `-x=false`, of a flag that is given twice the last holds, and flags end at the first positional
//! argument. COMPAT: Consul's command line.
//!
//! INVARIANT: a verb declares a boolean flag as a `bool` or `Option<bool>` with `#[arg(long)]` and
//! nothing else. Its command comes from [`command`] and its words from [`normalize`], which give
//! every such flag Go's meaning.

use std::{any::TypeId, process::ExitCode};

use clap::{Arg, Args, Command};

use super::help;

/// Why the words after a verb are not its flags.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlagError {
    /// An undeclared flag, in Go's words.
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    /// A flag at the end that needs a value, in Go's words.
    #[error("flag needs an argument: -{0}")]
    MissingValue(String),
    /// A boolean flag with a value that is not a boolean, in Go's words.
    #[error("invalid boolean value {value:?} for -{name}: parse error")]
    Boolean {
        /// Name of the flag.
        name: String,
        /// Its value as written.
        value: String,
    },
    /// What clap found: a bad value, a missing argument, or a request for help.
    #[error(transparent)]
    Clap(#[from] clap::Error),
}

impl FlagError {
    /// Prints the error with a hint and returns `code`, or prints the requested help and returns 0.
    pub(super) fn print(self, verb: &str, code: ExitCode) -> ExitCode {
        let text = match self {
            Self::Clap(error) if !error.use_stderr() => {
                help::print_text(&error.render().to_string());
                return ExitCode::SUCCESS;
            }
            Self::Clap(error) => {
                let text = error.render().to_string();
                let text = text.strip_prefix("error: ").unwrap_or(&text).replace("'--", "'-");
                text.split("\n\n").next().unwrap_or_default().trim().to_owned()
            }
            other => other.to_string(),
        };
        help::print_error(&format!("{text}\n\nTry 'lictor {verb} -h'."));
        code
    }
}

/// Builds the command of the flags `A` with Go's booleans and repetitions.
pub(super) fn command<A: Args>(path: &'static str) -> Command {
    A::augment_args(Command::new(path)).args_override_self(true).mut_args(|arg| {
        if !is_boolean(&arg) {
            return arg;
        }
        let is_false_by_default = arg.get_default_values().is_empty();
        arg.num_args(0..=1)
            .require_equals(true)
            .hide_possible_values(true)
            .hide_default_value(is_false_by_default)
    })
}

/// Rewrites Go-style words as clap expects them: `--name=value`, then `--`, then positionals.
///
/// # Errors
/// [`FlagError`] for the first word that Go would refuse.
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
        let value = if is_boolean(arg) {
            boolean(name, value.as_deref().unwrap_or("true"))?.to_string()
        } else {
            value
                .or_else(|| words.next().cloned())
                .ok_or_else(|| FlagError::MissingValue(name.to_owned()))?
        };
        normalized.push(format!("--{name}={value}"));
    }
    if words.len() > 0 {
        normalized.push("--".to_owned());
        normalized.extend(words.cloned());
    }
    Ok(normalized)
}

fn is_boolean(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<bool>()
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
fn boolean(name: &str, value: &str) -> Result<bool, FlagError> {
    let invalid = || FlagError::Boolean { name: name.to_owned(), value: value.to_owned() };
    lictor_api::go::parse_bool(value).ok_or_else(invalid)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Parses the words after a verb as the command line does.
    pub(in crate::cli) fn parse<A: Args>(words: &[&str]) -> Result<A, FlagError> {
        let command = command::<A>("x");
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let matches = command.clone().try_get_matches_from(normalize(&command, &words)?)?;
        Ok(A::from_arg_matches(&matches)?)
    }

    #[derive(Debug, Args)]
    struct Flags {
        #[arg(long)]
        dev: bool,
        #[arg(long)]
        server: Option<bool>,
        #[arg(long, default_value_t = true)]
        shell: bool,
        #[arg(long)]
        config_dir: Vec<String>,
        #[arg(long, allow_hyphen_values = true)]
        expect: Option<i32>,
        words: Vec<String>,
    }

    fn flags(words: &[&str]) -> Flags {
        parse(words).unwrap()
    }

    fn refusal(words: &[&str]) -> String {
        parse::<Flags>(words).unwrap_err().to_string()
    }

    #[test]
    fn dashes_equals_and_blanks_mix_freely() {
        let flags = flags(&["-dev", "--config-dir=/a", "-config-dir", "/b", "-expect", "-1"]);
        assert!(flags.dev);
        assert_eq!(flags.config_dir, ["/a", "/b"]);
        assert_eq!(flags.expect, Some(-1));
    }

    #[test]
    fn a_boolean_is_a_bare_flag_or_one_of_gos_words() {
        let none = flags(&[]);
        assert_eq!((none.dev, none.server, none.shell), (false, None, true));
        let bare = flags(&["-dev", "--server", "-shell"]);
        assert_eq!((bare.dev, bare.server, bare.shell), (true, Some(true), true));
        for yes in ["1", "t", "T", "true", "TRUE", "True"] {
            assert!(flags(&[&format!("-dev={yes}")]).dev, "{yes}");
        }
        for no in ["0", "f", "F", "false", "FALSE", "False"] {
            let [dev, server, shell] =
                ["dev", "server", "shell"].map(|name| format!("--{name}={no}"));
            let flags = flags(&[&dev, &server, &shell]);
            assert_eq!((flags.dev, flags.server, flags.shell), (false, Some(false), false), "{no}");
        }
        for odd in ["", "yes", "tRUE", "2"] {
            let text = format!("invalid boolean value {odd:?} for -server: parse error");
            assert_eq!(refusal(&[&format!("-server={odd}")]), text);
        }
        assert_eq!(flags(&["-dev", "false"]).words, ["false"], "a bare flag takes no next word");
    }

    #[test]
    fn of_a_repeated_flag_the_last_holds() {
        let flags = flags(&["-dev", "-expect=1", "-dev=false", "-expect=2", "-shell", "-shell=0"]);
        assert_eq!((flags.dev, flags.expect, flags.shell), (false, Some(2), false));
    }

    #[test]
    fn flags_end_at_the_first_positional_argument() {
        assert_eq!(flags(&["-dev", "ls", "-l"]).words, ["ls", "-l"]);
        assert_eq!(flags(&["-dev", "--", "-l"]).words, ["-l"]);
        assert_eq!(flags(&["-"]).words, ["-"]);
    }

    #[test]
    fn unknown_flags_and_missing_values_read_as_in_go() {
        assert_eq!(refusal(&["-nope"]), "flag provided but not defined: -nope");
        assert_eq!(refusal(&["-expect"]), "flag needs an argument: -expect");
        assert!(refusal(&["-expect", "x"]).contains("invalid value 'x'"));
    }
}
