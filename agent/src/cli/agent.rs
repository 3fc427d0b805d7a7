//! `lictor agent`: runs an agent until a signal ends it.

#![expect(clippy::print_stdout, reason = "the banner goes to stdout, as Consul's")]

mod flags;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use lictor_config::RuntimeConfig;
use lictor_runtime::LogHandle;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::Verb;
use crate::{
    agent::Agent,
    app::{Failure, Running},
    telemetry::log,
};
use flags::Flags;

/// How long what is printed waits for the log lines before it.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// `agent`: its flags.
#[derive(Debug, Clone, clap::Args)]
pub struct AgentVerb {
    #[command(flatten)]
    flags: Flags,
}

impl Verb for AgentVerb {
    const PATH: &'static str = "agent";
    const ABOUT: &'static str = "Run an agent";
    const DETAILS: &'static str = "\
Examples:
  lictor agent -dev
      A server in memory on this machine, to try things out.
  lictor agent -server -bootstrap-expect 1 -data-dir /var/lib/lictor -client 0.0.0.0
      One server that keeps its state and serves other machines.
  lictor agent -dev -config-dir ./consul.d
      With services and checks from JSON files; 'lictor reload' reads them again.";

    async fn run(self) -> anyhow::Result<ExitCode> {
        // COMPAT: scripts wait for these two of Consul's lines, the first and the last before the log.
        println!("==> Starting Consul agent...");
        let config = match self.load() {
            Ok(config) => config,
            Err(error) => {
                println!("==> {error:#}");
                return Ok(ExitCode::FAILURE);
            }
        };
        let log = log::start(&config.log)?;
        let warnings = config.warnings.clone();
        let running = match Running::start(config).await {
            Ok(running) => running,
            Err(error) => {
                log.flush(FLUSH_TIMEOUT);
                println!("==> {:#}", anyhow::Error::from(error));
                return Ok(ExitCode::FAILURE);
            }
        };
        log.flush(FLUSH_TIMEOUT);
        banner(running.agent());
        for warning in warnings {
            tracing::warn!(target: "agent", "{warning}");
        }
        tracing::info!(target: "agent", "Consul agent running!");
        tell_systemd(NotifyState::Ready);
        self.until_signal(running, &log).await
    }
}

impl AgentVerb {
    /// Reads files and flags.
    fn load(&self) -> anyhow::Result<RuntimeConfig> {
        let mut sources = self.flags.config_file.clone();
        sources.extend(self.flags.config_dir.iter().cloned());
        let mut source = lictor_config::files::load(&sources)?;
        for fragment in &self.flags.hcl {
            source = lictor_config::files::overlay(
                source,
                lictor_config::files::parse("-hcl".as_ref(), fragment)?,
            );
        }
        let source = lictor_config::files::overlay(source, self.flags.source()?);
        Ok(lictor_config::build(source, self.flags.dev, sources)?)
    }

