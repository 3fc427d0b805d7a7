//! Wires everything together: what every replica runs, and what only the leader runs.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::Client;
use lictor_runtime::{TaskFailed, Tasks};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    context::Context,
    controllers::{config_entries, coredns, pods, roots},
    election,
    health::{Health, Readiness},
    metrics::LEADER,
    net,
    servers::http::HttpServers,
    webhook::{certs::ServedLeaf, keeper, server::Webhook},
};

/// How long the webhook serves after SIGTERM: the API server sends requests here until every node
/// has the Service's new endpoints.
const LINGER_TIMEOUT: Duration = Duration::from_secs(3);

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address} for {what}")]
pub struct BindError {
    /// The address to listen on.
    pub address: SocketAddr,
    /// What the listener is for.
    pub what: &'static str,
    /// The system's error.
    pub source: std::io::Error,
}

/// Why the operator ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A task failed without which the operator would only look healthy.
    #[error("the operator cannot go on")]
    Task(#[from] TaskFailed),
}

/// Timeout for listeners and their connections to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

async fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, what, source })
}

/// Runs the operator until `stop`.
///
/// # Errors
/// A listener cannot be opened, or a task failed; everything else is retried. The lease is released
/// before this returns.
pub async fn run(
    client: Client,
    config: Arc<Config>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let webhook = bind(config.webhook_listen, "the webhook").await?;
    let health = bind(config.health_listen, "probes and metrics").await?;
    let (readiness, leaf) = (Readiness::default(), Arc::new(ServedLeaf::default()));
    let tasks = Tasks::new();
    keeper::start(&tasks, &client, &config, Arc::clone(&leaf), readiness.clone());
    let handler = Arc::new(Webhook { config: Arc::clone(&config) });
    let acceptor = Some(leaf.acceptor());
    tasks.spawn("webhook.accept", net::serve(webhook, acceptor, handler, tasks.clone()));
    let handler = Arc::new(Health { readiness, metrics });
    tasks.spawn("health.accept", net::serve(health, None, handler, tasks.clone()));

    let duty = |term: &Tasks| start_controllers(term, &client, &config);
    let led = lead(&client, &config, &tasks, &stop, duty).await;
    tokio::time::sleep(LINGER_TIMEOUT).await;
    tasks.stop(STOP_TIMEOUT).await;
    Ok(led?)
}

/// Runs in the election until `stop`, and calls `begin` to start the controllers whenever this
/// replica becomes the leader.
///
/// # Errors
/// A task failed. The lease is already released, so that another replica can take over.
async fn lead(
    client: &Client,
    config: &Config,
    tasks: &Tasks,
    stop: &CancellationToken,
    begin: impl Fn(&Tasks),
) -> Result<(), TaskFailed> {
    let ending = stop.child_token();
    let mut campaign = std::pin::pin!(campaign(client, config, tasks, &ending, begin));
    tokio::select! {
        () = campaign.as_mut() => Ok(()),
        failed = tasks.failed() => {
            tracing::error!(task = failed.name, "giving up the lease");
            ending.cancel();
            campaign.await;
            Err(failed)
        }
    }
}

/// Runs the election and, during each term of leadership, what `begin` starts.
async fn campaign(
    client: &Client,
    config: &Config,
    tasks: &Tasks,
    stop: &CancellationToken,
    begin: impl Fn(&Tasks),
) {
    let (sender, mut leading) = watch::channel(false);
    let (namespace, lease) = (config.namespace.clone(), config.lease_name());
    let identity = config.pod_name.clone();
    let election = {
        let (client, stop) = (client.clone(), stop.clone());
        async move { election::run(client, &namespace, &lease, &identity, sender, stop).await }
    };
    let duty = async {
        // Ends when the election has ended and dropped its sender.
        while leading.wait_for(|leads| *leads).await.is_ok() {
            gauge!(LEADER).set(1.0);
            let term = tasks.group();
            begin(&term);
            // An error means the same as `false`: the election has ended.
            drop(leading.wait_for(|leads| !*leads).await);
            term.end().await;
            gauge!(LEADER).set(0.0);
        }
    };
    tokio::join!(election, duty);
}

/// Starts the controllers; those that write to the servers wait for the mesh roots.
fn start_controllers(tasks: &Tasks, client: &Client, config: &Arc<Config>) {
    let mut mesh_roots = roots::watch_source(tasks, client, config);
    let servers = HttpServers::new(Arc::clone(config), mesh_roots.clone());
    let context = Arc::new(Context::new(client.clone(), Arc::clone(config), servers));
    roots::start(tasks, &context);
    coredns::start(tasks, &context);
    let later = tasks.clone();
    tasks.spawn_until_shutdown("controllers.start", async move {
        // The servers write the roots; without them no server can be verified.
        if mesh_roots.wait_for(Option::is_some).await.is_ok() {
            pods::start(&later, &context);
            config_entries::start(&later, &context);
        }
        std::future::pending().await
    });
}

#[cfg(test)]
mod tests;
