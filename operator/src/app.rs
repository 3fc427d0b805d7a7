//! Wires everything together: what every replica runs, and what only the leader does.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::Client;
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
    watch::Tasks,
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

async fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, what, source })
}

/// Runs the operator until `stop`.
///
/// # Errors
/// A listener cannot be opened; everything else is retried.
pub async fn run(
    client: Client,
    config: Arc<Config>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> Result<(), BindError> {
    let webhook = bind(config.webhook_listen, "the webhook").await?;
    let health = bind(config.health_listen, "probes and metrics").await?;
    let listening = CancellationToken::new();
    let (readiness, leaf) = (Readiness::default(), Arc::new(ServedLeaf::default()));
    let tasks = Tasks::under(&listening);
    keeper::start(&tasks, &client, &config, Arc::clone(&leaf), readiness.clone());
    let handler = Arc::new(Webhook { config: Arc::clone(&config) });
    let acceptor = Some(leaf.acceptor());
    tasks.tracker.spawn(net::serve(webhook, acceptor, handler, tasks.stop.clone()));
    let handler = Arc::new(Health { readiness, metrics });
    tasks.tracker.spawn(net::serve(health, None, handler, tasks.stop.clone()));

    lead(&client, &config, &stop).await;
    tokio::time::sleep(LINGER_TIMEOUT).await;
    tasks.end().await;
    Ok(())
}

/// Takes part in the election, and runs the controllers while this replica leads.
async fn lead(client: &Client, config: &Arc<Config>, stop: &CancellationToken) {
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
            let tasks = Tasks::under(&CancellationToken::new());
            start_controllers(&tasks, client, config);
            // An error means the same: the election has ended.
            drop(leading.wait_for(|leads| !*leads).await);
            tasks.end().await;
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
    tasks.spawn(async move {
        // Without the roots, which the servers write, no server can be trusted.
        if mesh_roots.wait_for(Option::is_some).await.is_ok() {
            pods::start(&later, &context);
            config_entries::start(&later, &context);
        }
    });
}
