//! `lictor completion SHELL`: a script that completes verbs and flags.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::{Verb, output};

/// Flags of `completion`.
#[derive(Debug, clap::Args)]
pub struct CompletionVerb {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

impl Verb for CompletionVerb {
    const PATH: &'static str = "completion";
    const ABOUT: &'static str = "Print a completion script";
    const DETAILS: &'static str = "\
Examples:
  source <(lictor completion bash)
  lictor completion fish > ~/.config/fish/completions/lictor.fish";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut tree(), "lictor", &mut script);
        output::value(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Builds one command with all verbs as subcommands, the form that the generator takes.
fn tree() -> Command {
    let mut root = Command::new("lictor");
    for entry in super::VERBS {
        let command = (entry.command)();
        let mut words = entry.path.split(' ').rev();
        let leaf = words.next().unwrap_or_default();
        let nested = words.fold(command.name(leaf), |inner, word| {
            Command::new(word.to_owned()).subcommand(inner)
        });
        root = graft(root, nested);
    }
    root
}

/// Adds a subcommand, merging it with one of the same name.
fn graft(parent: Command, child: Command) -> Command {
    let name = child.get_name().to_owned();
    if parent.find_subcommand(&name).is_none() {
        return parent.subcommand(child);
    }
    parent.mut_subcommand(name, |mut existing| {
        for grandchild in child.get_subcommands() {
            existing = graft(existing, grandchild.clone());
        }
        existing
    })
}
