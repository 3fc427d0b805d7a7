//! Values of `retry_join`: `host`, `host:port`, `ip`, `[v6]:port`, and
//! `provider=k8s label_selector="app=consul" namespace=consul`.
//!
//! Source: Consul's `retry_join` and go-discover's Kubernetes provider.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};

/// How long resolving one target may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How names and pods become addresses: membership knows neither DNS nor Kubernetes.
pub trait Resolve: Send + Sync {
    /// Returns the addresses of a name as of now, or a text that says what went wrong.
    fn name<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>>;

    /// Returns the addresses of the running pods that are chosen, or a text that says what went
    /// wrong.
    fn pods<'a>(
        &'a self,
        pods: &'a KubernetesPods,
    ) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>>;
}

/// One place where members of the cluster may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An address that is used as it is.
    Address(SocketAddr),
    /// A name, resolved for every attempt.
    Name {
        /// Name that is looked up in DNS.
        host: String,
        /// Gossip port at its addresses.
        port: u16,
    },
    /// The pods of a Kubernetes cluster.
    Pods(KubernetesPods),
}

/// Selects pods of a Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesPods {
    /// Namespace; empty for that of this agent's pod, or `default` outside of a cluster.
    pub namespace: String,
    /// Label selector in the syntax of `kubectl -l`.
    pub label_selector: String,
    /// Field selector in the syntax of `kubectl --field-selector`.
    pub field_selector: String,
    /// Use the addresses of the pods' hosts.
    pub host_network: bool,
    /// Gossip port at their addresses.
    pub port: u16,
}

/// Why a target is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    /// The text is empty.
    #[error("an address to join is empty")]
    Empty,
    /// The port is not a number up to 65535.
    #[error("{0:?} has no valid port")]
    Port(String),
    /// Kubernetes is the only discovery provider.
    #[error("discovery provider {0:?} is not supported; k8s, names and addresses are")]
    Provider(String),
    /// An argument of the provider is not `key=value`.
    #[error("{0:?} is not key=value")]
    Argument(String),
}

// === impl Target ===

impl Target {
    /// Parses one value of `retry_join`.
    ///
    /// # Errors
    /// [`TargetError`] names what is wrong.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, TargetError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.contains("provider=") {
            return pods(text, default_port).map(Self::Pods);
        }
        if let Ok(address) = SocketAddr::from_str(text) {
            return Ok(Self::Address(address));
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = IpAddr::from_str(bare) {
            return Ok(Self::Address(SocketAddr::new(ip, default_port)));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => {
                let port = port.parse().map_err(|_| TargetError::Port(text.to_owned()))?;
                Ok(Self::Name { host: host.to_owned(), port })
            }
            Some(_) => Err(TargetError::Port(text.to_owned())),
            None => Ok(Self::Name { host: text.to_owned(), port: default_port }),
        }
    }

    /// Returns its current addresses; never empty. Takes at most [`RESOLVE_TIMEOUT`].
    ///
    /// # Errors
    /// A text that names the target.
    pub async fn resolve(&self, resolver: &dyn Resolve) -> Result<Vec<SocketAddr>, String> {
        let found = async {
            match self {
                Self::Address(address) => Ok(vec![*address]),
                Self::Name { host, port } => resolver.name(host, *port).await,
                Self::Pods(pods) => resolver.pods(pods).await,
            }
        };
        tokio::time::timeout(RESOLVE_TIMEOUT, found)
            .await
            .unwrap_or_else(|_| Err(format!("resolving {self} took too long")))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Pods(pods) => {
                write!(f, "pods {:?} in namespace {:?}", pods.label_selector, pods.namespace)
            }
        }
    }
}

/// Returns all addresses, in the order of the targets, and a text per target that was not resolved.
pub(super) async fn resolve(
    targets: &[Target],
    resolver: &dyn Resolve,
) -> (Vec<SocketAddr>, Vec<String>) {
    let mut addresses = Vec::new();
    let mut problems = Vec::new();
    for resolved in join_all(targets.iter().map(|target| target.resolve(resolver))).await {
        match resolved {
            Ok(found) => addresses.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    (addresses, problems)
}

fn pods(text: &str, default_port: u16) -> Result<KubernetesPods, TargetError> {
    let mut values = arguments(text)?;
    let mut take = |key: &str| values.remove(key).unwrap_or_default();
    match take("provider").as_str() {
        "k8s" => {}
        other => return Err(TargetError::Provider(other.to_owned())),
    }
    Ok(KubernetesPods {
        namespace: take("namespace"),
        label_selector: take("label_selector"),
        field_selector: take("field_selector"),
        host_network: take("host_network") == "true",
        port: default_port,
    })
}

/// Parses `key=value key="value with blanks"`.
fn arguments(text: &str) -> Result<BTreeMap<String, String>, TargetError> {
    let mut values = BTreeMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) =
            rest.split_once('=').ok_or_else(|| TargetError::Argument(rest.to_owned()))?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                quoted.split_once('"').ok_or_else(|| TargetError::Argument(rest.to_owned()))?
            }
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        values.insert(key.trim().to_owned(), value.to_owned());
        rest = after.trim();
    }
    Ok(values)
}

/// Refuses every lookup.
#[cfg(test)]
pub(crate) struct NoLookup;

#[cfg(test)]
impl Resolve for NoLookup {
    fn name<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>> {
        Box::pin(async move { Err(format!("{host} is not looked up")) })
    }

    fn pods<'a>(
        &'a self,
        pods: &'a KubernetesPods,
    ) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>> {
        Box::pin(async move { Err(format!("{pods:?} are not looked up")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Target::parse(text, 8301).map_or_else(|error| error.to_string(), |t| t.to_string())
    }

    #[test]
    fn names_and_addresses_come_with_and_without_a_port() {
        assert_eq!(parsed("10.0.0.2"), "10.0.0.2:8301");
        assert_eq!(parsed("10.0.0.2:9301"), "10.0.0.2:9301");
        assert_eq!(parsed("node1"), "node1:8301");
        assert_eq!(parsed("node1:9301"), "node1:9301");
        assert_eq!(parsed("[::1]:9301"), "[::1]:9301");
        assert_eq!(parsed("[::1]"), "[::1]:8301");
        assert_eq!(parsed("fd00::2"), "[fd00::2]:8301");
        assert_eq!(parsed("node1:x"), "\"node1:x\" has no valid port");
        assert_eq!(parsed("  "), "an address to join is empty");
    }

    #[test]
    fn pods_are_chosen_by_labels() {
        let text = r#"provider=k8s namespace=mesh label_selector="app=consul,component=server""#;
        let Ok(Target::Pods(pods)) = Target::parse(text, 8301) else { panic!("not pods") };
        assert_eq!(pods.label_selector, "app=consul,component=server");
        assert_eq!((pods.namespace.as_str(), pods.port, pods.host_network), ("mesh", 8301, false));
    }

    #[test]
    fn other_providers_are_named() {
        assert_eq!(
            parsed("provider=aws tag_key=x"),
            "discovery provider \"aws\" is not supported; k8s, names and addresses are"
        );
    }
}
