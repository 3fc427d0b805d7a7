//! The operator's settings: flags, or environment variables `LICTOR_*` (the chart sets those).
//!
//! Read once at start; nothing here is reloadable, a change is a rollout of the Deployment.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use lictor_api::contract::{
    DEFAULT_DATACENTER, DEFAULT_DOMAIN, GRPC_TLS_PORT, TOKEN_AUDIENCE, server_name,
};

/// The Kubernetes operator of lictor: sidecar injection, pod registration, cluster DNS.
#[derive(Debug, Parser)]
#[command(name = "lictor-operator", version, about)]
pub struct Cli {
    /// Settings shared by every command.
    #[command(flatten)]
    pub config: Config,
    /// What to do; without one, the operator runs.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A task that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Remove everything the operator made in the cluster and in the catalog, then exit.
    Cleanup,
}

/// Settings of the operator.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// HTTPS addresses of the servers, `host:port`, separated by commas.
    #[arg(long, env = "LICTOR_SERVERS", value_delimiter = ',', required = true)]
    pub servers: Vec<String>,
    /// Name in the servers' certificate; `server.<datacenter>.<domain>` when empty.
    #[arg(long, env = "LICTOR_SERVER_NAME", default_value = "")]
    pub server_name: String,
    /// File with the projected token that the servers review.
    #[arg(long, env = "LICTOR_TOKEN_FILE", default_value = "/var/run/lictor/token")]
    pub token_file: PathBuf,
    /// The release's namespace.
    #[arg(long, env = "LICTOR_NAMESPACE", default_value = "lictor")]
    pub namespace: String,
    /// The release's full name; prefix of the lease and of the webhook's Secret.
    #[arg(long, env = "LICTOR_FULLNAME", default_value = "lictor")]
    pub fullname: String,
    /// Identity in the lease: the pod's name.
    #[arg(long, env = "POD_NAME", default_value = "lictor-operator")]
    pub pod_name: String,
    /// Image of the injected sidecar.
    #[arg(
        long,
        env = "LICTOR_SIDECAR_IMAGE",
        default_value = concat!("localhost/lictor-sidecar:", env!("CARGO_PKG_VERSION"))
    )]
    pub sidecar_image: String,
    /// Pull policy of the sidecar's image; empty leaves it to Kubernetes.
    #[arg(long, env = "LICTOR_SIDECAR_PULL_POLICY", default_value = "")]
    pub sidecar_pull_policy: String,
    /// gRPC-TLS addresses that sidecars connect to; `<fullname>-server.<namespace>.svc:8503` when
    /// empty.
    #[arg(long, env = "LICTOR_SERVER_GRPC", default_value = "")]
    pub server_grpc: String,
    /// Service in front of the webhook.
    #[arg(long, env = "LICTOR_WEBHOOK_SERVICE", default_value = "")]
    pub webhook_service: String,
    /// Name of the MutatingWebhookConfiguration whose `caBundle` the operator keeps.
    #[arg(long, env = "LICTOR_WEBHOOK_CONFIGURATION", default_value = "")]
    pub webhook_configuration: String,
    /// Where the webhook listens (HTTPS, path `/mutate`).
    #[arg(long, env = "LICTOR_WEBHOOK_LISTEN", default_value = "0.0.0.0:9443")]
    pub webhook_listen: SocketAddr,
    /// Where probes and metrics listen (HTTP, paths `/healthz`, `/readyz`, `/metrics`).
    #[arg(long, env = "LICTOR_HEALTH_LISTEN", default_value = "0.0.0.0:8080")]
    pub health_listen: SocketAddr,
    /// Audience of the sidecars' projected tokens.
    #[arg(long, env = "LICTOR_AUDIENCE", default_value = TOKEN_AUDIENCE)]
    pub audience: String,
    /// DNS Service of the release; the managed CoreDNS block forwards to its cluster address.
    #[arg(long, env = "LICTOR_DNS_SERVICE", default_value = "")]
    pub dns_service: String,
    /// Keep a block for the mesh's domain in ConfigMap `kube-system/coredns`.
    #[arg(
        long,
        env = "LICTOR_COREDNS_MANAGE",
        default_value_t = false,
        action = clap::ArgAction::Set
    )]
    pub coredns_manage: bool,
    /// Name of this cluster in the catalog (meta `k8s-cluster`).
    #[arg(long, env = "LICTOR_CLUSTER", default_value = "kubernetes")]
    pub cluster: String,
    /// The servers' datacenter.
    #[arg(long, env = "LICTOR_DATACENTER", default_value = DEFAULT_DATACENTER)]
    pub datacenter: String,
    /// The servers' DNS domain.
    #[arg(long, env = "LICTOR_DOMAIN", default_value = DEFAULT_DOMAIN)]
    pub domain: String,
    /// Namespaces that are never injected, separated by commas. The Kubernetes system namespaces
    /// and the release's own are always among them.
    #[arg(long, env = "LICTOR_EXCLUDED_NAMESPACES", value_delimiter = ',')]
    pub excluded_namespaces: Vec<String>,
    /// Inject pods that carry no `connect-inject` annotation.
    #[arg(
        long,
        env = "LICTOR_DEFAULT_INJECT",
        default_value_t = false,
        action = clap::ArgAction::Set
    )]
    pub default_inject: bool,
}

