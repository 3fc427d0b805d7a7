//! Flags and environment of `lictor-sidecar`, and how they become a `Config`.
//!
//! In a pod the webhook sets the environment and nothing else is needed: files and ports have
//! their fixed places (ARCHITECTURE.md, "Kubernetes contract"). A flag always wins.

mod standalone;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use http::Uri;
use lictor_api::{
    GoDuration,
    contract::{
        ANNOTATIONS_FILE, ENV_POD_UID, ENV_SERVER_NAME, ENV_SERVERS, POD_ADMIN_PORT, POD_FILES,
        POD_METRICS_PORT, POD_PROXY_PORT, TOKEN_FILE,
    },
    upstream::{self, Upstream},
};
use lictor_runtime::{
    LogHandle,
    log::{self, Format, Output, StartError},
};
use lictor_sidecar::{
    Config, annotations,
    config::{Credential, Limits, ServerTls, Servers, Source, Subject, Upstreams},
    metrics::Metrics,
    token,
};

use self::standalone::StaticFlags;

/// Where a sidecar in a pod listens for other sidecars.
const POD_PUBLIC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), POD_PROXY_PORT);
/// Where a sidecar in a pod shows its metrics.
const POD_METRICS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), POD_METRICS_PORT);
/// Where a sidecar in a pod tells whether it is ready.
const POD_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), POD_ADMIN_PORT);

const EXAMPLES: &str = "\
Examples:
  A sidecar for a service registered with the local agent:
    lictor-sidecar --sidecar-for web
  A client of the mesh that is registered nowhere:
    lictor-sidecar --service shell --upstream web:9191
  Is it ready? (what Kubernetes probes run)
    lictor-sidecar probe";

/// The mesh proxy of one workload: a local port for every upstream, mutual TLS between sidecars.
///
/// Applications connect to 127.0.0.1 at their upstreams' ports; the sidecar finds a healthy
/// instance and opens mutual TLS to its sidecar, which checks intentions and connects to the
/// application there.
#[derive(Debug, Parser)]
#[command(name = "lictor-sidecar", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    control: ControlFlags,
    #[command(flatten)]
    proxy: ProxyFlags,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "made once, from the command line")]
pub(crate) enum Command {
    /// Ask a running sidecar whether it is ready: one line, exit code 0 or 1
    Probe {
        /// Its admin listener
        #[arg(long, env = "LICTOR_ADMIN", default_value_t = POD_ADMIN, value_name = "ADDR:PORT")]
        admin: SocketAddr,
    },
    /// Run with certificates and endpoints from files and flags, without any server
    Static(StaticFlags),
}

/// Where certificate and configuration come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
struct ControlFlags {
    /// Agent or servers: http://HOST:8500, or https://HOST:8503 with --server-name; repeatable
    #[arg(
        long = "server",
        env = ENV_SERVERS,
        value_delimiter = ',',
        value_name = "URL",
        default_value = "http://127.0.0.1:8500"
    )]
    servers: Vec<String>,
    /// Name in the servers' certificate, server.<dc>.<domain>; turns TLS on
    #[arg(long, env = ENV_SERVER_NAME, value_name = "NAME")]
    server_name: Option<String>,
    /// PEM file with the roots that the servers' certificate must chain to
    #[arg(
        long,
        env = "LICTOR_ROOTS_FILE",
        value_name = "FILE",
        default_value = "/var/run/lictor/roots.pem"
    )]
    roots_file: PathBuf,
    /// File with a Kubernetes token, read at every call [in a pod: /var/run/lictor/token]
    #[arg(long, env = "LICTOR_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Which proxy to be: the sidecar registered for this service ID
    #[arg(long, env = "LICTOR_SIDECAR_FOR", value_name = "ID",
        conflicts_with_all = ["proxy_id", "service"])]
    sidecar_for: Option<String>,
    /// Which proxy to be: the registered proxy with this ID
    #[arg(long, env = "LICTOR_PROXY_ID", value_name = "ID", conflicts_with = "service")]
    proxy_id: Option<String>,
    /// Which proxy to be: this service by name, registered or not [in a pod: the servers know]
    #[arg(long, env = "LICTOR_SERVICE", value_name = "NAME")]
    service: Option<String>,
}

