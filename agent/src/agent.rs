//! One agent: the parts that its endpoints use. `app` starts and stops it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use lictor_config::{RestartNeeded, RuntimeConfig, check_reload};
use lictor_core::acl::Authorizer;
use lictor_store::Store;
use lictor_transport::tls::TlsError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ca::{
        Authority,
        server_tls::{ListenerFiles, ListenerTls},
    },
    dns,
    events::Events,
    forward::Forwarder,
    kubernetes::Kubernetes,
    local::{LocalState, RegistrationError},
    server::Server,
    views::Views,
};

mod gauges;
pub mod pools;

pub use pools::{PoolError, Pools};

/// The parts of an agent that request handlers use.
pub struct Agent {
    /// The configuration in force; swapped by a reload.
    pub config: ArcSwap<RuntimeConfig>,
    /// This agent's UUID.
    pub node_id: String,
    /// This agent's copy of the cluster's state: all of it on a server, its own node on a client
    /// agent.
    pub store: Arc<Store>,
    /// The parts that only servers have.
    pub(crate) role: Option<ServerRole>,
    /// The gossip pools of this agent.
    pub pools: Pools,
    /// User events that concern this agent.
    pub events: Arc<Events>,
    /// Forwards requests to other servers.
    pub forwarder: Arc<Forwarder>,
    /// The views of the catalog that a client agent follows; `None` on a server.
    pub views: Option<Arc<Views>>,
    /// This agent's own services and checks.
    pub local: Arc<LocalState>,
    /// The one place where access is checked.
    pub authorizer: Authorizer,
    /// The DNS zones that this agent serves; swapped by a reload.
    pub dns: Arc<ArcSwap<dns::Zone>>,
    /// TLS of HTTPS, gRPC and server RPC; certificate files are swapped by a reload.
    pub tls: Arc<ListenerTls>,
    /// The Kubernetes cluster that the servers run in.
    pub kubernetes: Option<Arc<Kubernetes>>,
    /// Cancelled when this agent begins to leave or stop: callers then use other servers.
    pub leaving: CancellationToken,
    /// In-flight calls from other agents; drained before leaving.
    pub calls: TaskTracker,
    pub(crate) requests: mpsc::Sender<Request>,
}

/// The parts that only a server has.
pub(crate) struct ServerRole {
    /// Consensus.
    pub(crate) server: Arc<Server>,
    /// The mesh's certificate authority.
    pub(crate) authority: Arc<Authority>,
}

/// A request of an endpoint to the process that runs the agent.
#[derive(Debug)]
pub enum Request {
    /// Reload the configuration; responds with the error's text on failure.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Leave the cluster and stop; responds once the other members have been notified.
    Leave(oneshot::Sender<()>),
}

/// Why a new configuration was rejected; the old one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Keys changed that take effect only at a restart.
    #[error(transparent)]
    RestartNeeded(#[from] RestartNeeded),
    /// The DNS domain is not a valid name.
    #[error(transparent)]
    Domain(#[from] dns::ZoneError),
    /// Certificate files are unreadable or invalid.
    #[error("configuring TLS")]
    Tls(#[from] TlsError),
    /// A declared service or check is invalid.
    #[error("registering the configured services and checks")]
    Registration(#[from] RegistrationError),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
}

// === impl Agent ===

impl Agent {
    /// Returns the server that this agent is; `None` on a client agent.
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.role.as_ref().map(|role| &role.server)
    }

    /// Returns the mesh's certificate authority; `None` on a client agent.
    pub fn authority(&self) -> Option<&Arc<Authority>> {
        self.role.as_ref().map(|role| &role.authority)
    }

    /// Puts a new configuration in force; keys that need a restart are logged and keep their
    /// values.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing was changed.
    pub async fn reload(&self, config: RuntimeConfig) -> Result<(), ReloadError> {
        let next_start = check_reload(&self.config.load(), &config)?;
        let zone = dns::Zone::new(&config)?;
        let certificates = ListenerFiles::load(&config)?;
        let config = Arc::new(config);
        let (tls, local, reloaded) = (self.tls.clone(), self.local.clone(), config.clone());
        let prepare_and_commit = move || {
            let certificates = tls.stage(certificates)?;
            // The last step that can fail, because it writes to the disk.
            local.reload(&reloaded)?;
            certificates.commit();
            Ok::<_, ReloadError>(())
        };
        tokio::task::spawn_blocking(prepare_and_commit)
            .await
            .map_err(|_| ReloadError::Stopping)??;
        self.dns.store(Arc::new(zone));
        self.config.store(config);
        if !next_start.is_empty() {
            let keys = next_start.join(", ");
            tracing::warn!(target: "agent", keys, "changed keys count from the next start only");
        }
        Ok(())
    }

    /// Requests a reload of the configuration and waits until it is done.
    ///
    /// # Errors
    /// The text of the error for which the new configuration was rejected.
    pub async fn request_reload(&self) -> Result<(), String> {
        let (answer, result) = oneshot::channel();
        let stopping = || "the agent is stopping".to_owned();
        self.requests.send(Request::Reload(answer)).await.map_err(|_| stopping())?;
        result.await.map_err(|_| stopping())?
    }

    /// Requests that the agent leave the cluster and stop; waits until the other members have been
    /// notified.
    pub async fn request_leave(&self) {
        let (answer, left) = oneshot::channel();
        if self.requests.send(Request::Leave(answer)).await.is_err() || left.await.is_err() {
            tracing::debug!("the agent is stopping already");
        }
    }
}

#[cfg(test)]
mod tests;
