//! The `lictor-sidecar` binary: flags and environment to a `Config`, signals to a shutdown.
#![forbid(unsafe_code)]

mod flags;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use lictor_api::error::chain;
use lictor_runtime::panic_hook;
use lictor_sidecar::probe;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::flags::{Command, Flags};

/// Returns memory to the system after a burst of connections; the default allocator keeps it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags = Flags::parse();
    panic_hook::install();
    let outcome = match &flags.command {
        Some(Command::Probe { admin }) => run_probe(*admin),
        _ => start(flags),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            print_error(&format!("lictor-sidecar: {}", chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one line that a failed start prints")]
fn print_error(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "the output of a probe")]
fn run_probe(admin: std::net::SocketAddr) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(probe::probe(admin)) {
        Ok(line) => {
            println!("{line}");
            Ok(ExitCode::SUCCESS)
        }
        Err(line) => {
            println!("{line}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn start(flags: Flags) -> anyhow::Result<ExitCode> {
    let _log = flags.log.start()?;
    raise_file_limit();
    let threads = flags.threads();
    let config = flags.into_config()?;
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = builder
        .worker_threads(threads)
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let signals = on_signals(shutdown.clone())?;
        tokio::select! {
            ended = lictor_sidecar::run(config, shutdown) => ended?,
            () = signals => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Cancels `shutdown` at the first SIGTERM or SIGINT; the returned future ends at the second, which
/// exits without waiting for the drain.
fn on_signals(shutdown: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            shutdown.cancel();
        }
    })
}

/// Raises the soft limit of open files to the hard limit: a proxied connection takes two
/// descriptors, and the usual soft limit is 1024.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
