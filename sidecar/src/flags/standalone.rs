//! `lictor-sidecar static`: certificates and endpoints from files and flags, for benchmarks and
//! for setups whose certificates come from elsewhere.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use lictor_api::SpiffeId;
use lictor_sidecar::{
    Config, Endpoint, Leaf, Policy, Roots, Target,
    config::{Limits, Source, Static, Upstreams},
};

/// A sidecar without servers: either an upstream (--endpoint) or a public listener (--app).
#[derive(Debug, Args)]
pub(crate) struct StaticFlags {
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Outbound: the other sidecar's public listener; repeatable
    #[arg(long = "endpoint", value_name = "HOST:PORT", requires = "spiffe_id")]
    endpoints: Vec<String>,
    /// Outbound: what the other sidecar's certificate must say
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<SpiffeId>,
    /// Inbound: the application
    #[arg(
        long,
        value_name = "ADDR:PORT",
        conflicts_with = "endpoints",
        required_unless_present = "endpoints"
    )]
    app: Option<SocketAddr>,
    /// Own certificate, PEM, leaf first
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Trusted roots, PEM
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
}

impl StaticFlags {
    pub(super) fn into_config(self, limits: Limits) -> anyhow::Result<Config> {
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("reading {path:?}"));
        let leaf = Leaf::from_pem(&read(&self.cert)?, &read(&self.key)?)
            .with_context(|| format!("certificate {:?} with key {:?}", self.cert, self.key))?;
        let trust_domain = leaf.summary().spiffe_id.trust_domain().to_owned();
        let roots = Roots::from_pem(&trust_domain, &read(&self.ca)?)
            .with_context(|| format!("roots {:?}", self.ca))?;
        let mut targets = Vec::new();
        if let Some(spiffe_id) = self.spiffe_id {
            let endpoint = |text: &String| -> anyhow::Result<Endpoint> {
                let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
                let port = port.parse().with_context(|| format!("port of endpoint {text:?}"))?;
                let spiffe_id = spiffe_id.clone();
                Ok(Endpoint { host: host.to_owned(), port, spiffe_id, weight: 1 })
            };
            targets.push(Target {
                service: spiffe_id.service_name().unwrap_or_default().to_owned(),
                bind: self.listen,
                connect_timeout: None,
                endpoints: self.endpoints.iter().map(endpoint).collect::<Result<_, _>>()?,
            });
        }
        let policy = Policy::without_rules(true);
        Ok(Config {
            source: Source::Static(Box::new(Static { leaf, roots, policy, targets })),
            upstreams: Upstreams::Fixed(Vec::new()),
            public_listener: self.app.map(|_| self.listen),
            local_app: self.app,
            admin: None,
            metrics: None,
            limits,
        })
    }
}
