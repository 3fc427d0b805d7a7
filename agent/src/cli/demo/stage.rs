//! Everything the demo runs: the agent, four applications, their sidecars, and free ports for all.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use http::Uri;
use lictor_api::client::{self, Client};
use lictor_api::contract::SIDECAR_PROXY_SUFFIX;
use lictor_config::{Source, source::Ports};
use lictor_runtime::Tasks;
use lictor_sidecar::{
    Handle, Sidecar,
    config::{Config, Credential, Limits, Servers, Source as SidecarSource, Subject, Upstreams},
};
use serde_json::json;
use tokio::{net::TcpListener, time::timeout};

use super::app::{self, App};
use crate::app::Running;

/// Time for everything to come up; a slow machine needs a fraction of it.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// One application of the workshop.
pub(super) struct Service {
    pub(super) name: &'static str,
    prefix: &'static str,
    /// Upstream services, in the order of the response.
    pub(super) upstreams: &'static [&'static str],
}

/// The workshop's four applications: hashicorpjapan-app calls hashi-app and corp-app, corp-app calls
/// japan-app.
pub(super) const SERVICES: [Service; 4] = [
    Service { name: "japan-app", prefix: "Japan", upstreams: &[] },
    Service { name: "corp-app", prefix: "Corp ", upstreams: &["japan-app"] },
    Service { name: "hashi-app", prefix: "Hashi", upstreams: &[] },
    Service { name: "hashicorpjapan-app", prefix: "", upstreams: &["hashi-app", "corp-app"] },
];

/// A running application with its sidecar.
pub(super) struct Actor {
    pub(super) service: &'static Service,
    pub(super) app: SocketAddr,
    pub(super) public: SocketAddr,
    /// Where the application reaches each upstream.
    pub(super) local_ports: Vec<SocketAddr>,
    pub(super) sidecar: Handle,
}

/// What runs.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) agent: Option<Running>,
    pub(super) http: Option<SocketAddr>,
    pub(super) dns: Option<SocketAddr>,
    pub(super) actors: Vec<Actor>,
    tasks: Tasks,
}

impl Stage {
    /// Returns whether every application is up.
    pub(super) fn is_complete(&self) -> bool {
        self.actors.len() == SERVICES.len()
    }

    /// Finds an application by its service's name.
    pub(super) fn actor(&self, name: &str) -> anyhow::Result<&Actor> {
        self.actors
            .iter()
            .find(|actor| actor.service.name == name)
            .with_context(|| format!("{name} does not run"))
    }

