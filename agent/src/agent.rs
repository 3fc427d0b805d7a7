//! One agent, as the endpoints reach it. How it starts and stops is `app`'s.

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

/// The parts of an agent that requests are answered from.
pub struct Agent {
    /// The configuration in force; swapped by a reload.
    pub config: ArcSwap<RuntimeConfig>,
    /// This agent's UUID.
    pub node_id: String,
    /// What this agent knows of the cluster's state: all of it on a server, its own node on a
    /// client agent.
    pub store: Arc<Store>,
    /// What only servers have.
    pub(crate) role: Option<ServerRole>,
    /// The pools that this agent is in.
    pub pools: Pools,
    /// User events that concern this agent.
    pub events: Arc<Events>,
    /// The way to servers that are not this agent.
    pub forwarder: Arc<Forwarder>,
    /// What a client agent follows of the catalog; `None` on a server.
    pub views: Option<Arc<Views>>,
    /// This agent's own services and checks.
    pub local: Arc<LocalState>,
    /// The one gate.
    pub authorizer: Authorizer,
    /// The names that DNS answers for; swapped by a reload.
    pub dns: Arc<ArcSwap<dns::Zone>>,
    /// TLS of HTTPS, gRPC and server RPC; certificate files are swapped by a reload.
    pub tls: Arc<ListenerTls>,
    /// The cluster that the servers run in.
    pub kubernetes: Option<Arc<Kubernetes>>,
    /// Cancelled when this agent begins to leave or to stop: other servers are asked from then on.
    pub leaving: CancellationToken,
    /// In-flight calls from other agents; drained before leaving.
    pub calls: TaskTracker,
    pub(crate) requests: mpsc::Sender<Request>,
}

/// What a server has and a client agent has not.
pub(crate) struct ServerRole {
    /// Consensus.
    pub(crate) server: Arc<Server>,
    /// The mesh's certificates.
    pub(crate) authority: Arc<Authority>,
}

/// What an endpoint asks of the process that runs the agent.
#[derive(Debug)]
pub enum Request {
    /// Read the configuration again; the answer is the error's text.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Leave the cluster and stop; answered when the others know.
    Leave(oneshot::Sender<()>),
}

/// Why a new configuration was not taken; the old one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Keys changed that are read only when the agent starts.
    #[error(transparent)]
    RestartNeeded(#[from] RestartNeeded),
    /// The DNS domain is not a name.
    #[error(transparent)]
    Domain(#[from] dns::ZoneError),
    /// Certificate files cannot be used.
    #[error("configuring TLS")]
    Tls(#[from] TlsError),
    /// A declared service or check is wrong.
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

    /// Puts a new configuration in force as far as it can change while the agent runs.
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
            // The last step that can fail: it writes to the disk.
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

    /// Asks the process to read its configuration again and waits until it has.
    ///
    /// # Errors
    /// The text of the error that kept the new configuration from being taken.
    pub async fn request_reload(&self) -> Result<(), String> {
        let (answer, result) = oneshot::channel();
        let stopping = || "the agent is stopping".to_owned();
        self.requests.send(Request::Reload(answer)).await.map_err(|_| stopping())?;
        result.await.map_err(|_| stopping())?
    }

    /// Asks the process to leave the cluster and to stop; returns when the other members know.
    pub async fn request_leave(&self) {
        let (answer, left) = oneshot::channel();
        if self.requests.send(Request::Leave(answer)).await.is_err() || left.await.is_err() {
            tracing::debug!("the agent is stopping already");
        }
    }
}

#[cfg(test)]
mod tests;
