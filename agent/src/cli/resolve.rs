//! `lictor resolve`: queries a DNS server, for images that hold nothing but this binary.
//!
//! It prints what `dig +short` does, and no more: no trace, no zone transfers, no other classes. A
//! response without records is a failure, so that a script check can use it.

#![expect(clippy::print_stdout, reason = "this is the command line's output")]

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::RecordType,
};

use super::Verb;

/// Flags of `resolve`.
#[derive(Debug, clap::Args)]
pub struct ResolveVerb {
    /// DNS server as host or host:port, instead of those in /etc/resolv.conf
    #[arg(long)]
    server: Option<String>,
    /// Name to look up, and optionally the record type (default A)
    #[arg(required = true, num_args = 1..=2, value_names = ["NAME", "TYPE"])]
    question: Vec<String>,
}

impl Verb for ResolveVerb {
    const PATH: &'static str = "resolve";
    const ABOUT: &'static str = "Look up a name in DNS";
    const DETAILS: &'static str = "\
Prints one record per line, as dig +short does, and fails if there is none:

  lictor resolve -server 127.0.0.1:8600 consul.service.consul SRV";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let (name, kind) = (&self.question[0], self.question.get(1).map_or("A", String::as_str));
        let kind: RecordType =
            kind.to_ascii_uppercase().parse().with_context(|| format!("record type {kind:?}"))?;
        let system = Resolver::builder_tokio().context("read /etc/resolv.conf")?.build()?;
        let resolver = match &self.server {
            None => system,
            Some(server) => at(server_address(&system, server).await?)?,
        };
        let answer = resolver
            .lookup(name.as_str(), kind)
            .await
            .with_context(|| format!("look up {name} {kind}"))?;
        for record in answer.answers() {
            println!("{}", record.data);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Resolves `host` or `host:port` to an address; the port is 53 by default.
async fn server_address(system: &TokioResolver, server: &str) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = server.parse() {
        return Ok(address);
    }
    if let Ok(ip) = server.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 53));
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => {
            (host, port.parse().with_context(|| format!("port of server {server:?}"))?)
        }
        None => (server, 53),
    };
    let found = system.lookup_ip(host).await.with_context(|| format!("look up server {host}"))?;
    match found.iter().next() {
        Some(ip) => Ok(SocketAddr::new(ip, port)),
        None => bail!("server {host} has no address"),
    }
}

/// Queries one server and returns a line per record as `dig +noall +answer` prints it.
pub(super) async fn records(
    server: SocketAddr,
    name: &str,
    kind: &str,
) -> anyhow::Result<Vec<String>> {
    let kind: RecordType = kind.parse().with_context(|| format!("record type {kind:?}"))?;
    let answer =
        at(server)?.lookup(name, kind).await.with_context(|| format!("look up {name} {kind}"))?;
    Ok(answer.answers().iter().map(ToString::to_string).collect())
}

/// Makes a resolver that queries one server, and never searches or caches.
fn at(address: SocketAddr) -> anyhow::Result<TokioResolver> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let server = NameServerConfig::new(address.ip(), true, connections.into());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    Ok(Resolver::builder_with_config(config, TokioRuntimeProvider::default()).build()?)
}
