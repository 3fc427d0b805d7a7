//! The engine's types, options, start and stop. Only modules of this crate name them.
//!
//! Facts about serf 0.5.2 and memberlist 0.8.5 that the code rests on:
//! - A key alone encrypts nothing: the algorithm and `gossip_verify_outgoing` are set with it, and
//!   plain text is refused only with `gossip_verify_incoming`.
//! - A failed name comes back under another address only with a reclaim time.
//! - Encoding tags of more than 512 bytes panics: they are measured before.
//! - The engine sends events while it holds its table of members: the task that drains them must
//!   never read the table.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};

use memberlist::{
    Options as MemberlistOptions,
    net::NetTransportOptions,
    proto::{Data, EncryptionAlgorithm, Meta, SecretKeys},
    tokio::{TokioNetTransport, TokioSocketAddrResolver, TokioTcp},
};
use serf::{
    Options, Serf,
    delegate::{CompositeDelegate, NoopReconnectDelegate},
    types::{SmolStr, Tags},
};

use tokio::time::timeout;

use super::{
    SHUTDOWN_TIMEOUT, Settings, StartError,
    gate::{Gate, LocalMember},
};

pub(super) type Transport = TokioNetTransport<SmolStr, TokioSocketAddrResolver, TokioTcp>;
pub(super) type Delegate =
    CompositeDelegate<SmolStr, SocketAddr, Gate, NoopReconnectDelegate<SmolStr, SocketAddr>>;
pub(super) type Engine = Serf<Transport, Delegate>;
pub(super) type TransportOptions = NetTransportOptions<SmolStr, TokioSocketAddrResolver, TokioTcp>;

/// The largest UDP packet, as in Consul.
const MAX_PACKET_BYTES: usize = 1400;
/// How long the name of a dead member stays reserved for its address: zero would mean for ever.
const DEAD_NAME_TTL: Duration = Duration::from_millis(1);
/// The largest query or answer. Queries carry user events, which Consul limits to 512 bytes, with
/// their envelope.
pub(super) const MAX_QUERY_BYTES: usize = 1024;
/// Received messages that may wait to be handled.
const MAX_HANDOFF_QUEUE: usize = 1024;
/// Broadcasts that may wait to be sent, even in a small pool, before the oldest are dropped.
const MIN_BROADCAST_QUEUE: usize = 4096;
/// Random ports that are tried before port 0 is given up.
const MAX_BIND_ATTEMPTS: usize = 16;

pub(super) fn transport(settings: &Settings, address: SocketAddr) -> TransportOptions {
    TransportOptions::new(settings.name.as_str().into())
        .with_bind_addresses([settings.bind].into_iter().collect())
        .maybe_advertise_address(Some(address))
        .with_max_packet_size(MAX_PACKET_BYTES)
}

pub(super) fn delegate(local: Arc<LocalMember>) -> Delegate {
    CompositeDelegate::new().with_merge_delegate(Gate(local))
}

/// Returns fresh options: a clone would share its tags with the original.
pub(super) fn options(settings: &Settings, tags: &BTreeMap<String, String>) -> Options {
    let timing = &settings.timing;
    Options::new()
        .with_tags(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        .with_memberlist_options(memberlist_options(settings))
        .with_broadcast_timeout(timing.leave_broadcast)
        .with_leave_propagate_delay(timing.leave_propagate)
        .with_reap_interval(timing.reap_interval)
        .with_reconnect_interval(timing.reconnect_interval)
        .with_reconnect_timeout(timing.reconnect_timeout)
        .with_tombstone_timeout(timing.tombstone_timeout)
        .with_query_size_limit(MAX_QUERY_BYTES)
        .with_query_response_size_limit(MAX_QUERY_BYTES)
        .with_min_queue_depth(MIN_BROADCAST_QUEUE)
        // Names are decided in `gate`: the engine's vote would make a lone pair both give up.
        .with_enable_id_conflict_resolution(false)
}

fn memberlist_options(settings: &Settings) -> MemberlistOptions {
    let timing = &settings.timing;
    let options = MemberlistOptions::lan()
        .with_timeout(timing.connect_timeout)
        .with_probe_interval(timing.probe_interval)
        .with_probe_timeout(timing.probe_timeout)
        .with_suspicion_mult(timing.suspicion_mult)
        .with_suspicion_max_timeout_mult(6)
        .with_awareness_max_multiplier(8)
        .with_indirect_checks(3)
        .with_disable_reliable_pings(false)
        .with_gossip_interval(timing.gossip_interval)
        .with_gossip_nodes(timing.gossip_nodes)
        .with_gossip_to_the_dead_time(timing.gossip_to_the_dead)
        .with_retransmit_mult(timing.retransmit_mult)
        .with_push_pull_interval(timing.push_pull_interval)
        .with_handoff_queue_depth(MAX_HANDOFF_QUEUE)
        .with_dead_node_reclaim_time(DEAD_NAME_TTL);
    let Some(keyring) = &settings.keyring else { return options };
    let (primary, others) = keyring.secrets();
    options
        .with_primary_key(primary)
        .with_secret_keys(others.into_iter().collect::<SecretKeys>())
        .with_encryption_algo(EncryptionAlgorithm::NoPadding)
        .with_gossip_verify_outgoing(settings.verify_outgoing)
        .with_gossip_verify_incoming(settings.verify_incoming)
}

/// Returns the tags in the engine's form, or the encoded size in bytes when it is too large.
pub(super) fn encode_tags(tags: &BTreeMap<String, String>) -> Result<Tags, usize> {
    let tags: Tags = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    // The engine counts the length prefix twice; so does this.
    let size = tags.encoded_len_with_length_delimited() + 3;
    if size > Meta::MAX_SIZE { Err(size) } else { Ok(tags) }
}

/// Waits until the engine has closed its sockets, at most [`SHUTDOWN_TIMEOUT`].
pub(super) async fn stop(engine: &Engine) {
    match timeout(SHUTDOWN_TIMEOUT, engine.shutdown()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "stopping gossip"),
        Err(_) => tracing::debug!("gossip did not stop in time"),
    }
}

/// Returns a free address of the wanted form. An address in use is detected here, where the error
/// can name it.
pub(super) fn free_address(wanted: SocketAddr) -> Result<SocketAddr, StartError> {
    let attempts = if wanted.port() == 0 { MAX_BIND_ATTEMPTS } else { 1 };
    let mut refused = None;
    for _ in 0..attempts {
        let bound = TcpListener::bind(wanted).and_then(|listener| {
            let address = listener.local_addr()?;
            UdpSocket::bind(address).map(|_| address)
        });
        match bound {
            Ok(address) => return Ok(address),
            Err(source) => refused = Some(source),
        }
    }
    let source = refused.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
    Err(StartError::Listen { address: wanted, source })
}
