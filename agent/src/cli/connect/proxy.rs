//! `lictor connect proxy`: the sidecar of a service on this machine.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Context, bail};
use http::Uri;
use lictor_api::{
    client::{Client, Token},
    types::{agent::AgentService, catalog::ServiceKind},
    upstream::{self, Upstream},
};
use lictor_config::runtime::Log;
use lictor_sidecar::config::{Config, Credential, Limits, Servers, Source, Subject, Upstreams};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Verb, api_flags::ApiFlags, log_level, output},
    telemetry::log,
};

/// Flags of `connect proxy`.
#[derive(Debug, clap::Args)]
pub struct ProxyVerb {
    /// ID of the service whose registered sidecar to run
    #[arg(long, env = "CONNECT_SIDECAR_FOR")]
    sidecar_for: Option<String>,
    /// ID of the registered proxy to run
    #[arg(long, env = "CONNECT_PROXY_ID")]
    proxy_id: Option<String>,
    /// Name of the service to represent, registered or not
    #[arg(long)]
    service: Option<String>,
    /// A local port for another service, as name:port; may be given several times
    #[arg(long)]
    upstream: Vec<String>,
    /// With -service: address of the public listener
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// With -service: address of the application
    #[arg(long)]
    service_addr: Option<SocketAddr>,
    /// trace, debug, info, warn or error
    #[arg(long, default_value = "info")]
    log_level: String,
    /// Log JSON lines
    #[arg(long)]
    log_json: bool,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for ProxyVerb {
    const PATH: &'static str = "connect proxy";
    const ABOUT: &'static str = "Run the mesh proxy of a service";
    const DETAILS: &'static str = "\
Examples:
  lictor connect proxy -sidecar-for web
      The sidecar that the service web was registered with.
  lictor connect proxy -service web2 -upstream db:9191
      A client of the mesh: 127.0.0.1:9191 is the service db.";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let level = match log_level::parse(&self.log_level) {
            Ok(level) => level,
            Err(error) => {
                output::error_line(format!("==> {error}"));
                return Ok(ExitCode::FAILURE);
            }
        };
        let api = self.api.config()?;
        let client = Client::new(api.clone())?;
        let subject = self.subject(&client).await?;
        let upstreams = self.upstreams()?;
        self.banner(&subject, &upstreams);
        let _log = log::start(&Log { level, json: self.log_json })?;
        crate::ca::install_crypto_provider();
        let credential = match api.token {
            Token::Acl(token) => Credential::AclToken(token),
            Token::None | Token::BearerFile(_) => Credential::Anonymous,
        };
        let uri: Uri = client.base().parse().context("the agent's address")?;
        if uri.scheme_str() == Some("https") || api.address.starts_with("unix://") {
            bail!("the proxy speaks plain HTTP/2 to its local agent; give -http-addr host:port");
        }
        let config = Config {
            source: Source::Servers(Servers { uris: vec![uri], tls: None, credential, subject }),
            upstreams: Upstreams::Fixed(upstreams),
            public_listener: self.listen,
            local_app: self.service_addr,
            admin: None,
            metrics: None,
            limits: Limits::default(),
        };
        run(config).await
    }
}

impl ProxyVerb {
    /// Returns which proxy to run. A registered one is looked up first, so that a wrong name is an
    /// immediate error and not a silent wait.
    async fn subject(&self, client: &Client) -> anyhow::Result<Subject> {
        match (&self.sidecar_for, &self.proxy_id, &self.service) {
            (Some(id), None, None) => Ok(Subject::ProxyId(sidecar_of(client, id).await?)),
            (None, Some(id), None) => Ok(Subject::ProxyId(id.clone())),
            (None, None, Some(name)) => Ok(Subject::Service(name.clone())),
            (None, None, None) => bail!("give one of -sidecar-for, -proxy-id and -service"),
            _ => bail!("-sidecar-for, -proxy-id and -service exclude each other"),
        }
    }

    fn upstreams(&self) -> anyhow::Result<Vec<Upstream>> {
        let mut list = Vec::new();
        for text in &self.upstream {
            for upstream in upstream::parse(text).with_context(|| format!("-upstream {text:?}"))? {
                upstream::push(&mut list, upstream)
                    .with_context(|| format!("-upstream {text:?}"))?;
            }
        }
        Ok(list)
    }

    /// Prints what runs. COMPAT: scripts wait for the first line.
    fn banner(&self, subject: &Subject, upstreams: &[Upstream]) {
        let field = |name: &str, value: &str| output::line(format!("{name:>23}: {value}"));
        output::line("==> Consul Connect proxy starting...");
        match subject {
            Subject::Service(name) => {
                field("Configuration mode", "Flags");
                field("Service", name);
            }
            Subject::ProxyId(proxy) | Subject::SidecarFor(proxy) => {
                field("Configuration mode", "Agent API");
                if let Some(id) = &self.sidecar_for {
                    field("Sidecar for ID", id);
                }
                field("Proxy ID", proxy);
            }
        }
        for upstream in upstreams {
            field("Upstream", &format!("{} => {}", upstream.service, upstream.bind()));
        }
        output::line("\n==> Log data will now stream in as it occurs:\n");
    }
}

/// Looks up the ID of the only sidecar registered for a service on the agent.
///
/// # Errors
/// There is none, or more than one; in Consul's words.
async fn sidecar_of(client: &Client, service: &str) -> anyhow::Result<String> {
    let services: std::collections::BTreeMap<String, AgentService> = client
        .get_json("/v1/agent/services", &[])
        .await
        .context("Failed looking up sidecar proxy info")?;
    let mut sidecars = services.into_values().filter(|candidate| {
        let proxy = candidate.proxy.as_ref();
        candidate.kind == ServiceKind::ConnectProxy
            && proxy.is_some_and(|proxy| proxy.destination_service_id == service)
    });
    match (sidecars.next(), sidecars.next()) {
        (Some(one), None) => Ok(one.id.to_string()),
        (None, _) => bail!("No sidecar proxy registered for {service}"),
        (Some(_), Some(_)) => bail!(
            "More than one sidecar proxy registered for {service}.\nStart proxy with -proxy-id and one of the IDs that 'lictor catalog services' shows."
        ),
    }
}

/// Runs a sidecar until a signal, then drains it.
async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let shutdown = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    let sidecar = lictor_sidecar::run(config, shutdown.clone());
    tokio::pin!(sidecar);
    tokio::select! {
        ended = &mut sidecar => {
            ended?;
            return Ok(ExitCode::SUCCESS);
        }
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!(target: "connect", "draining connections");
    shutdown.cancel();
    tokio::select! {
        ended = &mut sidecar => ended?,
        _ = interrupt.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}