/// What it listens on and its bounds.
#[derive(Debug, Args)]
#[command(next_help_heading = "Proxy")]
struct ProxyFlags {
    /// A local port for a service, SERVICE:PORT[:DC|:OPTIONS]; repeatable
    #[arg(long = "upstream", value_name = "SERVICE:PORT")]
    upstreams: Vec<Upstream>,
    /// File with the pod's annotations, followed as it changes [in a pod: /var/run/lictor/annotations]
    #[arg(
        long,
        env = "LICTOR_ANNOTATIONS_FILE",
        value_name = "FILE",
        conflicts_with = "upstreams"
    )]
    annotations_file: Option<PathBuf>,
    /// Public listener [default: as registered; in a pod 0.0.0.0:20000]
    #[arg(long, env = "LICTOR_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The application [default: as registered]
    #[arg(long, env = "LICTOR_APP", value_name = "ADDR:PORT")]
    app: Option<SocketAddr>,
    /// Readiness, GET /ready [in a pod: 127.0.0.1:19000; otherwise off]
    #[arg(long, env = "LICTOR_ADMIN", value_name = "ADDR:PORT")]
    admin: Option<SocketAddr>,
    /// Prometheus metrics, GET /metrics [in a pod: 0.0.0.0:20200; otherwise off]
    #[arg(long, env = "LICTOR_METRICS", value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    /// What open connections get to finish after SIGTERM
    #[arg(long, env = "LICTOR_DRAIN", value_name = "DURATION", default_value = "5s")]
    drain: GoDuration,
    /// Open connections per listener; more are refused
    #[arg(long, env = "LICTOR_MAX_CONNECTIONS", value_name = "N", default_value_t = 10_000)]
    max_connections: usize,
    /// Worker threads [default: as many as CPUs, at most 2]
    #[arg(long, global = true, env = "LICTOR_THREADS", value_name = "N",
        value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Option<u8>,
}

/// What it says about itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogFlags {
    /// error, warn, info, debug, trace, or per module: info,lictor_sidecar::access=warn
    #[arg(
        long,
        global = true,
        env = "LICTOR_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    log_level: String,
    /// One JSON object per line
    #[arg(long, global = true, env = "LICTOR_LOG_JSON")]
    log_json: bool,
}

impl LogFlags {
    /// Starts logging to standard error.
    pub(crate) fn start(&self) -> anyhow::Result<LogHandle> {
        let format = if self.log_json { Format::Json } else { Format::Text };
        log::start(&self.log_level, format, Output::Stderr).map_err(|error| match error {
            StartError::Filter { filter, source } => {
                anyhow!(source).context(format!("log level {filter:?}"))
            }
            other => other.into(),
        })
    }
}

impl Flags {
    /// Returns the number of the runtime's worker threads.
    pub(crate) fn threads(&self) -> usize {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        self.proxy.threads.map_or_else(|| cpus.min(2), usize::from)
    }

    /// Checks what the parser could not, and returns the configuration.
    ///
    /// # Errors
    /// Names the flag or file that cannot be used.
    pub(crate) fn into_config(self) -> anyhow::Result<Config> {
        let limits = Limits {
            drain: self.proxy.drain.0,
            max_connections: self.proxy.max_connections,
            ..Limits::default()
        };
        match self.command {
            Some(Command::Static(flags)) => flags.into_config(limits),
            _ => with_servers(self.control, self.proxy, limits, in_a_pod()),
        }
    }
}

/// Returns whether this is a pod's sidecar: the webhook sets `POD_UID` for every one.
fn in_a_pod() -> bool {
    std::env::var_os(ENV_POD_UID).is_some()
}

