//! Key/value pairs (Consul "KV Store HTTP API").

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::is_default;

/// The largest value that is accepted, in bytes (`limits.kv_max_value_size`).
pub const MAX_VALUE_BYTES: usize = 512 * 1024;

/// One key with its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KvPair {
    /// How often the key's lock was acquired.
    pub lock_index: u64,
    /// The key; any text, case matters.
    pub key: String,
    /// A number that clients give a meaning to.
    pub flags: u64,
    /// The value; base64 in JSON, `null` when empty, raw bytes in log entries.
    #[serde(with = "value")]
    pub value: Bytes,
    /// The session that holds the key's lock.
    #[serde(skip_serializing_if = "is_default")]
    pub session: String,
    /// Raft index of the key's creation.
    pub create_index: u64,
    /// Raft index of the last change; the `cas` parameter compares with it.
    pub modify_index: u64,
}

/// Base64 (or `null`) for people, raw bytes for the log.
pub(super) mod value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::types) fn serialize<S: Serializer>(
        value: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(value);
        }
        if value.is_empty() {
            return serializer.serialize_none();
        }
        STANDARD.encode(value).serialize(serializer)
    }

    pub(in crate::types) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        if !deserializer.is_human_readable() {
            return Bytes::deserialize(deserializer);
        }
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_base64_and_null_as_consul_prints_them() {
        let pair = KvPair {
            key: "hello".into(),
            value: Bytes::from_static(b"World"),
            ..KvPair::default()
        };
        assert_eq!(
            serde_json::to_string(&pair).unwrap(),
            r#"{"LockIndex":0,"Key":"hello","Flags":0,"Value":"V29ybGQ=","CreateIndex":0,"ModifyIndex":0}"#
        );
        let empty = KvPair::default();
        assert!(serde_json::to_string(&empty).unwrap().contains(r#""Value":null"#));
        assert_eq!(
            serde_json::from_str::<KvPair>(&serde_json::to_string(&pair).unwrap()).unwrap(),
            pair
        );
    }
}
