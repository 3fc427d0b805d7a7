//! The configuration that the Watch stream has sent so far.
//!
//! A core: [`Snapshot::apply`] is the whole protocol of `lictor.mesh.v1.WatchResponse`. A part
//! that is absent from a message is unchanged; a message marked as snapshot replaces everything but
//! the roots. An item that does not parse (a bind address, an endpoint's identity) is skipped and
//! reported, never used in part.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lictor_api::mesh::v1;

use crate::{
    policy::Policy,
    target::{Endpoint, Target},
    tls::material::{CertificateError, Roots},
};

/// Everything the control plane has sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) index: u64,
    pub(crate) roots: Option<Arc<Roots>>,
    pub(crate) proxy: Option<Arc<v1::Proxy>>,
    /// `None` until the server has sent one; until then no connection is allowed.
    pub(crate) policy: Option<Arc<Policy>>,
    /// Upstreams by the ID that the stream uses.
    pub(crate) targets: BTreeMap<String, Arc<Target>>,
}

/// A part of a message that was skipped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejected {
    #[error("upstream {id:?}: bind address {address:?} port {port} is not an address to listen on")]
    Bind { id: String, address: String, port: u32 },
    #[error("upstream {id:?}: endpoint {host:?} port {port} is not an address to connect to")]
    Endpoint { id: String, host: String, port: u32 },
    #[error("upstream {id:?}: endpoint {host}:{port} has no usable identity")]
    Identity { id: String, host: String, port: u32, source: lictor_api::spiffe::InvalidSpiffeId },
    #[error("the roots cannot be used")]
    Roots(#[source] CertificateError),
}

impl Snapshot {
    /// Applies one message and returns the parts of it that were skipped.
    pub(crate) fn apply(&mut self, message: v1::WatchResponse) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        if message.snapshot {
            let roots = self.roots.take();
            // The roots stay until replaced: without them not even a renewal could be verified.
            *self = Self { roots, ..Self::default() };
            self.policy = Some(Arc::new(Policy::without_rules(false)));
        }
        self.index = message.index;
        if let Some(roots) = message.roots {
            match Roots::try_from(roots) {
                Ok(roots) => self.roots = Some(Arc::new(roots)),
                Err(error) => rejected.push(Rejected::Roots(error)),
            }
        }
        if let Some(proxy) = message.proxy {
            self.proxy = Some(Arc::new(proxy));
        }
        if let Some(intentions) = message.intentions {
            self.policy = Some(Arc::new(intentions.into()));
        }
        for id in &message.removed_upstreams {
            self.targets.remove(id);
        }
        for upstream in message.upstreams {
            let id = upstream.id.clone();
            match target(upstream, &mut rejected) {
                Ok(target) => drop(self.targets.insert(id, Arc::new(target))),
                Err(error) => rejected.push(error),
            }
        }
        rejected
    }
}

fn target(upstream: v1::Upstream, rejected: &mut Vec<Rejected>) -> Result<Target, Rejected> {
    let bind =
        bind_address(&upstream.bind_address, upstream.bind_port).ok_or_else(|| Rejected::Bind {
            id: upstream.id.clone(),
            address: upstream.bind_address.clone(),
            port: upstream.bind_port,
        })?;
    let mut endpoints = Vec::with_capacity(upstream.endpoints.len());
    for wire in upstream.endpoints {
        match endpoint(&upstream.id, wire) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(error) => rejected.push(error),
        }
    }
    let timeout = Duration::from_millis(upstream.connect_timeout_ms.into());
    Ok(Target {
        service: upstream.service,
        bind,
        connect_timeout: (!timeout.is_zero()).then_some(timeout),
        endpoints,
    })
}

/// Parses a listener's address; an empty one is 127.0.0.1, and port 0 is no listener.
pub(crate) fn bind_address(address: &str, port: u32) -> Option<SocketAddr> {
    let ip = match address {
        "" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        text => text.parse().ok()?,
    };
    Some(SocketAddr::new(ip, u16::try_from(port).ok().filter(|port| *port > 0)?))
}

