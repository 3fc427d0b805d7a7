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
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("LICTOR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
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
