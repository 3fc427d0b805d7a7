//! The servers that this agent knows of, of its own and of other datacenters.
//!
//! Gossip keeps the list current; everything that has to reach a server looks here, by ID (an
//! address may change under it) or for any server of a datacenter.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long one server is preferred.
const REBALANCE: Duration = Duration::from_secs(120);

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
    /// to be taken in.
    pub expect: u32,
}

/// All known servers.
#[derive(Debug, Default)]
pub struct Servers {
    known: watch::Sender<Arc<Vec<KnownServer>>>,
    /// Where the next request begins; moved when a server does not answer.
    preferred: AtomicUsize,
}

impl Servers {
    /// Replaces the list.
    pub fn replace(&self, mut servers: Vec<KnownServer>) {
        servers.sort();
        self.known.send_if_modified(|known| {
            let is_new = **known != servers;
            if is_new {
                *known = Arc::new(servers);
            }
            is_new
        });
    }

    /// All of them, sorted by datacenter and name.
    pub fn known(&self) -> Arc<Vec<KnownServer>> {
        self.known.borrow().clone()
    }

    /// The list and every change of it.
    pub fn changes(&self) -> watch::Receiver<Arc<Vec<KnownServer>>> {
        self.known.subscribe()
    }

    /// Where a server is now.
    pub fn address_of(&self, id: &str) -> Option<SocketAddr> {
        self.known.borrow().iter().find(|server| server.id == id).map(|server| server.address)
    }

    /// The servers of a datacenter in the order in which to try them.
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

    /// Begins with another server from now on: the preferred one did not answer, or it is time to
    /// spread the load.
    pub fn prefer_next(&self, by: usize) {
        self.preferred.fetch_add(by, Ordering::Relaxed);
    }

    /// Spreads the load of client agents: another server is preferred every few minutes.
    pub async fn rebalance(&self, shutdown: CancellationToken) {
        loop {
            self.prefer_next(rand::random_range(0..usize::from(u16::MAX)));
            let pause = tokio::time::sleep(REBALANCE.mul_f64(rand::random_range(1.0..1.5)));
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// The datacenters with at least one server, sorted.
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
        }
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
