//! `lictor agent`: runs an agent until a signal ends it.

#![expect(clippy::print_stdout, reason = "the banner goes to stdout, as Consul's")]

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Verb;
use crate::{
    agent::{Agent, Running},
    config::{self, RuntimeConfig, Source},
    telemetry::log,
};

/// Flags of `agent`; each lays over the key of the same meaning in the configuration files.
#[derive(Debug, Clone, clap::Args)]
pub struct AgentVerb {
    /// Run a server with everything in memory, for trying out
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    dev: bool,
    /// Run as a server
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    server: Option<bool>,
    /// Elect a leader at once
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bootstrap: Option<bool>,
    /// Servers to wait for before the first election
    #[arg(long)]
    bootstrap_expect: Option<u32>,
    /// Directory for state
    #[arg(long)]
    data_dir: Option<String>,
    /// File to read; may be given several times, merged in order
    #[arg(long)]
    config_file: Vec<PathBuf>,
    /// Directory whose *.json files are read; may be given several times
    #[arg(long)]
    config_dir: Vec<PathBuf>,
    /// Format of configuration files: json
    #[arg(long, value_parser = ["json"])]
    config_format: Option<String>,
    /// Name of this node; the host name by default
    #[arg(long)]
    node: Option<String>,
    /// UUID of this node; kept in the data directory when not given
    #[arg(long)]
    node_id: Option<String>,
    /// Node meta as key:value; may be given several times
    #[arg(long)]
    node_meta: Vec<String>,
    /// Datacenter; dc1 by default
    #[arg(long)]
    datacenter: Option<String>,
    /// DNS domain; consul by default
    #[arg(long)]
    domain: Option<String>,
    /// Second DNS domain
    #[arg(long)]
    alt_domain: Option<String>,
    /// Address for server RPC and gossip
    #[arg(long)]
    bind: Option<String>,
    /// Address for HTTP, DNS and gRPC; 127.0.0.1 by default
    #[arg(long)]
    client: Option<String>,
    /// Address that other agents reach this one under
    #[arg(long)]
    advertise: Option<String>,
    /// The same over the WAN
    #[arg(long)]
    advertise_wan: Option<String>,
    /// Agent to join, tried until it answers; may be given several times
    #[arg(long)]
    retry_join: Vec<String>,
    /// Older spelling of -retry-join
    #[arg(long)]
    join: Vec<String>,
    /// Port of HTTP; -1 turns it off
    #[arg(long, allow_hyphen_values = true)]
    http_port: Option<i32>,
    /// Port of HTTPS
    #[arg(long, allow_hyphen_values = true)]
    https_port: Option<i32>,
    /// Port of gRPC
    #[arg(long, allow_hyphen_values = true)]
    grpc_port: Option<i32>,
    /// Port of gRPC over TLS
    #[arg(long, allow_hyphen_values = true)]
    grpc_tls_port: Option<i32>,
    /// Port of DNS
    #[arg(long, allow_hyphen_values = true)]
    dns_port: Option<i32>,
    /// Port of server RPC
    #[arg(long)]
    server_port: Option<i32>,
    /// Port of LAN gossip
    #[arg(long, allow_hyphen_values = true)]
    serf_lan_port: Option<i32>,
    /// Port of WAN gossip
    #[arg(long, allow_hyphen_values = true)]
    serf_wan_port: Option<i32>,
    /// Resolver for other domains; may be given several times
    #[arg(long)]
    recursor: Vec<String>,
    /// Let script checks from files run
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_local_script_checks: Option<bool>,
    /// Let script checks from files and from the HTTP API run
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_script_checks: Option<bool>,
    /// What holds where no intention matches: allow or deny
    #[arg(long)]
    default_intention_policy: Option<String>,
    /// trace, debug, info, warn or error
    #[arg(long)]
    log_level: Option<String>,
    /// Log JSON lines
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    log_json: Option<bool>,
    /// Serve the web UI
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ui: Option<bool>,
    /// Older flag; the web UI is built in
    #[arg(long)]
    ui_dir: Option<String>,
    /// A configuration fragment as JSON; may be given several times
    #[arg(long)]
    hcl: Vec<String>,
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
        let level = log::init(&config.log);
        let warnings = config.warnings.clone();
        let running = match Running::start(config).await {
            Ok(running) => running,
            Err(error) => {
                println!("==> {:#}", anyhow::Error::from(error));
                return Ok(ExitCode::FAILURE);
            }
        };
        banner(running.agent());
        for warning in warnings {
            tracing::warn!(target: "agent", "{warning}");
        }
        tracing::info!(target: "agent", "Consul agent running!");
        self.until_signal(running, &level).await
    }
}

