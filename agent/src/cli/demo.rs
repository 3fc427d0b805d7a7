//! `lictor demo`: the mesh on this machine, in one go and without root.
//!
//! A dev agent, the four applications of the HashiCorp Japan workshop and a sidecar for each run in
//! this process, over the same interfaces that separate processes use: HTTP, gRPC, DNS, mutual TLS.
//! Each step prints what a viewer should see and checks it; with `-once` the first failed check is
//! the exit code.

pub mod app;
mod print;
mod stage;
mod steps;

use std::process::ExitCode;

use anyhow::Context;
use lictor_config::runtime::Log;
use tokio::signal::unix::{SignalKind, signal};

use super::{Verb, log_level};
use crate::telemetry::log;

/// Flags of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoVerb {
    /// Check every claim and end
    #[arg(long)]
    once: bool,
    /// Log of the agent and the sidecars: trace, debug, info, warn or error
    #[arg(long, default_value = "error")]
    log_level: String,
}

impl Verb for DemoVerb {
    const PATH: &'static str = "demo";
    const ABOUT: &'static str = "Show the mesh on this machine";
    const DETAILS: &'static str = "\
It starts a dev agent, four applications and a sidecar for each, and shows the
chain's answer, certificates, DNS, and an intention that denies. Then it stays up.";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let _log = log::start(&Log { level: log_level::parse(&self.log_level)?, json: false })?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
        let mut stage = stage::Stage::default();
        let shown = tokio::select! {
            shown = steps::show(&mut stage) => shown,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        if shown.is_ok() && !self.once && stage.is_complete() {
            steps::invite(&stage);
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        stage.end().await;
        shown?;
        Ok(ExitCode::SUCCESS)
    }
}