    /// Makes a client of the agent.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let address = self.http.context("the agent does not run")?.to_string();
        Ok(Client::new(client::Config { address, ..client::Config::default() })?)
    }

    /// Starts the agent and waits until it leads and has its certificates.
    pub(super) async fn start_agent(&mut self) -> anyhow::Result<()> {
        let (http, dns) = (free_port(8500).await?, free_port(8600).await?);
        let (server, gossip) = (free_port(8300).await?, free_port(8301).await?);
        let ports = Ports {
            http: Some(http.port().into()),
            dns: Some(dns.port().into()),
            grpc: Some(-1),
            grpc_tls: Some(-1),
            server: Some(server.port().into()),
            serf_lan: Some(gossip.port().into()),
            serf_wan: Some(-1),
            ..Ports::default()
        };
        let source = Source { ports, log_level: Some("error".to_owned()), ..Source::default() };
        let config = lictor_config::build(source, true, Vec::new())?;
        self.agent = Some(Running::start(config).await?);
        (self.http, self.dns) = (Some(http), Some(dns));
        let client = self.client()?;
        let ready = async {
            while !client
                .get("/v1/agent/ready", &[])
                .await
                .is_ok_and(|answer| answer.status.is_success())
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(START_TIMEOUT, ready).await.context("the agent did not become ready")
    }

    /// Starts one application, registers it with its sidecar, and starts the sidecar.
    pub(super) async fn start_actor(&mut self, service: &'static Service) -> anyhow::Result<()> {
        let preferred = if service.upstreams.len() > 1 { 8080 } else { 18080 };
        let app = free_port(preferred).await?;
        let public = free_port(21000).await?;
        let mut local_ports = Vec::new();
        for _ in service.upstreams {
            local_ports.push(free_port_besides(5000, &local_ports).await?);
        }
        let urls = local_ports.iter().map(|local| format!("http://{local}/").parse());
        let urls = urls.collect::<Result<Vec<Uri>, _>>()?;
        let listener =
            TcpListener::bind(app).await.with_context(|| format!("listening on {app}"))?;
        let application = App { prefix: service.prefix.to_owned(), upstreams: urls };
        self.tasks.spawn("demo.app", app::serve(application, listener, self.tasks.clone()));
        let upstreams: Vec<_> = service
            .upstreams
            .iter()
            .zip(&local_ports)
            .map(|(name, local)| json!({"DestinationName": name, "LocalBindPort": local.port()}))
            .collect();
        let definition = json!({
            "Name": service.name,
            "Address": app.ip().to_string(),
            "Port": app.port(),
            "Check": {"HTTP": format!("http://{app}/healthz"), "Interval": "1s"},
            "Connect": {"SidecarService": {
                "Port": public.port(),
                "Proxy": {"Upstreams": upstreams},
                "Check": {"Name": "Connect Sidecar Listening", "TCP": public.to_string(), "Interval": "1s"},
            }},
        });
        let client = self.client()?;
        client.put_json("/v1/agent/service/register", &[], &definition).await?;
        let sidecar = self.start_sidecar(service)?;
        timeout(START_TIMEOUT, sidecar.ready())
            .await
            .with_context(|| format!("the sidecar of {} did not become ready", service.name))?;
        self.actors.push(Actor { service, app, public, local_ports, sidecar });
        Ok(())
    }

    fn start_sidecar(&self, service: &Service) -> anyhow::Result<Handle> {
        let uri = format!("http://{}", self.http.context("the agent does not run")?).parse()?;
        let (sidecar, handle) = Sidecar::new(Config {
            source: SidecarSource::Servers(Servers {
                uris: vec![uri],
                tls: None,
                credential: Credential::Anonymous,
                subject: Subject::ProxyId(format!("{}{SIDECAR_PROXY_SUFFIX}", service.name)),
            }),
            upstreams: Upstreams::Fixed(Vec::new()),
            public_listener: None,
            local_app: None,
            admin: None,
            metrics: None,
            limits: Limits { drain: Duration::from_secs(1), ..Limits::default() },
        });
        let (shutdown, name) = (self.tasks.shutdown().clone(), service.name.to_owned());
        self.tasks.spawn_transient("demo.sidecar", async move {
            if let Err(error) = sidecar.run(shutdown).await {
                tracing::error!(service = name, %error, "sidecar ended");
            }
        });
        Ok(handle)
    }

    /// Waits until every application and every sidecar passes its checks in the catalog.
    pub(super) async fn wait_until_healthy(&self) -> anyhow::Result<()> {
        let client = self.client()?;
        let is_healthy = async |path: &str| {
            let rows = client.get_json::<Vec<serde_json::Value>>(path, &[("passing", "")]).await;
            rows.is_ok_and(|rows| !rows.is_empty())
        };
        let healthy = async {
            for name in SERVICES.iter().map(|service| service.name) {
                for path in
                    [format!("/v1/health/service/{name}"), format!("/v1/health/connect/{name}")]
                {
                    while !is_healthy(&path).await {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        timeout(START_TIMEOUT, healthy).await.context("not every service passed its checks")
    }

    /// Ends everything in order.
    pub(super) async fn end(self) {
        self.tasks.stop(Duration::from_secs(5)).await;
        if let Some(agent) = self.agent {
            agent.shutdown().await;
        }
    }
}

/// Finds the first free loopback port from `preferred` on.
async fn free_port(preferred: u16) -> anyhow::Result<SocketAddr> {
    free_port_besides(preferred, &[]).await
}

async fn free_port_besides(preferred: u16, taken: &[SocketAddr]) -> anyhow::Result<SocketAddr> {
    for port in preferred..preferred.saturating_add(200) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let udp = tokio::net::UdpSocket::bind(address).await;
        if !taken.contains(&address) && udp.is_ok() && TcpListener::bind(address).await.is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no free port between {preferred} and {}", preferred.saturating_add(200))
}