impl AgentVerb {
    /// Reads files and flags.
    fn load(&self) -> anyhow::Result<RuntimeConfig> {
        let mut sources = self.config_file.clone();
        sources.extend(self.config_dir.iter().cloned());
        let mut source = config::files::load(&sources)?;
        for fragment in &self.hcl {
            source =
                config::files::overlay(source, config::files::parse("-hcl".as_ref(), fragment)?);
        }
        let source = config::files::overlay(source, self.flags()?);
        Ok(config::build(source, self.dev, sources)?)
    }

    fn flags(&self) -> anyhow::Result<Source> {
        let flags = self.clone();
        let mut source = Source {
            server: flags.server,
            bootstrap: flags.bootstrap,
            bootstrap_expect: flags.bootstrap_expect,
            data_dir: flags.data_dir,
            node_name: flags.node,
            node_id: flags.node_id,
            datacenter: flags.datacenter,
            domain: flags.domain,
            alt_domain: flags.alt_domain,
            bind_addr: flags.bind,
            client_addr: flags.client,
            advertise_addr: flags.advertise,
            advertise_addr_wan: flags.advertise_wan,
            retry_join: flags.retry_join,
            start_join: flags.join,
            recursors: flags.recursor,
            enable_local_script_checks: flags.enable_local_script_checks,
            enable_script_checks: flags.enable_script_checks,
            default_intention_policy: flags.default_intention_policy,
            log_level: flags.log_level,
            log_json: flags.log_json,
            ui: flags.ui,
            ui_dir: flags.ui_dir,
            ..Source::default()
        };
        for pair in &flags.node_meta {
            let (key, value) = pair
                .split_once(':')
                .with_context(|| format!("-node-meta {pair:?} is not key:value"))?;
            source.node_meta.insert(key.to_owned(), value.to_owned());
        }
        let ports = &mut source.ports;
        ports.http = flags.http_port;
        ports.https = flags.https_port;
        ports.grpc = flags.grpc_port;
        ports.grpc_tls = flags.grpc_tls_port;
        ports.dns = flags.dns_port;
        ports.server = flags.server_port;
        ports.serf_lan = flags.serf_lan_port;
        ports.serf_wan = flags.serf_wan_port;
        Ok(source)
    }

    /// Reloads on SIGHUP and on request; ends on SIGINT, SIGTERM, a `leave` request, and when the
    /// server cannot go on.
    async fn until_signal(
        &self,
        running: Running,
        level: &log::LevelHandle,
    ) -> anyhow::Result<ExitCode> {
        let listen = |kind| signal(kind).context("listening for signals");
        let mut hangup: Signal = listen(SignalKind::hangup())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let code = loop {
            tokio::select! {
                _ = hangup.recv() => {
                    tracing::info!(target: "agent", "Caught: signal=hangup");
                    if let Err(error) = self.reload(running.agent(), level).await {
                        tracing::error!(target: "agent", error = %format!("{error:#}"), "reload failed");
                    }
                }
                Some(request) = running.request() => match request {
                    crate::agent::Request::Reload(answer) => {
                        let result = self.reload(running.agent(), level).await.map_err(|error| format!("{error:#}"));
                        if answer.send(result).is_err() {
                            tracing::debug!("the client that asked for a reload is gone");
                        }
                    }
                    crate::agent::Request::Leave => break ExitCode::SUCCESS,
                },
                failure = running.failed() => {
                    tracing::error!(target: "agent", error = %failure, "agent cannot go on");
                    break ExitCode::FAILURE;
                }
                // COMPAT: a server does not leave on SIGINT, it exits with 1 (s3-1).
                _ = interrupt.recv() => {
                    tracing::info!(target: "agent", "Caught: signal=interrupt");
                    break ExitCode::FAILURE;
                }
                _ = terminate.recv() => {
                    tracing::info!(target: "agent", "Caught: signal=terminated");
                    break ExitCode::SUCCESS;
                }
            }
        };
        // A second signal does not wait.
        tokio::select! {
            () = running.shutdown() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(code)
    }

    async fn reload(&self, agent: &Agent, level: &log::LevelHandle) -> anyhow::Result<()> {
        let config = self.load()?;
        level.set(&config.log.level).context("changing the log level")?;
        agent.reload(config).await?;
        tracing::info!(target: "agent", "configuration reloaded");
        Ok(())
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
    println!("    Datacenter: '{}' (Segment: '<all>')", config.datacenter);
    println!("        Server: true (Bootstrap: {})", config.bootstrap_expect == 1);
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