/// Namespaces of Kubernetes itself.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

impl Config {
    /// Fills empty settings from the ones that imply them.
    #[must_use]
    pub fn with_defaults(mut self) -> Self {
        let fill = |value: &mut String, text: String| {
            if value.is_empty() {
                *value = text;
            }
        };
        let name = &self.fullname;
        fill(&mut self.server_name, server_name(&self.datacenter, &self.domain));
        let server_grpc = format!("{name}-server.{}.svc:{GRPC_TLS_PORT}", self.namespace);
        fill(&mut self.server_grpc, server_grpc);
        fill(&mut self.webhook_service, format!("{name}-webhook"));
        let configuration = format!("{}-{name}-injector", self.namespace);
        fill(&mut self.webhook_configuration, configuration);
        fill(&mut self.dns_service, format!("{name}-dns"));
        self
    }

    /// Returns whether pods of `namespace` are never injected.
    pub fn excludes(&self, namespace: &str) -> bool {
        namespace == self.namespace
            || SYSTEM_NAMESPACES.contains(&namespace)
            || self.excluded_namespaces.iter().any(|excluded| excluded == namespace)
    }

    /// Returns the name of the lease that the leader holds.
    pub fn lease_name(&self) -> String {
        format!("{}-operator", self.fullname)
    }

    /// Returns the name of the Secret that the chart's Job made for the servers.
    pub fn server_keys(&self) -> String {
        format!("{}-server-keys", self.fullname)
    }

    /// Returns the name of the Secret with the webhook's authority.
    pub fn webhook_secret(&self) -> String {
        format!("{}-operator-webhook-ca", self.fullname)
    }

    /// Returns the defaults, for tests.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Cli::parse_from(["lictor-operator", "--servers=127.0.0.1:8501"]).config.with_defaults()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_release() {
        let arguments = ["lictor-operator", "--servers=a:1,b:2", "--fullname=mesh"];
        let config = Cli::parse_from(arguments).config.with_defaults();
        assert_eq!(config.servers, ["a:1", "b:2"]);
        assert_eq!(config.server_name, "server.dc1.consul");
        assert_eq!(config.server_grpc, "mesh-server.lictor.svc:8503");
        assert_eq!(config.lease_name(), "mesh-operator");
    }

    #[test]
    fn system_namespaces_and_the_release_are_excluded() {
        let config = Config { excluded_namespaces: vec!["ci".into()], ..Config::for_tests() };
        for namespace in ["kube-system", "lictor", "ci"] {
            assert!(config.excludes(namespace), "{namespace}");
        }
        assert!(!config.excludes("default"));
    }

    #[test]
    fn cleanup_is_a_command() {
        let cli = Cli::parse_from(["lictor-operator", "--servers=a:1", "cleanup"]);
        assert_eq!(cli.command, Some(Command::Cleanup));
    }
}
