//! Configuration of a mesh proxy, compiled from the state, and the delta between two of them.
//!
//! INVARIANT: pure, and deterministic to the byte: equal states give equal snapshots, so that a
//! stream sends nothing when no relevant row changed. The messages of `lictor.mesh.v1` serve as
//! plain structs; nothing here knows the transport.
//!
//! Consul pages: "Proxy configuration" (built-in proxy), "Upstream configuration".

mod settings;

use std::collections::BTreeMap;

use lictor_api::contract::META_POD_UID;
use lictor_api::{
    ServiceName, SpiffeId,
    mesh::v1::{Endpoint, Intention, Intentions, Proxy, Roots, Upstream, WatchResponse},
    types::{
        catalog::{NodeService, Upstream as RegisteredUpstream},
        config_entry::SERVICE_INTENTIONS,
        health::CheckStatus,
    },
};

use super::intention;
use crate::state::{CertificateAuthority, Instance, State, Topic, WatchSet, catalog::fold};
use settings::Config;

/// Address that an application connects to when an upstream names none.
const LOOPBACK: &str = "127.0.0.1";
/// How long a proxy tries to connect to an upstream's instance, in milliseconds.
const UPSTREAM_CONNECT_TIMEOUT_MS: u32 = 10_000;

/// The proxy that a configuration is for.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A registered proxy.
    Proxy(&'a NodeService),
    /// A service by name: a client without a public listener.
    Service(&'a str),
}

impl Subject<'_> {
    /// Returns the service whose certificate the proxy presents.
    pub fn service(&self) -> &str {
        match self {
            Self::Proxy(proxy) => &proxy.proxy.destination_service_name,
            Self::Service(service) => service,
        }
    }
}

/// Inputs beside the state.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// The agent's datacenter.
    pub datacenter: &'a str,
    /// The decision where no intention matches.
    pub default_allow: bool,
    /// Upstreams from the proxy's own configuration.
    pub upstreams: &'a [lictor_api::mesh::v1::UpstreamRequest],
}

/// The whole configuration of a proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxySnapshot {
    /// Trusted roots.
    pub roots: Roots,
    /// Settings of the proxy's own listener.
    pub proxy: Proxy,
    /// Decisions about connections to its service.
    pub intentions: Intentions,
    /// Upstreams by their identifiers.
    pub upstreams: BTreeMap<String, Upstream>,
}

/// Compiles the configuration of `subject`; `None` until there is an authority.
pub fn snapshot(
    state: &State,
    topics: &mut WatchSet,
    subject: Subject<'_>,
    settings: Settings<'_>,
) -> Option<ProxySnapshot> {
    topics.add(Topic::Roots);
    let ca = state.ca.as_deref()?;
    let mut upstreams = BTreeMap::new();
    for mut upstream in requested(subject, settings) {
        upstream.endpoints = endpoints(state, topics, ca, &upstream, settings.datacenter);
        upstreams.entry(upstream.id.clone()).or_insert(upstream);
    }
    Some(ProxySnapshot {
        roots: roots_message(ca, settings.datacenter),
        proxy: proxy(subject),
        intentions: intentions(state, topics, subject.service(), settings.default_allow),
        upstreams,
    })
}

/// Returns the delta from the configuration that a proxy has (`None`: none yet) to the current one.
pub fn diff(old: Option<&ProxySnapshot>, new: &ProxySnapshot, index: u64) -> WatchResponse {
    fn changed<T: Clone + PartialEq>(old: Option<&T>, new: &T) -> Option<T> {
        (old != Some(new)).then(|| new.clone())
    }
    let known = |id: &String| old.and_then(|old| old.upstreams.get(id));
    let gone = |old: &ProxySnapshot| -> Vec<String> {
        old.upstreams.keys().filter(|id| !new.upstreams.contains_key(*id)).cloned().collect()
    };
    WatchResponse {
        index,
        snapshot: old.is_none(),
        roots: changed(old.map(|old| &old.roots), &new.roots),
        proxy: changed(old.map(|old| &old.proxy), &new.proxy),
        intentions: changed(old.map(|old| &old.intentions), &new.intentions),
        upstreams: new
            .upstreams
            .iter()
            .filter_map(|(id, upstream)| changed(known(id), upstream))
            .collect(),
        removed_upstreams: old.map(gone).unwrap_or_default(),
    }
}

/// Returns every trusted root in its message form.
pub fn roots_message(ca: &CertificateAuthority, datacenter: &str) -> Roots {
    Roots {
        trust_domain: ca.trust_domain(),
        datacenter: datacenter.to_owned(),
        roots_der: ca.bundle_der().iter().map(|root| root.to_vec()).collect(),
    }
}

