//! The snapshot codec: a whole [`State`] as bytes, versioned and checksummed.
//!
//! Format: magic `LICTSNAP`, version (u32, big-endian), CRC-32 of the body (u32), length of the
//! body (u64), body (MessagePack with field names). A field added to a stored type reads as its
//! default from older snapshots; anything else needs a new version and a golden of the old one.

use std::sync::Arc;

use lictor_api::{
    CheckId, NodeName, ServiceId,
    types::{
        catalog::{Node, NodeService},
        config_entry::ConfigEntry,
        coordinate::Entry,
        health::HealthCheck,
        kv::KvPair,
        operator::AutopilotConfiguration,
        session::Session,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    Catalog, CertificateAuthority, ConfigEntries, Coordinates, Folded, Kv, Sessions, Staging,
    State,
    catalog::{Indexes, fold},
    kv::LockDelay,
};

const MAGIC: &[u8; 8] = b"LICTSNAP";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;

/// Why bytes are not a snapshot. Nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes do not begin like a snapshot.
    #[error("not a lictor snapshot")]
    Magic,
    /// A newer version wrote the snapshot; only that version or a newer one can read it.
    #[error("snapshot format {found} is newer than {VERSION}, the newest this version reads")]
    Version {
        /// The format found.
        found: u32,
    },
    /// The snapshot is cut short or damaged.
    #[error("snapshot is damaged: its checksum does not match")]
    Checksum,
    /// The body cannot be decoded.
    #[error("decoding snapshot")]
    Decode(#[from] rmp_serde::decode::Error),
    /// The state cannot be encoded.
    #[error("encoding snapshot")]
    Encode(#[from] rmp_serde::encode::Error),
}

#[derive(Serialize, Deserialize)]
struct Body {
    index: u64,
    nodes: Vec<Arc<Node>>,
    services: Vec<(Folded<NodeName>, Arc<NodeService>)>,
    checks: Vec<Arc<HealthCheck>>,
    catalog_indexes: Indexes,
    kv: Vec<Arc<KvPair>>,
    kv_index: u64,
    graveyard: Vec<(Arc<str>, u64)>,
    graveyard_floor: u64,
    config_entries: Vec<Arc<ConfigEntry>>,
    config_indexes: Vec<(Arc<str>, u64)>,
    ca: Option<Arc<CertificateAuthority>>,
    #[serde(default)]
    sessions: Vec<Arc<Session>>,
    #[serde(default)]
    sessions_index: u64,
    #[serde(default)]
    lock_delays: Vec<(Arc<str>, LockDelay)>,
    #[serde(default)]
    autopilot: Option<Arc<AutopilotConfiguration>>,
    #[serde(default)]
    index_offset: u64,
    #[serde(default)]
    index_floor: u64,
    #[serde(default)]
    staging: Option<Staging>,
    #[serde(default)]
    coordinates: Vec<(Folded<NodeName>, Arc<Entry>)>,
    #[serde(default)]
    coordinate_index: u64,
}

impl State {
    /// Returns the state as bytes.
    ///
    /// # Errors
    /// [`SnapshotError::Encode`], which no valid state causes.
    pub fn to_snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        let body = Body {
            index: self.index,
            nodes: self.catalog.nodes.values().cloned().collect(),
            services: self
                .catalog
                .services
                .iter()
                .map(|((node, _), service)| (node.clone(), service.clone()))
                .collect(),
            checks: self.catalog.checks.values().cloned().collect(),
            catalog_indexes: self.catalog.indexes.clone(),
            kv: self.kv.pairs.values().cloned().collect(),
            kv_index: self.kv.index,
            graveyard: self.kv.graveyard.iter().map(|(key, index)| (key.clone(), *index)).collect(),
            graveyard_floor: self.kv.graveyard_floor,
            config_entries: self.config_entries.entries.values().cloned().collect(),
            config_indexes: self
                .config_entries
                .indexes
                .iter()
                .map(|(kind, index)| (kind.clone(), *index))
                .collect(),
            ca: self.ca.clone(),
            sessions: self.sessions.rows.values().cloned().collect(),
            sessions_index: self.sessions.index,
            lock_delays: self.kv.delays.iter().map(|(key, delay)| (key.clone(), *delay)).collect(),
            autopilot: self.autopilot.clone(),
            index_offset: self.index_offset,
            index_floor: self.index_floor,
            staging: self.staging.clone(),
            coordinates: self
                .coordinates
                .entries
                .iter()
                .map(|(node, entry)| (node.clone(), entry.clone()))
                .collect(),
            coordinate_index: self.coordinates.index,
        };
        // The body is large: it is encoded where it stays, behind a header filled in afterwards.
        let mut bytes = vec![0; HEADER_BYTES];
        rmp_serde::encode::write_named(&mut bytes, &body)?;
        let (header, body) = bytes.split_at_mut(HEADER_BYTES);
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_be_bytes());
        header[12..16].copy_from_slice(&crc32fast::hash(body).to_be_bytes());
        header[16..].copy_from_slice(&(body.len() as u64).to_be_bytes());
        Ok(bytes)
    }

    /// Reads the state in `bytes`, every byte of which is checked.
    ///
    /// # Errors
    /// [`SnapshotError`] says what is wrong with them.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(SnapshotError::Magic)?;
        if magic != MAGIC {
            return Err(SnapshotError::Magic);
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(SnapshotError::Checksum)?;
        let found = u32::from_be_bytes(*version);
        if found > VERSION {
            return Err(SnapshotError::Version { found });
        }
        let (checksum, rest) = rest.split_first_chunk::<4>().ok_or(SnapshotError::Checksum)?;
        let (length, body) = rest.split_first_chunk::<8>().ok_or(SnapshotError::Checksum)?;
        if u64::from_be_bytes(*length) != body.len() as u64
            || u32::from_be_bytes(*checksum) != crc32fast::hash(body)
        {
            return Err(SnapshotError::Checksum);
        }
        Ok(rmp_serde::from_slice::<Body>(body)?.into_state())
    }
}

