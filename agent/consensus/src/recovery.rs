//! Recovery of a cluster that has lost its quorum for good: `<data_dir>/raft/peers.json`.
//!
//! The operator stops the remaining servers, puts the same file into each data directory, and
//! starts them; each becomes a member of a cluster of the servers that the file lists (Consul
//! "Disaster recovery: peers.json"). The file is removed once it is in force.
//!
//! **How.** Membership is what the log and the snapshots say, so it is replaced there: every
//! membership in them becomes the new one, under the log ID it had, before the engine looks.
//!
//! **Why not append an entry, or make a snapshot, with the new membership.** Every server does this
//! by itself, so whatever it writes must not contradict what the others write. An entry needs a
//! term: one that another server has used, for an entry of a real leader that this server never
//! saw, gives two different entries one log ID, and Raft takes logs with the same last ID for the
//! same; one that is surely new makes the server with the highest number win the election, not the
//! one with the most complete log. A snapshot at the end of the log would declare entries committed
//! that perhaps never were, and openraft, which never compares committed entries again, would let
//! such a server differ from the others unnoticed. Replacing in place invents nothing: the
//! commands, their log IDs, the term and the vote stay, equal log IDs still mean equal entries on
//! all servers that got the same file, and the election among them goes by Raft's own rule, so that
//! the most complete log of a majority wins.
//!
//! **The commit point is forgotten**, back to the snapshot. It was counted among servers that are
//! gone; a leader of the new cluster commits the rest again, or, if the new majority does not have
//! it, cuts it off, which a server that had applied it could not follow.
//!
//! **What cannot be helped.** Entries that only lost servers had are lost. An entry that only a
//! minority of the listed servers has can be lost; the log line names the last entry of each, and
//! the safe choice is to list the most complete server alone and let the others join it empty. If
//! servers that are not listed are still running, or come back together with their data before the
//! new cluster has reached them, there can be two clusters.
//!
//! Every step can be repeated: a crash in between leaves the file, and the next start begins again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::SocketAddr,
};

use serde::Deserialize;

use super::{
    directory::Directory,
    error::StartError,
    log_store::Rewrite,
    snapshot,
    types::{Membership, ServerId, ServerNode},
};

/// One server in the file. Its shape is Consul's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    id: String,
    address: String,
    #[serde(default)]
    non_voter: bool,
}

/// Puts `raft/peers.json` in force and removes it, if there is one. Blocks.
///
/// # Errors
/// [`StartError::Peers`] names what is wrong with the file; nothing was changed then.
pub(super) fn recover(directory: &Directory, this: &str) -> Result<(), StartError> {
    let path = directory.root().join("peers.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StartError::Directory { path, source }),
    };
    let refuse = |reason: String| StartError::Peers { path: path.clone(), reason };
    let peers = parse(&text, this).map_err(refuse)?;
    let mut log = Rewrite::open(&directory.log())?;
    let known = match log.membership.take() {
        Some(known) => known,
        None => snapshot::last_membership(&directory.snapshots())?.unwrap_or_default(),
    };
    if known.nodes().next().is_none() {
        return Err(refuse("this server has no data of a cluster to recover".to_owned()));
    }
    let membership = membership(&peers, &known).map_err(refuse)?;
    snapshot::replace_membership(&directory.snapshots(), &membership)?;
    let last = log.last;
    log.replace_membership(&membership)?;
    fs::remove_file(&path)
        .and_then(|()| fs::File::open(directory.root())?.sync_all())
        .map_err(|source| StartError::Directory { path: path.clone(), source })?;
    let servers: Vec<String> = peers.iter().map(|(_, peer)| peer.to_string()).collect();
    let (index, term) = last.map_or((0, 0), |id| (id.index, id.leader_id.term));
    tracing::warn!(
        path = %path.display(),
        servers = servers.join(", "),
        last_log_index = index,
        last_log_term = term,
        "peers.json is in force and removed: the cluster consists of these servers now"
    );
    Ok(())
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.non_voter { "non-voter" } else { "voter" };
        write!(f, "{} at {} ({kind})", self.id, self.address)
    }
}

/// The file's servers, every one of which is usable, with `this` among them.
fn parse(text: &[u8], this: &str) -> Result<Vec<(ServerId, Peer)>, String> {
    let peers: Vec<Peer> = serde_json::from_slice(text).map_err(|error| {
        format!(
            "{error}; expected [{{\"id\": NODE ID, \"address\": IP:PORT, \"non_voter\": false}}]"
        )
    })?;
    let mut servers = Vec::new();
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for peer in peers {
        let id = ServerId(peer.id.parse().map_err(|_| format!("id {:?} is not a UUID", peer.id))?);
        let address: SocketAddr = peer
            .address
            .parse()
            .map_err(|_| format!("address {:?} is not an IP address with a port", peer.address))?;
        if !ids.insert(id) {
            return Err(format!("id {id} is there twice"));
        }
        if !addresses.insert(address) {
            return Err(format!("address {address} is there twice"));
        }
        servers.push((id, peer));
    }
    if servers.iter().all(|(_, peer)| peer.non_voter) {
        return Err("no server in it votes".to_owned());
    }
    let this: ServerId = ServerId(this.parse().map_err(|_| format!("{this:?} is not a UUID"))?);
    if !ids.contains(&this) {
        return Err(format!("this server, node ID {this}, is not in it"));
    }
    Ok(servers)
}

/// The new membership; names are those that were known.
fn membership(peers: &[(ServerId, Peer)], known: &Membership) -> Result<Membership, String> {
    let voters = peers.iter().filter(|(_, peer)| !peer.non_voter).map(|(id, _)| *id).collect();
    let mut nodes = BTreeMap::new();
    for (id, peer) in peers {
        let name = known.get_node(id).map_or_else(|| peer.id.clone(), |node| node.name.clone());
        let address = peer.address.parse().map_err(|_| peer.address.clone())?;
        nodes.insert(*id, ServerNode { name, address });
    }
    Membership::new(vec![voters], nodes).map_err(|error| error.to_string())
}
