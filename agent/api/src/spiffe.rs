//! SPIFFE IDs as Consul's certificates carry them (SPIFFE-ID §2; Consul "Connect certificates").
//!
//! Only the forms that lictor issues or accepts are parsed; anything else is an error, so that a
//! certificate with an unexpected identity is refused rather than half understood.

use std::{fmt, str::FromStr};

/// The identity in a certificate's URI subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpiffeId {
    /// A service: `spiffe://<trust domain>/ns/default/dc/<dc>/svc/<service>`.
    Service {
        /// `<cluster id>.consul`.
        trust_domain: String,
        /// The datacenter that issued it.
        datacenter: String,
        /// The service's name.
        service: String,
    },
    /// A client agent: `spiffe://<trust domain>/agent/client/dc/<dc>/id/<node>`.
    Agent {
        /// `<cluster id>.consul`.
        trust_domain: String,
        /// The datacenter that issued it.
        datacenter: String,
        /// The agent's node.
        node: String,
    },
    /// A certificate authority: `spiffe://<trust domain>`.
    Signing {
        /// `<cluster id>.consul`.
        trust_domain: String,
    },
}

/// The text is not a SPIFFE ID that lictor knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SPIFFE ID of a service, an agent or a signing authority: {0:?}")]
pub struct InvalidSpiffeId(pub String);

impl SpiffeId {
    /// The ID of a service in the default namespace.
    pub fn service(trust_domain: &str, datacenter: &str, service: &str) -> Self {
        Self::Service {
            trust_domain: trust_domain.to_owned(),
            datacenter: datacenter.to_owned(),
            service: service.to_owned(),
        }
    }

    /// The ID of a client agent.
    pub fn agent(trust_domain: &str, datacenter: &str, node: &str) -> Self {
        Self::Agent {
            trust_domain: trust_domain.to_owned(),
            datacenter: datacenter.to_owned(),
            node: node.to_owned(),
        }
    }

    /// The trust domain, in lower case.
    pub fn trust_domain(&self) -> &str {
        match self {
            Self::Service { trust_domain, .. }
            | Self::Agent { trust_domain, .. }
            | Self::Signing { trust_domain } => trust_domain,
        }
    }

    /// The service's name, or `None` for an agent or an authority.
    pub fn service_name(&self) -> Option<&str> {
        match self {
            Self::Service { service, .. } => Some(service),
            Self::Agent { .. } | Self::Signing { .. } => None,
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { trust_domain, datacenter, service } => {
                write!(f, "spiffe://{trust_domain}/ns/default/dc/{datacenter}/svc/{service}")
            }
            Self::Agent { trust_domain, datacenter, node } => {
                write!(f, "spiffe://{trust_domain}/agent/client/dc/{datacenter}/id/{node}")
            }
            Self::Signing { trust_domain } => write!(f, "spiffe://{trust_domain}"),
        }
    }
}

/// Returns whether `part` can be a trust domain or a segment of a path: SPIFFE-ID sections 2.1 and
/// 2.2 allow letters, digits, `.`, `-` and `_`, and no segment that a path would resolve.
fn is_part(part: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !matches!(part, "" | "." | "..") && part.bytes().all(ok)
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSpiffeId(text.to_owned());
        let rest = text.strip_prefix("spiffe://").ok_or_else(invalid)?;
        if !rest.split('/').all(is_part) {
            return Err(invalid());
        }
        let mut parts = rest.split('/');
        let trust_domain = parts.next().ok_or_else(invalid)?;
        let trust_domain = trust_domain.to_ascii_lowercase();
        let path: Vec<&str> = parts.collect();
        match path[..] {
            [] => Ok(Self::Signing { trust_domain }),
            ["ns", "default", "dc", datacenter, "svc", service] => {
                Ok(Self::service(&trust_domain, datacenter, service))
            }
            ["agent", "client", "dc", datacenter, "id", node] => {
                Ok(Self::agent(&trust_domain, datacenter, node))
            }
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_id_round_trips() {
        let id = SpiffeId::service("11111111-2222-3333-4444-555555555555.consul", "dc1", "web");
        assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        assert_eq!(id.service_name(), Some("web"));
    }

    #[test]
    fn an_agents_id_round_trips_and_names_no_service() {
        let id = SpiffeId::agent("td.consul", "dc1", "node1.example");
        assert_eq!(id.to_string(), "spiffe://td.consul/agent/client/dc/dc1/id/node1.example");
        assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        assert_eq!(id.service_name(), None);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "https://a/ns/default/dc/dc1/svc/web",
            "spiffe://",
            "spiffe://td/ns/default/dc/dc1/svc/",
            "spiffe://td/ns/other/dc/dc1/svc/web",
            "spiffe://td/ns/default/dc/dc1/svc/web/extra",
            "spiffe://td/ns/default/dc/dc1/svc/we%62",
            "spiffe://td/agent/client/dc/dc1/id/",
            "spiffe://td/agent/server/dc/dc1",
            "spiffe://td/ns/default/dc/dc1/svc/we b",
            "spiffe://td/ns/default/dc/dc1/svc/web\n",
            "spiffe://td/ns/default/dc/dc1/svc/w\u{e4}b",
            "spiffe://td/ns/default/dc/../svc/web",
            "spiffe://t:d/agent/client/dc/dc1/id/node1",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
    }
}