impl Body {
    fn into_state(self) -> State {
        let mut catalog = Catalog {
            nodes: self.nodes.into_iter().map(|node| (fold(&node.name), node)).collect(),
            services: self
                .services
                .into_iter()
                .map(|(node, service)| ((node, ServiceId::clone(&service.id)), service))
                .collect(),
            checks: self
                .checks
                .into_iter()
                .map(|check| ((fold(&check.node), CheckId::clone(&check.check_id)), check))
                .collect(),
            indexes: self.catalog_indexes,
            ..Catalog::default()
        };
        catalog.reindex();
        let mut kv = Kv {
            pairs: self.kv.into_iter().map(|pair| (Arc::from(pair.key.as_str()), pair)).collect(),
            graveyard: self.graveyard.into_iter().collect(),
            graveyard_floor: self.graveyard_floor,
            index: self.kv_index,
            delays: self.lock_delays.into_iter().collect(),
            ..Kv::default()
        };
        kv.reindex();
        let mut sessions = Sessions {
            rows: self
                .sessions
                .into_iter()
                .map(|session| (Arc::from(session.id.as_str()), session))
                .collect(),
            index: self.sessions_index,
            ..Sessions::default()
        };
        sessions.reindex();
        State {
            index: self.index,
            catalog,
            kv,
            config_entries: ConfigEntries {
                entries: self
                    .config_entries
                    .into_iter()
                    .map(|entry| ((Arc::from(entry.kind()), Arc::from(entry.name())), entry))
                    .collect(),
                indexes: self.config_indexes.into_iter().collect(),
            },
            ca: self.ca,
            sessions,
            autopilot: self.autopilot,
            index_offset: self.index_offset,
            index_floor: self.index_floor,
            staging: self.staging,
            coordinates: Coordinates {
                entries: self.coordinates.into_iter().collect(),
                index: self.coordinate_index,
            },
        }
    }
}

/// Returns every table of a snapshot, for goldens of old formats.
#[cfg(test)]
pub(crate) fn rendering(bytes: &[u8]) -> serde_json::Value {
    let body: Body = rmp_serde::from_slice(&bytes[HEADER_BYTES..]).unwrap();
    serde_json::to_value(body).unwrap()
}
