//! Bootstrap: `bootstrap_expect` servers find each other by gossip and found the cluster together.
//!
//! INVARIANT: no two clusters are founded from overlapping sets of servers. One server initiates:
//! of those with the same `bootstrap_expect`, the one with the lowest ID. It requests every other
//! server of the set to found a cluster of exactly that set, which each does once, durably, and
//! only while it has no data. It founds its own part last, after all others have accepted.

use std::{sync::Arc, time::Duration};

use lictor_api::server::{PROTOCOL_VERSION, v1, v1::peer_client::PeerClient};
use lictor_consensus::{ConsensusError, Peer};
use lictor_transport::{connections::Connection, servers::KnownServer};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};
use uuid::Uuid;

use super::Server;

/// Pause between two attempts; gossip may still discover servers.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of one call to another server.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The next step of a server without data.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for more servers, or for another server to initiate.
    Wait,
    /// Found the cluster with all of these, this server included.
    Found(Vec<KnownServer>),
}

/// Why the cluster cannot be founded yet; retried.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoundError {
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    #[error("{0} does not agree: {1}")]
    Refused(String, String),
    #[error(transparent)]
    Own(#[from] ConsensusError),
    #[error("{0} has no UUID")]
    Identity(String),
    #[error("{0} has data; its cluster will take this server in")]
    Founded(String),
}

/// Returns the next step of this server, `own` by ID, toward a cluster of `expect` servers.
pub fn plan(own: &str, expect: u32, known: &[KnownServer]) -> Step {
    // A server that expects another number belongs to another cluster, or is misconfigured.
    let is_candidate = |server: &&KnownServer| server.expect == expect || server.expect == 0;
    let mut set: Vec<KnownServer> = known.iter().filter(is_candidate).cloned().collect();
    let first = set.iter().filter(|server| server.expect == expect).map(|server| &*server.id).min();
    if set.len() < expect as usize || first != Some(own) {
        return Step::Wait;
    }
    // Servers that expect this number first, then by ID: every server makes the same choice.
    set.sort_by(|a, b| (a.expect == 0, &a.id).cmp(&(b.expect == 0, &b.id)));
    set.truncate(expect as usize);
    Step::Found(set)
}

