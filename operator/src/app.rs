//! Wires everything together: what every replica runs, and what only the leader does.

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

/// How long the webhook goes on after SIGTERM: the API server still sends requests here until the
/// Service's endpoints have changed everywhere.
const LINGER_TIMEOUT: Duration = Duration::from_secs(3);

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address} for {what}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What it is for.
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
    /// A task is gone without which it would only look healthy.
    #[error("the operator cannot go on")]
    Task(#[from] TaskFailed),
}

/// How long listeners and their connections may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

async fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, what, source })
}

/// Runs the operator until `stop`.
///
/// # Errors
/// A listener cannot be opened, or a task failed; everything else is retried. The lease is given up
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

/// Takes part in the election until `stop`, and runs the controllers while this replica leads.
///
/// # Errors
/// A task failed; the lease is given up already, so that another replica goes on.
async fn lead(
    client: &Client,
    config: &Config,
    tasks: &Tasks,
    stop: &CancellationToken,
    begin: impl Fn(&Tasks),
) -> Result<(), TaskFailed> {
    let ending = stop.child_token();
    let mut taking_part = std::pin::pin!(take_part(client, config, tasks, &ending, begin));
    tokio::select! {
        () = taking_part.as_mut() => Ok(()),
        failed = tasks.failed() => {
            tracing::error!(task = failed.name, "giving up the lease");
            ending.cancel();
            taking_part.await;
            Err(failed)
        }
    }
}

async fn take_part(
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
            // An error means the same: the election has ended.
            drop(leading.wait_for(|leads| !*leads).await);
            term.end().await;
            gauge!(LEADER).set(0.0);
        }
    };
    tokio::join!(election, duty);
}

fn start_controllers(tasks: &Tasks, client: &Client, config: &Arc<Config>) {
    let mut mesh_roots = roots::watch_source(tasks, client, config);
    let servers = HttpServers::new(Arc::clone(config), mesh_roots.clone());
    let context = Arc::new(Context::new(client.clone(), Arc::clone(config), servers));
    roots::start(tasks, &context);
    coredns::start(tasks, &context);
    let later = tasks.clone();
    tasks.spawn_until_shutdown("controllers.start", async move {
        // Without the roots, which the servers write, no server can be trusted.
        if mesh_roots.wait_for(Option::is_some).await.is_ok() {
            pods::start(&later, &context);
            config_entries::start(&later, &context);
        }
        std::future::pending().await
    });
}

#[cfg(test)]
mod tests;
