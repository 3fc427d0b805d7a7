//! `dns_config`: how DNS answers.

use std::collections::BTreeMap;

use lictor_api::GoDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys;

section! {
    /// How DNS answers.
    DnsConfig {
        /// TTL of answers about nodes.
        node_ttl: Option<GoDuration> {
            default: "0s", bounds: "0s or more, in whole seconds", reload: Live,
            example: r#""30s""#
        },
        /// TTL of answers about services, by name, by `prefix*`, or for all by `*`; the longest
        /// match counts.
        service_ttl: BTreeMap<String, GoDuration> {
            default: "0s for all", bounds: "0s or more, in whole seconds", reload: Live,
            example: r#"{"web":"10s","*":"5s"}"#
        },
        /// Leaves out instances whose checks warn, too.
        only_passing: Option<bool> {
            default: "false", bounds: "none", reload: Live, example: "true"
        },
        /// Marks answers that were trimmed to `udp_answer_limit` as truncated.
        enable_truncate: Option<bool> {
            default: "false", bounds: "none", reload: Live, example: "true"
        },
        /// Instances in an answer over UDP to a client without EDNS.
        udp_answer_limit: Option<usize> {
            default: "3", bounds: "0 or more", reload: Live, example: "5"
        },
        /// A and AAAA records in an answer.
        a_record_limit: Option<usize> {
            default: "0, which is no limit", bounds: "0 or more", reload: Live, example: "8"
        },
        /// Writes names in full in every answer.
        disable_compression: Option<bool> {
            default: "false", bounds: "none", reload: Live, example: "true"
        },
        /// Adds the node's meta as TXT records to answers about nodes.
        enable_additional_node_meta_txt: Option<bool> {
            default: "true", bounds: "none", reload: Live, example: "false"
        },
        /// Fields of SOA records.
        soa: SoaSource { block },
        /// How long one recursor is waited for before the next is asked.
        recursor_timeout: Option<GoDuration> {
            default: "2s", bounds: "0s or more", reload: Live, example: r#""1s""#
        },
        /// Order in which recursors are asked.
        recursor_strategy: Option<String> {
            default: "sequential", bounds: "`sequential` or `random`", reload: Live,
            example: r#""random""#
        },
        /// Whether servers that do not lead may answer. They do, from their own copy of the state.
        allow_stale: Option<Value> { ignored, example: "true" },
        /// Bound on how old such an answer may be.
        max_stale: Option<Value> { ignored, example: r#""10s""# },
        /// Whether a client agent may answer from its cache. It does, from what it follows.
        use_cache: Option<Value> { ignored, example: "true" },
        /// Bound on how old a cached answer may be.
        cache_max_age: Option<Value> { ignored, example: r#""10s""# },
        /// Reading of names with two labels, a feature of Consul Enterprise.
        prefer_namespace: Option<Value> { ignored, example: "true" },
    }
}

section! {
    /// Fields of SOA records, in seconds.
    SoaSource {
        /// How often secondary servers refresh.
        refresh: Option<u32> {
            default: "3600", bounds: "0 to 4294967295", reload: Live, example: "1800"
        },
        /// How soon they retry a failed refresh.
        retry: Option<u32> {
            default: "600", bounds: "0 to 4294967295", reload: Live, example: "300"
        },
        /// When they give up.
        expire: Option<u32> {
            default: "86400", bounds: "0 to 4294967295", reload: Live, example: "43200"
        },
        /// How long resolvers may cache that a name does not exist.
        min_ttl: Option<u32> {
            default: "0", bounds: "0 to 4294967295", reload: Live, example: "2"
        },
    }
}
