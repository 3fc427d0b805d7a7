//! The command line: one table of verbs, Go-style flags, exit codes as Consul's.
//!
//! How to add a verb: a file under `cli/` with a `clap::Args` struct that implements [`Verb`], and a
//! line in [`VERBS`]. Parsing, `-h`, completion scripts and the command list follow from it.

pub mod agent;
mod api_flags;
pub mod catalog;
pub mod completion;
pub mod connect;
pub mod demo;
pub mod event;
mod go_flags;
mod help;
pub mod info;
pub mod intention;
pub mod keygen;
pub mod keyring;
pub mod kv;
pub mod lock;
mod log_level;
pub mod members;
pub mod operator;
mod output;
pub mod requests;
pub mod resolve;
pub mod rtt;
pub mod services;
pub mod snapshot;
pub mod tls;
pub mod validate;
pub mod version;

use std::{future::Future, pin::Pin, process::ExitCode};

use anyhow::Context as _;
use clap::{ArgMatches, Command};

/// One verb of the command line.
pub trait Verb: clap::Args + 'static {
    /// The words that select it: `kv put`.
    const PATH: &'static str;
    /// One line for the command list.
    const ABOUT: &'static str;
    /// Examples and explanations below the flags, or empty.
    const DETAILS: &'static str = "";

    /// Exit code of an error and of wrong flags or arguments. COMPAT: a verb whose 1 is a result
    /// has another one.
    const ERROR_CODE: u8 = 1;

    /// Runs the verb. An error is printed to stderr with its causes, and the process exits with
    /// [`Verb::ERROR_CODE`].
    fn run(self) -> impl Future<Output = anyhow::Result<ExitCode>>;
}

type Run = fn(&ArgMatches) -> Result<Running, clap::Error>;
type Running = Pin<Box<dyn Future<Output = anyhow::Result<ExitCode>>>>;

/// A row of [`VERBS`].
pub struct Entry {
    path: &'static str,
    about: &'static str,
    error_code: u8,
    command: fn() -> Command,
    run: Run,
}

const fn entry<V: Verb>() -> Entry {
    Entry {
        path: V::PATH,
        about: V::ABOUT,
        error_code: V::ERROR_CODE,
        command: || help::style(go_flags::command::<V>(V::PATH), V::ABOUT, V::DETAILS),
        run: |matches| {
            let verb = V::from_arg_matches(matches)?;
            Ok(Box::pin(verb.run()))
        },
    }
}

/// Every verb, in the order of the command list.
const VERBS: &[Entry] = &[
    entry::<agent::AgentVerb>(),
    entry::<catalog::DatacentersVerb>(),
    entry::<catalog::NodesVerb>(),
    entry::<catalog::ServicesVerb>(),
    entry::<completion::CompletionVerb>(),
    entry::<connect::ca::GetConfigVerb>(),
    entry::<connect::ca::SetConfigVerb>(),
    entry::<connect::proxy::ProxyVerb>(),
    entry::<demo::DemoVerb>(),
    entry::<demo::app::AppVerb>(),
    entry::<event::EventVerb>(),
    entry::<requests::ForceLeaveVerb>(),
    entry::<info::InfoVerb>(),
    entry::<intention::inspect::CheckVerb>(),
    entry::<intention::create::CreateVerb>(),
    entry::<intention::inspect::DeleteVerb>(),
    entry::<intention::inspect::GetVerb>(),
    entry::<intention::inspect::ListVerb>(),
    entry::<intention::inspect::MatchVerb>(),
    entry::<requests::JoinVerb>(),
    entry::<keyring::KeyringVerb>(),
    entry::<keygen::KeygenVerb>(),
    entry::<kv::delete::KvDeleteVerb>(),
    entry::<kv::transfer::KvExportVerb>(),
    entry::<kv::get::KvGetVerb>(),
    entry::<kv::transfer::KvImportVerb>(),
    entry::<kv::put::KvPutVerb>(),
    entry::<requests::LeaveVerb>(),
    entry::<lock::LockVerb>(),
    entry::<members::MembersVerb>(),
    entry::<operator::autopilot::GetConfigVerb>(),
    entry::<operator::autopilot::SetConfigVerb>(),
    entry::<operator::autopilot::StateVerb>(),
    entry::<operator::raft::ListPeersVerb>(),
    entry::<operator::raft::RemovePeerVerb>(),
    entry::<operator::raft::TransferLeaderVerb>(),
    entry::<requests::ReloadVerb>(),
    entry::<resolve::ResolveVerb>(),
    entry::<rtt::RttVerb>(),
    entry::<services::DeregisterVerb>(),
    entry::<services::RegisterVerb>(),
    entry::<snapshot::decode::DecodeVerb>(),
    entry::<snapshot::inspect::InspectVerb>(),
    entry::<snapshot::restore::RestoreVerb>(),
    entry::<snapshot::save::SaveVerb>(),
    entry::<tls::ca::CreateVerb>(),
    entry::<tls::cert::CreateVerb>(),
    entry::<tls::secret::CreateVerb>(),
    entry::<validate::ValidateVerb>(),
    entry::<version::VersionVerb>(),
];

