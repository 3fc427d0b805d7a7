//! What a configuration means to DNS: its names parsed once, and its settings.
//!
//! A reload makes a new zone and swaps it in; every query reads exactly one zone.

use std::time::Duration;

use hickory_proto::rr::Name;
use lictor_config::{RuntimeConfig, runtime::Dns};

/// Seconds that a TTL holds: it has 31 bits, and one with the highest bit set would count as 0
/// (RFC 2181 section 8).
const MAX_TTL: u32 = i32::MAX.unsigned_abs();

/// The domain of the configuration is not a DNS name.
#[derive(Debug, thiserror::Error)]
#[error("reading {key} {value:?} as a DNS name")]
pub struct ZoneError {
    /// The configuration key: `domain` or `alt_domain`.
    pub key: &'static str,
    /// What was configured.
    pub value: String,
    /// What is wrong with it.
    #[source]
    pub source: hickory_proto::ProtoError,
}

/// The names an agent answers for, and how.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The domain, absolute.
    pub domain: Name,
    /// A second name of the same domain.
    pub alt_domain: Option<Name>,
    /// The agent's datacenter, which all answers are about.
    pub datacenter: String,
    /// Whether other datacenters are asked for addresses of the WAN.
    pub wan: bool,
    /// Settings, as configured.
    pub settings: Dns,
}

impl Zone {
    /// Reads the DNS part of a configuration.
    ///
    /// # Errors
    /// [`ZoneError`] names the key whose value is not a DNS name.
    pub fn new(config: &RuntimeConfig) -> Result<Self, ZoneError> {
        Ok(Self {
            domain: absolute("domain", &config.domain)?,
            alt_domain: match config.alt_domain.as_str() {
                "" => None,
                alt => Some(absolute("alt_domain", alt)?),
            },
            datacenter: config.datacenter.clone(),
            wan: config.translate_wan_addrs,
            settings: config.dns.clone(),
        })
    }

    /// Returns the domain that `name` is in; the longer one if both match.
    pub fn domain_of(&self, name: &Name) -> Option<&Name> {
        let mut domains = [Some(&self.domain), self.alt_domain.as_ref()];
        domains.sort_by_key(|domain| domain.map_or(0, Name::num_labels));
        domains.into_iter().rev().flatten().find(|domain| domain.zone_of(name))
    }

    /// Returns the same zone without recursors.
    pub fn without_recursors(&self) -> Self {
        Self { settings: Dns { recursors: Vec::new(), ..self.settings.clone() }, ..self.clone() }
    }

    /// Whether names outside the domain are forwarded.
    pub fn recurses(&self) -> bool {
        !self.settings.recursors.is_empty()
    }

    /// Returns how long negative answers may be cached, in seconds.
    pub fn negative_ttl(&self) -> u32 {
        self.settings.soa.min_ttl.min(MAX_TTL)
    }

    /// Returns the TTL of answers about nodes, in seconds.
    pub fn node_ttl(&self) -> u32 {
        seconds(self.settings.node_ttl)
    }

    /// Returns the TTL of answers about a service, in seconds: by its name, else by the longest
    /// `prefix*`.
    pub fn service_ttl(&self, service: &str) -> u32 {
        let ttls = &self.settings.service_ttl;
        if ttls.is_empty() {
            return 0;
        }
        let prefixed = || {
            ttls.iter()
                .filter_map(|(key, ttl)| Some((key.strip_suffix('*')?, ttl)))
                .filter(|(prefix, _)| service.starts_with(prefix))
                .max_by_key(|(prefix, _)| prefix.len())
                .map(|(_, ttl)| ttl)
        };
        ttls.get(service).or_else(prefixed).map_or(0, |ttl| seconds(*ttl))
    }
}

fn absolute(key: &'static str, value: &str) -> Result<Name, ZoneError> {
    let mut name = Name::from_ascii(value).map_err(|source| ZoneError {
        key,
        value: value.to_owned(),
        source,
    })?;
    name.set_fqdn(true);
    Ok(name)
}

fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(MAX_TTL).min(MAX_TTL)
}
