//! The servers that this agent knows of, of its own and of other datacenters.
//!
//! Gossip keeps the list current, and consensus hears from servers that moved; everything that has
//! to reach a server looks here, by ID (an address may change under it) or for any server of a
//! datacenter.

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
    /// When it was started, in milliseconds since 1970.
    pub started: u64,
}

/// All known servers.
#[derive(Debug, Default)]
pub struct Servers {
    known: watch::Sender<Arc<Vec<KnownServer>>>,
    /// Where the next request begins; moved when a server does not answer.
    preferred: AtomicUsize,
    /// What servers said themselves and gossip does not know yet, by ID.
    heard: Mutex<HashMap<String, Heard>>,
}

/// Where a server said that it is, and since when.
#[derive(Debug, Clone, Copy)]
struct Heard {
    address: SocketAddr,
    started: u64,
}

impl Heard {
    /// Whether gossip says the same of the server with this ID, or knows of a later start.
    fn is_known(&self, id: &str, server: &KnownServer) -> bool {
        server.id == id && (server.address == self.address || server.started >= self.started)
    }
}

impl Servers {
    /// Replaces the list.
    pub fn replace(&self, mut servers: Vec<KnownServer>) {
        servers.sort();
        self.lock().retain(|id, heard| !servers.iter().any(|server| heard.is_known(id, server)));
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

    /// Takes note of where a server says that it is, and since when. Gossip believes that a name has
    /// a new address only when the old one is surely dead, which takes many seconds; consensus goes on
    /// meanwhile. The newest start counts, so that of two with one ID, one cannot win the other's
    /// place back.
    pub fn hear(&self, id: &str, address: SocketAddr, started: u64) {
        let said = Heard { address, started };
        if self.known.borrow().iter().any(|server| said.is_known(id, server)) {
            return;
        }
        let mut heard = self.lock();
        if heard.get(id).is_none_or(|before| before.started < started) {
            heard.insert(id.to_owned(), said);
        }
    }

    /// Where a server is now.
    pub fn address_of(&self, id: &str) -> Option<SocketAddr> {
        let heard = self.lock().get(id).map(|heard| heard.address);
        let known = self.known.borrow();
        heard.or_else(|| known.iter().find(|server| server.id == id).map(|server| server.address))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
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
            started: 1,
        }
    }

    #[test]
    fn a_server_that_moved_is_found_where_it_says_until_gossip_knows_better() {
        let servers = Servers::default();
        let mut a = server("dc1", "a", 1);
        servers.replace(vec![a.clone()]);
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        servers.hear("id-a", at(2), 5);
        assert_eq!(servers.address_of("id-a"), Some(at(2)));
        servers.hear("id-a", at(3), 4);
        servers.hear("id-a", at(3), 1);
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
        servers.hear("id-a", at(5), 8);
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
