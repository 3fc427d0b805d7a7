//! The upstream grammar: what an annotation `connect-service-upstreams` or a flag `-upstream` says.
//!
//! ```text
//! list      : items separated by commas, spaces or newlines
//! unlabeled : SERVICE:PORT[:DC | :OPTIONS | :DC?OPTIONS]
//! labeled   : SERVICE.svc[.DC.dc]:PORT[:OPTIONS]
//! OPTIONS   : key=value joined by & or ;  local_bind_address, datacenter (dc), mesh_gateway_mode
//! ```
//!
//! The operator (at admission) and the sidecar (at run time) read the same text with this one
//! parser, so they can never disagree. A list is taken whole or not at all, and every error names
//! the item. Prepared queries, peers, admin partitions and Enterprise namespaces are recognized
//! and refused with a reason of their own.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

/// A local port that leads to a service of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// The destination service.
    pub service: String,
    /// Its datacenter; `None` is the agent's own.
    pub datacenter: Option<String>,
    /// Where the application connects; 127.0.0.1 unless `local_bind_address` says otherwise.
    pub bind_address: IpAddr,
    /// Where the application connects; 1 to 65535.
    pub bind_port: u16,
    /// How other datacenters are reached; `None` follows the defaults of the mesh.
    pub mesh_gateway_mode: Option<MeshGatewayMode>,
}

/// Which mesh gateway a connection to another datacenter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeshGatewayMode {
    /// Straight to the instance.
    None,
    /// The gateway of the own datacenter.
    Local,
    /// The gateway of the destination's datacenter.
    Remote,
}

/// An item of the list is wrong; nothing of the list is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("upstream {item:?}: {reason}")]
pub struct InvalidUpstream {
    /// The item as it was written.
    pub item: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with an upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum Reason {
    #[error("the port is missing, expected SERVICE:PORT")]
    PortMissing,
    #[error("port {0:?} is not a number from 1 to 65535")]
    Port(String),
    #[error("service name {0:?} must be 1 to 128 letters, digits, '-', '_' or '.'")]
    Service(String),
    #[error("datacenter {0:?} must be letters, digits, '-' or '_'")]
    Datacenter(String),
    #[error("the datacenter is given twice, {0:?} and {1:?}")]
    DatacenterTwice(String, String),
    #[error("option {0:?} is not key=value")]
    NotAnOption(String),
    #[error("unknown option {0:?}, expected local_bind_address, datacenter or mesh_gateway_mode")]
    UnknownOption(String),
    #[error("option {0:?} is given twice")]
    OptionTwice(&'static str),
    #[error("local_bind_address {0:?} is not an IP address")]
    BindAddress(String),
    #[error("mesh_gateway_mode {0:?} is not none, local or remote")]
    MeshGatewayMode(String),
    #[error("label {0:?} is not known, expected SERVICE.svc or SERVICE.svc.DC.dc")]
    Label(String),
    #[error("prepared queries are not supported as upstreams")]
    PreparedQuery,
    #[error("cluster peers are not supported as upstreams")]
    Peer,
    #[error("admin partitions are a Consul Enterprise feature and not supported")]
    Partition,
    #[error("namespaces are a Consul Enterprise feature and not supported")]
    Namespace,
    #[error("{0} is already taken by upstream {1:?}")]
    Duplicate(SocketAddr, String),
}

// === impl Upstream ===

impl Upstream {
    /// Where the application connects.
    pub fn bind(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.bind_port)
    }

    /// `NAME` in the variables `NAME_CONNECT_SERVICE_HOST` and `NAME_CONNECT_SERVICE_PORT`:
    /// the service in upper case, with `_` for what a variable's name cannot hold.
    pub fn env_name(&self) -> String {
        let part = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        self.service.chars().map(part).collect()
    }

    /// True if both cannot be listened on at once: same port, and one address covers the other.
    fn clashes_with(&self, other: &Self) -> bool {
        let (a, b) = (self.bind_address, other.bind_address);
        self.bind_port == other.bind_port && (a == b || a.is_unspecified() || b.is_unspecified())
    }
}

impl fmt::Display for Upstream {
    /// The canonical text, which parses to the same upstream.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A service of this name can be written with its label alone.
        let label = if self.service == PREPARED_QUERY { ".svc" } else { "" };
        write!(f, "{}{label}:{}", self.service, self.bind_port)?;
        let mut separator = ":";
        if let Some(datacenter) = &self.datacenter {
            write!(f, ":{datacenter}")?;
            separator = "?";
        }
        if self.bind_address != DEFAULT_BIND_ADDRESS {
            write!(f, "{separator}local_bind_address={}", self.bind_address)?;
            separator = "&";
        }
        if let Some(mode) = self.mesh_gateway_mode {
            write!(f, "{separator}mesh_gateway_mode={mode}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MeshGatewayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Local => "local",
            Self::Remote => "remote",
        })
    }
}

impl FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(item: &str) -> Result<Self, Self::Err> {
        parse_item(item).map_err(|reason| InvalidUpstream { item: item.to_owned(), reason })
    }
}

// === parsing ===

const DEFAULT_BIND_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MAX_SERVICE_CHARS: usize = 128;
/// Before the name of a prepared query, where other items have a service.
const PREPARED_QUERY: &str = "prepared_query";

