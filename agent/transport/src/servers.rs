//! The servers that this agent knows of, of its own and of other datacenters.
//!
//! Gossip keeps the list current, and vote requests report servers that moved. Callers look up a
//! server by ID, because its address may change, or any server of a datacenter.
//!
//! INVARIANT: of two reports about one ID the one with the later start wins, so that a server that
//! was replaced cannot take its address back.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long one server is preferred.
const REBALANCE_INTERVAL: Duration = Duration::from_secs(120);

/// A server that gossip says is alive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownServer {
    /// Its datacenter.
    pub datacenter: String,
    /// Node name.
    pub name: String,
    /// Node ID, UUID text.
    pub id: String,
    /// Server RPC address.
    pub address: SocketAddr,
    /// How many servers it waits for before the first election (`bootstrap_expect`); 0: it waits
    /// to be added.
    pub expect: u32,
    /// When it was started, in milliseconds since 1970.
    pub started: u64,
}

/// All known servers.
#[derive(Debug, Default)]
pub struct Servers {
    known: watch::Sender<Arc<Vec<KnownServer>>>,
    /// Index of the server that is tried first; moved when a server does not answer.
    preferred: AtomicUsize,
    /// Addresses that servers reported and gossip does not know yet, by ID.
    reported: Mutex<HashMap<String, ReportedAddress>>,
}

/// An address that a server reported itself, and when it was started.
#[derive(Debug, Clone, Copy)]
struct ReportedAddress {
    address: SocketAddr,
    started: u64,
}

impl ReportedAddress {
    /// Returns whether gossip knows the same address of this server, or a later start.
    fn is_known(&self, id: &str, server: &KnownServer) -> bool {
        server.id == id && (server.address == self.address || server.started >= self.started)
    }
}

impl Servers {
    /// Replaces the list by what gossip knows now.
    pub fn replace(&self, mut servers: Vec<KnownServer>) {
        servers.sort();
        self.lock()
            .retain(|id, reported| !servers.iter().any(|server| reported.is_known(id, server)));
        self.known.send_if_modified(|known| {
            let is_new = **known != servers;
            if is_new {
                *known = Arc::new(servers);
            }
            is_new
        });
    }

    /// Returns all known servers, sorted by datacenter and name.
    pub fn known(&self) -> Arc<Vec<KnownServer>> {
        self.known.borrow().clone()
    }

    /// Returns a receiver of the list.
    pub fn changes(&self) -> watch::Receiver<Arc<Vec<KnownServer>>> {
        self.known.subscribe()
    }

    /// Records the address that a server reports of itself, and when it was started. Gossip accepts
    /// a new address of a name only when the old one has failed, which takes many seconds;
    /// consensus goes on meanwhile. An earlier start than the recorded one is ignored.
    pub fn record_address(&self, id: &str, address: SocketAddr, started: u64) {
        let report = ReportedAddress { address, started };
        if self.known.borrow().iter().any(|server| report.is_known(id, server)) {
            return;
        }
        let mut reported = self.lock();
        if reported.get(id).is_none_or(|before| before.started < started) {
            reported.insert(id.to_owned(), report);
        }
    }

    /// Returns the current address of a server.
    pub fn address_of(&self, id: &str) -> Option<SocketAddr> {
        let reported = self.lock().get(id).map(|reported| reported.address);
        let known = self.known.borrow();
        reported
            .or_else(|| known.iter().find(|server| server.id == id).map(|server| server.address))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, ReportedAddress>> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the servers of a datacenter in the order in which to try them.
    pub fn to_try(&self, datacenter: &str) -> Vec<KnownServer> {
        let known = self.known.borrow();
        let mut servers: Vec<KnownServer> =
            known.iter().filter(|server| server.datacenter == datacenter).cloned().collect();
        if !servers.is_empty() {
            let first = self.preferred.load(Ordering::Relaxed) % servers.len();
            servers.rotate_left(first);
        }
        servers
    }

    /// Prefers another server from now on: the preferred one did not answer, or the load is to be
    /// spread.
    pub fn prefer_next(&self, by: usize) {
        self.preferred.fetch_add(by, Ordering::Relaxed);
    }

    /// Spreads the load of client agents: prefers another server every few minutes, until
    /// `shutdown`.
    pub async fn rebalance(&self, shutdown: CancellationToken) {
        loop {
            self.prefer_next(rand::random_range(0..usize::from(u16::MAX)));
            let pause =
                tokio::time::sleep(REBALANCE_INTERVAL.mul_f64(rand::random_range(1.0..1.5)));
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Returns the datacenters with at least one server, sorted.
    pub fn datacenters(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.known.borrow().iter().map(|server| server.datacenter.clone()).collect();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(datacenter: &str, name: &str, port: u16) -> KnownServer {
        KnownServer {
            datacenter: datacenter.to_owned(),
            name: name.to_owned(),
            id: format!("id-{name}"),
            address: ([127, 0, 0, 1], port).into(),
            expect: 0,
            started: 1,
        }
    }

    #[test]
    fn a_server_that_moved_is_found_at_its_reported_address_until_gossip_knows_better() {
        let servers = Servers::default();
        let mut a = server("dc1", "a", 1);
        servers.replace(vec![a.clone()]);
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        servers.record_address("id-a", at(2), 5);
        assert_eq!(servers.address_of("id-a"), Some(at(2)));
        servers.record_address("id-a", at(3), 4);
        servers.record_address("id-a", at(3), 1);
        assert_eq!(servers.address_of("id-a"), Some(at(2)), "what was started before is not it");
        servers.replace(Vec::new());
        assert_eq!(servers.address_of("id-a"), Some(at(2)), "gossip counts the old one as dead");
        a.address = at(2);
        servers.replace(vec![a.clone()]);
        a.address = at(4);
        servers.replace(vec![a.clone()]);
        assert_eq!(
            servers.address_of("id-a"),
            Some(at(4)),
            "gossip has caught up, and leads again"
        );
        servers.record_address("id-a", at(5), 8);
        a.started = 9;
        servers.replace(vec![a]);
        assert_eq!(servers.address_of("id-a"), Some(at(4)), "it was started once more");
    }

    #[test]
    fn a_server_is_found_by_its_id_under_its_newest_address() {
        let servers = Servers::default();
        servers.replace(vec![server("dc1", "a", 1)]);
        servers.replace(vec![server("dc1", "a", 2)]);
        assert_eq!(servers.address_of("id-a").unwrap().port(), 2);
        assert_eq!(servers.address_of("id-b"), None);
    }

    #[test]
    fn requests_begin_with_the_next_server_after_one_did_not_answer() {
        let servers = Servers::default();
        servers.replace(vec![server("dc1", "a", 1), server("dc1", "b", 2), server("dc2", "c", 3)]);
        let first = servers.to_try("dc1");
        servers.prefer_next(1);
        let second = servers.to_try("dc1");
        assert_eq!((first.len(), second.len()), (2, 2));
        assert_ne!(first[0], second[0]);
        assert_eq!(servers.datacenters(), ["dc1", "dc2"]);
    }
}