fn with_servers(
    control: ControlFlags,
    proxy: ProxyFlags,
    limits: Limits,
    pod: bool,
) -> anyhow::Result<Config> {
    let in_pod = |address: SocketAddr| pod.then_some(address);
    let annotations = proxy.annotations_file.or_else(|| pod.then(|| pod_file(ANNOTATIONS_FILE)));
    let upstreams = match annotations {
        Some(path) if proxy.upstreams.is_empty() => Upstreams::Annotations(path),
        _ => {
            let mut list = Vec::new();
            for upstream in proxy.upstreams {
                upstream::push(&mut list, upstream)?;
            }
            Upstreams::Fixed(list)
        }
    };
    let metrics = match proxy.metrics.or(in_pod(POD_METRICS)) {
        Some(address) => Some((address, Metrics::install().context("starting the metrics")?)),
        None => None,
    };
    Ok(Config {
        source: Source::Servers(control.into_servers(pod)?),
        upstreams,
        public_listener: proxy.listen.or(in_pod(POD_PUBLIC)),
        local_app: proxy.app,
        admin: proxy.admin.or(in_pod(POD_ADMIN)),
        metrics,
        limits,
    })
}

/// Returns the path of a file that the webhook mounts.
fn pod_file(name: &str) -> PathBuf {
    Path::new(POD_FILES).join(name)
}

impl ControlFlags {
    fn into_servers(self, pod: bool) -> anyhow::Result<Servers> {
        let secure = self.server_name.is_some();
        let uris =
            self.servers.iter().map(|text| server_uri(text, secure)).collect::<Result<_, _>>()?;
        let subject = match (self.sidecar_for, self.proxy_id, self.service) {
            (Some(id), _, _) => Subject::SidecarFor(id),
            (_, Some(id), _) => Subject::ProxyId(id),
            (_, _, Some(name)) => Subject::Service(name),
            _ if pod => {
                let named = annotations::service(&pod_file(ANNOTATIONS_FILE))
                    .or_else(|| token::service_account(&pod_file(TOKEN_FILE)));
                Subject::Service(named.unwrap_or_default())
            }
            _ => bail!("which proxy? one of --sidecar-for, --proxy-id or --service is needed"),
        };
        let token_file = self.token_file.or_else(|| pod.then(|| pod_file(TOKEN_FILE)));
        let roots_file = self.roots_file;
        Ok(Servers {
            uris,
            tls: self.server_name.map(|server_name| ServerTls { roots_file, server_name }),
            credential: token_file.map_or(Credential::Anonymous, Credential::TokenFile),
            subject,
        })
    }
}

/// Parses a server's address; `host:port` alone is HTTPS if a server name is given, else HTTP.
fn server_uri(text: &str, secure: bool) -> anyhow::Result<Uri> {
    let full = match (text.contains("://"), secure) {
        (true, _) => text.to_owned(),
        (false, true) => format!("https://{text}"),
        (false, false) => format!("http://{text}"),
    };
    let uri: Uri = full.parse().with_context(|| format!("server {text:?}"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if secure => {}
        Some("https") => bail!("server {text:?}: https needs --server-name"),
        _ => bail!("server {text:?}: expected http:// or https://"),
    }
    if uri.host().is_none_or(str::is_empty) {
        bail!("server {text:?}: the host is missing");
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> anyhow::Result<Config> {
        let flags = Flags::try_parse_from(["lictor-sidecar"].iter().chain(args))?;
        flags.into_config()
    }

    fn refused(args: &[&str]) -> String {
        format!("{:#}", parse(args).expect_err("must be refused"))
    }

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory as _;
        Flags::command().debug_assert();
    }

    #[test]
    fn a_bad_value_is_named() {
        for (args, names) in [
            (&["--service", "a", "--upstream", "web:0"][..], "port \"0\" is not a number"),
            (&["--service", "a", "--upstream", "web:1", "--upstream", "b:1"], "already taken"),
            (&["--upstream", "web:1"], "--sidecar-for, --proxy-id or --service"),
            (&["--service", "a", "--server", "ftp://x"], "ftp://x"),
            (&["--service", "a", "--server", "https://x:8503"], "--server-name"),
            (&["--service", "a", "--drain", "5"], "invalid duration \"5\""),
            (&["--service", "a", "--listen", "20000"], "20000"),
        ] {
            let message = refused(args);
            assert!(message.contains(names), "{args:?}: {message}");
        }
    }

    #[test]
    fn a_server_without_scheme_is_https_when_its_name_is_known() {
        assert_eq!(server_uri("s.ns.svc:8503", true).unwrap().scheme_str(), Some("https"));
        assert_eq!(server_uri("127.0.0.1:8500", false).unwrap().scheme_str(), Some("http"));
    }
}