fn endpoint(id: &str, wire: v1::Endpoint) -> Result<Endpoint, Rejected> {
    let (id, host) = (id.to_owned(), wire.address);
    let port = match u16::try_from(wire.port) {
        Ok(port) if port > 0 && !host.is_empty() => port,
        _ => return Err(Rejected::Endpoint { id, host, port: wire.port }),
    };
    match wire.spiffe_id.parse() {
        Ok(spiffe_id) => Ok(Endpoint { host, port, spiffe_id, weight: wire.weight.max(1) }),
        Err(source) => Err(Rejected::Identity { id, host, port: wire.port, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "spiffe://td.consul/ns/default/dc/dc1/svc/web";

    fn upstream(id: &str, port: u32, spiffe_ids: &[&str]) -> v1::Upstream {
        let endpoint = |id: &&str| v1::Endpoint {
            address: "10.0.0.1".into(),
            port: 20000,
            spiffe_id: (*id).to_owned(),
            ..<_>::default()
        };
        v1::Upstream {
            id: id.into(),
            service: "web".into(),
            bind_port: port,
            endpoints: spiffe_ids.iter().map(endpoint).collect(),
            ..<_>::default()
        }
    }

    fn applied(messages: Vec<v1::WatchResponse>) -> (Snapshot, Vec<Rejected>) {
        let mut snapshot = Snapshot::default();
        let rejected = messages.into_iter().flat_map(|message| snapshot.apply(message)).collect();
        (snapshot, rejected)
    }

    fn first() -> v1::WatchResponse {
        v1::WatchResponse {
            index: 5,
            snapshot: true,
            proxy: Some(v1::Proxy { service: "api".into(), ..<_>::default() }),
            intentions: Some(v1::Intentions { default_allow: true, list: vec![] }),
            upstreams: vec![upstream("a", 1, &[ID]), upstream("b", 2, &[ID])],
            ..<_>::default()
        }
    }

    #[test]
    fn what_a_delta_leaves_out_stays_as_it_was() {
        let delta = v1::WatchResponse {
            index: 6,
            upstreams: vec![upstream("b", 2, &[]), upstream("c", 3, &[ID])],
            removed_upstreams: vec!["a".into()],
            ..<_>::default()
        };
        let (snapshot, rejected) = applied(vec![first(), delta]);
        assert!(rejected.is_empty(), "{rejected:?}");
        assert_eq!(snapshot.index, 6);
        assert_eq!(snapshot.proxy.as_ref().unwrap().service, "api");
        assert!(snapshot.policy.as_ref().unwrap().allows("anyone"));
        let known: Vec<_> =
            snapshot.targets.iter().map(|(id, t)| (id, t.endpoints.len())).collect();
        assert_eq!(known, [(&"b".to_owned(), 0), (&"c".to_owned(), 1)]);
    }

    #[test]
    fn a_snapshot_replaces_everything_and_denies_what_it_does_not_allow() {
        let second = v1::WatchResponse { index: 9, snapshot: true, ..<_>::default() };
        let (snapshot, _) = applied(vec![first(), second]);
        assert!(snapshot.targets.is_empty() && snapshot.proxy.is_none());
        assert!(!snapshot.policy.as_ref().unwrap().allows("anyone"));
    }

    #[test]
    fn what_cannot_be_understood_is_reported_and_the_rest_is_used() {
        let message = v1::WatchResponse {
            snapshot: true,
            roots: Some(v1::Roots { roots_der: vec![vec![1, 2, 3]], ..<_>::default() }),
            upstreams: vec![upstream("a", 1, &[ID, "web"]), upstream("b", 70000, &[])],
            ..<_>::default()
        };
        let (snapshot, rejected) = applied(vec![message]);
        assert_eq!(snapshot.targets["a"].endpoints.len(), 1);
        assert_eq!(snapshot.targets["a"].bind, "127.0.0.1:1".parse().unwrap());
        let texts: Vec<String> = rejected.iter().map(|r| lictor_api::error::chain(r)).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[0].starts_with("the roots cannot be used: root 1 of 1"), "{texts:?}");
        assert!(texts[1].contains("10.0.0.1:20000 has no usable identity"), "{texts:?}");
        assert!(texts[2].contains("port 70000"), "{texts:?}");
    }
}