/// Runs the program: `args` are the process's arguments, its name first.
///
/// Not an `async fn`: a future's code is made in the crate that polls it, so the binary would hold
/// a second copy of every verb and be compiled for as long as this library.
pub fn main(args: &[String]) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(args)),
        Err(error) => finish(Err(error).context("starting the runtime"), ExitCode::FAILURE),
    }
}

async fn dispatch(args: &[String]) -> ExitCode {
    let words = &args[1.min(args.len())..];
    match words.first().map(String::as_str) {
        None => {
            help::print_list(VERBS);
            return ExitCode::from(127);
        }
        Some("-h" | "-help" | "--help" | "help") => {
            help::print_list(VERBS);
            return ExitCode::SUCCESS;
        }
        Some("-v" | "-version" | "--version") => {
            version::print();
            return ExitCode::SUCCESS;
        }
        Some(_) => {}
    }
    let Some((entry, rest)) = select(words) else {
        return help::print_unknown(VERBS, words);
    };
    let command = (entry.command)();
    let started = go_flags::normalize(&command, rest)
        .and_then(|flags| Ok(command.try_get_matches_from(flags)?))
        .and_then(|matches| Ok((entry.run)(&matches)?));
    let error_code = ExitCode::from(entry.error_code);
    match started {
        Ok(running) => finish(running.await, error_code),
        Err(error) => error.print(entry.path, error_code),
    }
}

/// Returns the verb with the longest path that the words begin with, and the words after it.
fn select(words: &[String]) -> Option<(&'static Entry, &[String])> {
    let matches = |entry: &Entry| {
        let path: Vec<&str> = entry.path.split(' ').collect();
        (words.len() >= path.len() && path.iter().zip(words).all(|(a, b)| a == b))
            .then_some(path.len())
    };
    VERBS
        .iter()
        .filter_map(|entry| Some((entry, matches(entry)?)))
        .max_by_key(|(_, length)| *length)
        .map(|(entry, length)| (entry, &words[length..]))
}

/// Prints an error with its causes and returns `error_code` for it.
fn finish(result: anyhow::Result<ExitCode>, error_code: ExitCode) -> ExitCode {
    result.unwrap_or_else(|error| {
        help::print_error(&format!("{error:#}"));
        error_code
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exit_code(words: &[&str]) -> ExitCode {
        let words: Vec<String> =
            ["lictor"].iter().chain(words).map(|word| (*word).to_owned()).collect();
        dispatch(&words).await
    }

    #[tokio::test]
    async fn an_error_of_intention_check_does_not_read_as_denied() {
        for words in [
            &["intention", "check"][..],
            &["intention", "check", "web"],
            &["intention", "check", "-bogus", "web", "db"],
            &["intention", "check", "-http-addr", "ftp://nowhere", "web", "db"],
        ] {
            assert_eq!(exit_code(words).await, ExitCode::from(2), "{words:?}");
        }
        assert_eq!(exit_code(&["intention", "check", "-h"]).await, ExitCode::SUCCESS);
        assert_eq!(exit_code(&["intention", "get", "web"]).await, ExitCode::FAILURE);
    }

    #[test]
    fn verbs_about_the_agent_itself_refuse_a_datacenter_and_stale() {
        let takes = |path: &str| {
            let entry = VERBS.iter().find(|entry| entry.path == path).unwrap();
            let command = (entry.command)();
            ["datacenter", "stale"]
                .map(|name| command.get_arguments().any(|arg| arg.get_long() == Some(name)))
        };
        for path in ["force-leave", "info", "join", "keyring", "leave", "members", "reload", "rtt"]
        {
            assert_eq!(takes(path), [false, false], "{path}");
        }
        for path in ["catalog nodes", "event", "kv get", "lock", "snapshot save"] {
            assert_eq!(takes(path), [true, true], "{path}");
        }
    }
}
