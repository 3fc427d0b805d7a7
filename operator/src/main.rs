//! The operator's process: settings, logs, signals, exit code.

#![forbid(unsafe_code)]

use std::{process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Parser as _;
use lictor_operator::{
    app, cleanup,
    config::{Cli, Command, Config},
    metrics,
};
use lictor_runtime::{
    LogHandle,
    log::{self, Format, Output, StartError},
    panic_hook,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Log filter unless `LICTOR_LOG` sets one.
const DEFAULT_FILTER: &str = "info";

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    panic_hook::install();
    let _log = start_log()?;
    match start(cli) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            tracing::error!("{error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Starts the log; an invalid filter falls back to [`DEFAULT_FILTER`], so that the operator starts.
fn start_log() -> Result<LogHandle, StartError> {
    let filter = std::env::var("LICTOR_LOG").unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    match log::start(&filter, Format::Text, Output::Stderr) {
        Err(StartError::Filter { .. }) => log::start(DEFAULT_FILTER, Format::Text, Output::Stderr),
        started => started,
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let config = Arc::new(cli.config.with_defaults());
    runtime.block_on(operate(cli.command, config))
}

async fn operate(command: Option<Command>, config: Arc<Config>) -> anyhow::Result<()> {
    let client = kube::Client::try_default().await.context("finding the Kubernetes API server")?;
    if command == Some(Command::Cleanup) {
        return Ok(cleanup::run(&client, &config).await?);
    }
    let metrics = metrics::install().context("installing the metrics recorder")?;
    let stop = CancellationToken::new();
    let signaled = stop.clone();
    let mut terminate = signal(SignalKind::terminate()).context("handling SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handling SIGINT")?;
    let signals = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
        signaled.cancel();
    };
    let operator = app::run(client, config, metrics, stop);
    tokio::pin!(operator, signals);
    tokio::select! {
        result = operator.as_mut() => Ok(result?),
        () = signals => Ok(operator.await?),
    }
}