/// Founds the cluster once enough servers are known, unless another cluster adds this server first.
pub async fn run(server: Arc<Server>, own: String, expect: u32, shutdown: CancellationToken) {
    let mut known = server.peers().servers.changes();
    let mut last_reason = String::new();
    while !server.consensus().has_data() {
        let servers = known.borrow_and_update().clone();
        match attempt(&server, &own, expect, &servers).await {
            Ok(None) => {}
            Ok(Some(servers)) => {
                tracing::info!(
                    target: "agent.server",
                    servers,
                    "found expected number of servers, bootstrapping"
                );
            }
            Err(error) => {
                let reason = error.to_string();
                if reason != last_reason {
                    tracing::warn!(target: "agent.server", error = reason, "not bootstrapped yet");
                    last_reason = reason;
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = known.changed() => {}
            () = sleep(RETRY_INTERVAL) => {}
        }
    }
}

/// Founds the cluster if this server initiates. Returns the names of its servers, or `None` when
/// this server has to wait.
pub(super) async fn attempt(
    server: &Server,
    own: &str,
    expect: u32,
    known: &[KnownServer],
) -> Result<Option<String>, FoundError> {
    let datacenter = &server.peers().datacenter;
    let known: Vec<KnownServer> =
        known.iter().filter(|server| server.datacenter == *datacenter).cloned().collect();
    let Step::Found(set) = plan(own, expect, &known) else { return Ok(None) };
    all_are_new(server, own, &known).await?;
    found(server, own, &set).await?;
    let names: Vec<&str> = set.iter().map(|server| &*server.name).collect();
    Ok(Some(names.join(",")))
}

async fn found(server: &Server, own: &str, set: &[KnownServer]) -> Result<(), FoundError> {
    let peers = set.iter().map(to_peer).collect::<Vec<_>>();
    let mut servers = Vec::new();
    for peer in &peers {
        let id = Uuid::parse_str(&peer.node_id);
        let id = id.map_err(|_| FoundError::Identity(peer.node_name.clone()))?;
        servers.push(v1::Server {
            id: bytes::Bytes::copy_from_slice(id.as_bytes()),
            name: peer.node_name.clone(),
            address: peer.address.to_string(),
        });
    }
    let request = v1::FoundRequest { protocol_version: PROTOCOL_VERSION, servers };
    for other in set.iter().filter(|other| other.id != own) {
        request_found(server, other, request.clone()).await?;
    }
    Ok(server.consensus().found(&peers).await?)
}

/// Checks that no known server has data, whatever number it expects.
async fn all_are_new(server: &Server, own: &str, known: &[KnownServer]) -> Result<(), FoundError> {
    for other in known.iter().filter(|other| other.id != own) {
        let standing = call(server, other, async |mut peer| {
            peer.standing(v1::StandingRequest { protocol_version: PROTOCOL_VERSION }).await
        });
        if standing.await?.has_data {
            return Err(FoundError::Founded(other.name.clone()));
        }
    }
    Ok(())
}

async fn request_found(
    server: &Server,
    other: &KnownServer,
    request: v1::FoundRequest,
) -> Result<(), FoundError> {
    call(server, other, async |mut peer| peer.found(request).await).await.map(drop)
}

async fn call<T>(
    server: &Server,
    other: &KnownServer,
    method: impl AsyncFnOnce(PeerClient<Connection>) -> Result<Response<T>, Status>,
) -> Result<T, FoundError> {
    let unreachable = |reason: String| FoundError::Unreachable(other.name.clone(), reason);
    let connections = &server.peers().connections;
    let connection = connections.connect(other.address, &other.datacenter).await;
    let connection = connection.map_err(|error| unreachable(error.to_string()))?;
    match timeout(CALL_TIMEOUT, method(PeerClient::new(connection))).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => {
            Err(FoundError::Refused(other.name.clone(), status.message().to_owned()))
        }
        Err(_) => Err(unreachable("no answer in time".to_owned())),
    }
}

fn to_peer(server: &KnownServer) -> Peer {
    Peer {
        node_id: server.id.clone(),
        node_name: server.name.clone(),
        address: server.address,
        voter: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: &str, expect: u32) -> KnownServer {
        KnownServer {
            datacenter: "dc1".to_owned(),
            name: format!("node-{id}"),
            id: id.to_owned(),
            address: ([127, 0, 0, 1], 8300).into(),
            expect,
            started: 1,
        }
    }

    fn ids(step: Step) -> Vec<String> {
        match step {
            Step::Wait => Vec::new(),
            Step::Found(set) => set.into_iter().map(|server| server.id).collect(),
        }
    }

    #[test]
    fn nobody_begins_before_enough_servers_are_there() {
        let known = [server("a", 3), server("b", 3)];
        assert_eq!(plan("a", 3, &known), Step::Wait);
    }

    #[test]
    fn one_server_takes_the_initiative() {
        let known = [server("b", 3), server("a", 3), server("c", 3), server("d", 3)];
        assert_eq!(ids(plan("a", 3, &known)), ["a", "b", "c"]);
        for other in ["b", "c", "d"] {
            assert_eq!(plan(other, 3, &known), Step::Wait, "{other}");
        }
    }

    #[test]
    fn one_server_that_expects_may_take_in_others_that_wait() {
        let known = [server("c", 3), server("a", 0), server("b", 0)];
        assert_eq!(ids(plan("c", 3, &known)), ["c", "a", "b"]);
    }

    #[test]
    fn servers_that_expect_another_number_are_left_out() {
        let known = [server("a", 3), server("b", 5), server("c", 3)];
        assert_eq!(plan("a", 3, &known), Step::Wait);
    }
}