    /// Reloads on SIGHUP and on request; ends on SIGINT, SIGTERM, a `leave` request, and when the
    /// server cannot go on.
    async fn until_signal(&self, running: Running, log: &LogHandle) -> anyhow::Result<ExitCode> {
        let listen = |kind| signal(kind).context("listening for signals");
        let mut hangup: Signal = listen(SignalKind::hangup())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let (code, end) = loop {
            tokio::select! {
                _ = hangup.recv() => {
                    tracing::info!(target: "agent", "Caught: signal=hangup");
                    if let Err(error) = self.reload(running.agent(), log).await {
                        tracing::error!(target: "agent", error = %format!("{error:#}"), "reload failed");
                    }
                }
                Some(request) = running.request() => match request {
                    crate::agent::Request::Reload(answer) => {
                        let result = self.reload(running.agent(), log).await.map_err(|error| format!("{error:#}"));
                        if answer.send(result).is_err() {
                            tracing::debug!("the client that asked for a reload is gone");
                        }
                    }
                    crate::agent::Request::Leave(answer) => {
                        break (ExitCode::SUCCESS, End::Leave(Some(answer)));
                    }
                },
                failure = running.failed() => {
                    tracing::error!(target: "agent", error = %failure, "agent cannot go on");
                    break (ExitCode::FAILURE, End::Failed(failure));
                }
                // COMPAT: a server does not leave on SIGINT, it exits with 1 (s3-1).
                _ = interrupt.recv() => {
                    tracing::info!(target: "agent", "Caught: signal=interrupt");
                    let stays = running.agent().config.load().skip_leave_on_interrupt;
                    break if stays {
                        (ExitCode::FAILURE, End::Stop)
                    } else {
                        (ExitCode::SUCCESS, End::Leave(None))
                    };
                }
                _ = terminate.recv() => {
                    tracing::info!(target: "agent", "Caught: signal=terminated");
                    let leaves = running.agent().config.load().leave_on_terminate;
                    break (ExitCode::SUCCESS, if leaves { End::Leave(None) } else { End::Stop });
                }
            }
        };
        tell_systemd(NotifyState::Stopping);
        // A second signal does not wait.
        tokio::select! {
            () = stop(running, end) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(code)
    }

    async fn reload(&self, agent: &Agent, log: &LogHandle) -> anyhow::Result<()> {
        let config = self.load()?;
        let filter = log::filter(&config.log.level);
        agent.reload(config).await?;
        // Last, because a refused configuration must not change it.
        if let Err(error) = log.set_level(&filter) {
            tracing::warn!(target: "agent", %error, "changing the log level");
        }
        tracing::info!(target: "agent", "configuration reloaded");
        Ok(())
    }
}

/// Notifies systemd, whose units with `Type=notify` wait for it. Consul is ready when it has joined,
/// and a unit with no agent to join never starts; lictor is ready when it serves requests.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(target: "agent", %error, "notifying systemd");
    }
}

/// How an agent ends.
enum End {
    /// Without notifying the other members.
    Stop,
    /// The same, with the reason as the last line.
    Failed(Failure),
    /// After notifying the other members; then the caller of `leave` gets its response.
    Leave(Option<oneshot::Sender<()>>),
}

async fn stop(running: Running, end: End) {
    match end {
        End::Leave(left) => running.leave(left).await,
        End::Stop => running.shutdown().await,
        End::Failed(failure) => {
            running.shutdown().await;
            tracing::error!(target: "agent", error = %failure, "agent stopped because it cannot go on");
        }
    }
}

fn banner(agent: &Agent) {
    let config = agent.config.load();
    let port = |addresses: &[std::net::SocketAddr]| {
        addresses.first().map_or(-1, |address| i32::from(address.port()))
    };
    let listen = &config.listen;
    let client = listen.http.first().map_or("none".to_owned(), |address| address.ip().to_string());
    println!(
        "       Version: 'v{}' (Consul API {})",
        env!("CARGO_PKG_VERSION"),
        lictor_api::CONSUL_VERSION
    );
    println!("       Node ID: '{}'", agent.node_id);
    println!("     Node name: '{}'", config.node_name);
    let segment = if config.server { "<all>" } else { "" };
    println!("    Datacenter: '{}' (Segment: '{segment}')", config.datacenter);
    println!("        Server: {} (Bootstrap: {})", config.server, config.bootstrap_expect == 1);
    println!(
        "   Client Addr: [{client}] (HTTP: {}, HTTPS: {}, gRPC: {}, gRPC-TLS: {}, DNS: {})",
        port(&listen.http),
        port(&listen.https),
        port(&listen.grpc),
        port(&listen.grpc_tls),
        port(&listen.dns)
    );
    println!(
        "  Cluster Addr: {} (LAN: {}, WAN: {})",
        config.advertise_addr, config.serf_lan_port, config.serf_wan_port
    );
    println!("\n==> Log data will now stream in as it occurs:\n");
}