fn proxy(subject: Subject<'_>) -> Proxy {
    let Subject::Proxy(registered) = subject else {
        return Proxy { service: subject.service().to_owned(), ..Proxy::default() };
    };
    let config = Config(&registered.proxy.config);
    let local = &registered.proxy;
    let (local_address, local_port) = config.address("local_service_address").unwrap_or((
        if local.local_service_address.is_empty() {
            LOOPBACK
        } else {
            &local.local_service_address
        }
        .to_owned(),
        local.local_service_port,
    ));
    Proxy {
        service: local.destination_service_name.clone(),
        proxy_id: registered.id.to_string(),
        bind_address: config.text("bind_address").unwrap_or_else(|| bind_address(registered)),
        bind_port: config.number("bind_port").unwrap_or(registered.port.into()),
        local_address,
        local_port: local_port.into(),
        local_connect_timeout_ms: config.number("local_connect_timeout_ms").unwrap_or(1_000),
        handshake_timeout_ms: config.number("handshake_timeout_ms").unwrap_or(10_000),
    }
}

/// Returns the registered address; the unspecified one without any, and in a pod, which is the only
/// tenant of its addresses.
fn bind_address(registered: &NodeService) -> String {
    let address = &registered.address;
    let of_pod = registered.meta.contains_key(META_POD_UID);
    match address.parse::<std::net::IpAddr>() {
        Ok(ip) if of_pod && ip.is_ipv6() => "::".to_owned(),
        _ if of_pod || address.is_empty() => "0.0.0.0".to_owned(),
        _ => address.clone(),
    }
}

fn intentions(
    state: &State,
    topics: &mut WatchSet,
    service: &str,
    default_allow: bool,
) -> Intentions {
    topics.add(Topic::ConfigKind(SERVICE_INTENTIONS.into()));
    let list = intention::for_destination(state, service)
        .into_iter()
        .map(|intention| Intention {
            allow: intention::allows(intention.action, &intention.permissions),
            source: intention.source_name,
            precedence: intention.precedence,
        })
        .collect();
    Intentions { default_allow, list }
}

/// Returns the registration's upstreams, then those of the proxy's own configuration; without
/// endpoints.
fn requested(subject: Subject<'_>, settings: Settings<'_>) -> Vec<Upstream> {
    let registered = match subject {
        Subject::Proxy(proxy) => proxy.proxy.upstreams.as_slice(),
        Subject::Service(_) => &[],
    };
    let registered = registered.iter().filter(|upstream| is_service(upstream)).map(|upstream| {
        let timeout = Config(&upstream.config).number("connect_timeout_ms");
        upstream_of(
            &upstream.destination_name,
            &upstream.datacenter,
            &upstream.local_bind_address,
            upstream.local_bind_port.into(),
            timeout,
            settings.datacenter,
        )
    });
    let told = settings.upstreams.iter().map(|upstream| {
        upstream_of(
            &upstream.service,
            &upstream.datacenter,
            &upstream.bind_address,
            upstream.bind_port,
            None,
            settings.datacenter,
        )
    });
    registered.chain(told).collect()
}

fn is_service(upstream: &RegisteredUpstream) -> bool {
    matches!(upstream.destination_type.as_str(), "" | "service")
}

fn upstream_of(
    service: &str,
    datacenter: &str,
    bind_address: &str,
    bind_port: u32,
    timeout: Option<u32>,
    own_datacenter: &str,
) -> Upstream {
    let or = |text: &str, default: &str| {
        if text.is_empty() { default.to_owned() } else { text.to_owned() }
    };
    let bind_address = or(bind_address, LOOPBACK);
    Upstream {
        id: format!("{service}:{bind_address}:{bind_port}"),
        service: service.to_owned(),
        datacenter: or(datacenter, own_datacenter),
        bind_address,
        bind_port,
        connect_timeout_ms: timeout.unwrap_or(UPSTREAM_CONNECT_TIMEOUT_MS),
        endpoints: Vec::new(),
    }
}

/// Returns the healthy mesh endpoints of an upstream; none in other datacenters, which cannot be
/// reached yet.
fn endpoints(
    state: &State,
    topics: &mut WatchSet,
    ca: &CertificateAuthority,
    upstream: &Upstream,
    own_datacenter: &str,
) -> Vec<Endpoint> {
    if upstream.datacenter != own_datacenter {
        return Vec::new();
    }
    topics.add(Topic::Connect(fold(&ServiceName::from(upstream.service.as_str()))));
    let trust_domain = ca.trust_domain();
    state
        .catalog
        .connect_instances(&upstream.service)
        .filter_map(|instance| endpoint(instance, &trust_domain, own_datacenter))
        .collect()
}

fn endpoint(instance: Instance<'_>, trust_domain: &str, datacenter: &str) -> Option<Endpoint> {
    let weight = match instance.status {
        CheckStatus::Passing => instance.service.weights.passing,
        CheckStatus::Warning => instance.service.weights.warning,
        CheckStatus::Critical => return None,
    };
    let service = instance.service.mesh_destination()?;
    Some(Endpoint {
        address: instance.address().to_owned(),
        port: instance.service.port.into(),
        spiffe_id: SpiffeId::service(trust_domain, datacenter, service).to_string(),
        node: instance.node.name.to_string(),
        weight,
    })
}

#[cfg(test)]
mod tests;