/// Reads a whole list; an empty text is an empty list.
///
/// # Errors
/// The first item that is not an upstream, or that wants the address and port of an earlier one.
pub fn parse(text: &str) -> Result<Vec<Upstream>, InvalidUpstream> {
    let mut upstreams: Vec<Upstream> = Vec::new();
    for item in text.split([',', ' ', '\n', '\r', '\t']).filter(|item| !item.is_empty()) {
        push(&mut upstreams, item.parse()?)?;
    }
    Ok(upstreams)
}

/// Adds `upstream` to `list` unless its address and port are taken.
///
/// # Errors
/// [`Reason::Duplicate`], naming both upstreams; the list is unchanged.
pub fn push(list: &mut Vec<Upstream>, upstream: Upstream) -> Result<(), InvalidUpstream> {
    if let Some(other) = list.iter().find(|other| other.clashes_with(&upstream)) {
        let reason = Reason::Duplicate(upstream.bind(), other.to_string());
        return Err(InvalidUpstream { item: upstream.to_string(), reason });
    }
    list.push(upstream);
    Ok(())
}

fn parse_item(item: &str) -> Result<Upstream, Reason> {
    if item.strip_prefix(PREPARED_QUERY).is_some_and(|rest| rest.starts_with(':')) {
        return Err(Reason::PreparedQuery);
    }
    let mut parts = item.splitn(3, ':');
    let name = parts.next().unwrap_or_default();
    let port = parts.next().filter(|port| !port.is_empty()).ok_or(Reason::PortMissing)?;
    let (service, labeled_datacenter) = parse_name(name)?;
    let bind_port = port
        .parse()
        .ok()
        .filter(|number| *number > 0 && port.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| Reason::Port(port.to_owned()))?;
    let mut upstream = Upstream {
        service,
        datacenter: None,
        bind_address: DEFAULT_BIND_ADDRESS,
        bind_port,
        mesh_gateway_mode: None,
    };
    if let Some(datacenter) = labeled_datacenter {
        set_datacenter(&mut upstream, &datacenter)?;
    }
    let rest = parts.next().unwrap_or_default();
    let (datacenter, options) = match rest.split_once('?') {
        Some(split) => split,
        None if rest.contains('=') => ("", rest),
        None => (rest, ""),
    };
    if !datacenter.is_empty() {
        set_datacenter(&mut upstream, datacenter)?;
    }
    parse_options(&mut upstream, options)?;
    Ok(upstream)
}

/// The service's name and, in the labeled form, its datacenter.
fn parse_name(name: &str) -> Result<(String, Option<String>), Reason> {
    let labels: Vec<&str> = name.split('.').collect();
    let (service, datacenter) = match labels[..] {
        [service, "svc"] => (service, None),
        [service, "svc", datacenter, "dc"] => (service, Some(datacenter.to_owned())),
        [_, "svc", .., "peer"] => return Err(Reason::Peer),
        [_, "svc", .., "ap"] => return Err(Reason::Partition),
        [_, "svc", _, "ns", ..] => return Err(Reason::Namespace),
        [_, "svc", ..] => return Err(Reason::Label(name.to_owned())),
        _ => (name, None),
    };
    let ok = (1..=MAX_SERVICE_CHARS).contains(&service.len())
        && service.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !ok {
        return Err(Reason::Service(service.to_owned()));
    }
    Ok((service.to_owned(), datacenter))
}

fn set_datacenter(upstream: &mut Upstream, datacenter: &str) -> Result<(), Reason> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if datacenter.is_empty() || !datacenter.bytes().all(ok) {
        return Err(Reason::Datacenter(datacenter.to_owned()));
    }
    match &upstream.datacenter {
        Some(other) => Err(Reason::DatacenterTwice(other.clone(), datacenter.to_owned())),
        None => {
            upstream.datacenter = Some(datacenter.to_owned());
            Ok(())
        }
    }
}

fn parse_options(upstream: &mut Upstream, options: &str) -> Result<(), Reason> {
    let mut bind_address_seen = false;
    for option in options.split(['&', ';']).filter(|option| !option.is_empty()) {
        let (key, value) =
            option.split_once('=').ok_or_else(|| Reason::NotAnOption(option.to_owned()))?;
        match key {
            "local_bind_address" | "local-bind-address" | "localBindAddress" => {
                if bind_address_seen {
                    return Err(Reason::OptionTwice("local_bind_address"));
                }
                bind_address_seen = true;
                upstream.bind_address =
                    value.parse().map_err(|_| Reason::BindAddress(value.to_owned()))?;
            }
            "datacenter" | "dc" => set_datacenter(upstream, value)?,
            "mesh_gateway_mode" | "mesh-gateway-mode" | "meshGatewayMode" => {
                let mode = match value {
                    "none" => MeshGatewayMode::None,
                    "local" => MeshGatewayMode::Local,
                    "remote" => MeshGatewayMode::Remote,
                    _ => return Err(Reason::MeshGatewayMode(value.to_owned())),
                };
                if upstream.mesh_gateway_mode.replace(mode).is_some() {
                    return Err(Reason::OptionTwice("mesh_gateway_mode"));
                }
            }
            _ => return Err(Reason::UnknownOption(key.to_owned())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
