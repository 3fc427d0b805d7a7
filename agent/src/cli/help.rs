//! Everything the command line prints about itself: the command list, a verb's help, errors.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line's output")]

use std::process::ExitCode;

use clap::{Command, builder::Styles};

use super::Entry;

/// Sets the help texts of a verb's command.
pub(super) fn style(command: Command, about: &'static str, details: &'static str) -> Command {
    let path = command.get_name().to_owned();
    command
        .about(about)
        .after_help(details)
        .bin_name(format!("lictor {path}"))
        .no_binary_name(false)
        .disable_version_flag(true)
        .styles(Styles::plain())
        .override_usage(format!("lictor {path} [flags] [arguments]"))
        .help_template("{usage-heading} {usage}\n\n{about}\n\n{all-args}{after-help}")
}

/// Prints the command list. COMPAT: `consul` without arguments prints it and exits with 127.
pub(super) fn print_list(verbs: &[Entry]) {
    println!("Usage: lictor [-version] [-help] <command> [flags]\n\nCommands:");
    let width = verbs.iter().map(|verb| verb.path.len()).max().unwrap_or(0);
    for verb in verbs {
        println!("    {:width$}    {}", verb.path, verb.about);
    }
    println!("\nFlags are written -name value or -name=value; 'lictor <command> -h' lists them.");
}

/// Prints that the words are not a verb, or the verbs that begin with the first one (`kv`), and
/// returns the exit code.
pub(super) fn print_unknown(verbs: &[Entry], words: &[String]) -> ExitCode {
    let family: Vec<&Entry> = verbs
        .iter()
        .filter(|verb| verb.path.split(' ').next() == words.first().map(String::as_str))
        .collect();
    if family.is_empty() {
        eprintln!("Unknown command {:?}. 'lictor -h' lists the commands.", words.join(" "));
        return ExitCode::from(127);
    }
    println!("Usage: lictor {} <subcommand> [flags]\n\nSubcommands:", words[0]);
    let width = family.iter().map(|verb| verb.path.len()).max().unwrap_or(0);
    for verb in family {
        println!("    {:width$}    {}", verb.path, verb.about);
    }
    ExitCode::from(if words.len() == 1 || words[1].starts_with('-') { 0 } else { 127 })
}

/// Prints a requested text to stdout.
pub(super) fn print_text(text: &str) {
    print!("{text}");
}

/// Prints an error to stderr.
pub(super) fn print_error(text: &str) {
    eprintln!("{text}");
}
