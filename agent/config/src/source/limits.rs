//! `limits`: bounds on what clients may use.

use lictor_api::GoDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys;

section! {
    /// Bounds on what clients may use.
    LimitsSource {
        /// Most connections to HTTP and HTTPS from one address; the next one gets a 429.
        http_max_conns_per_client: Option<usize> {
            default: "200", bounds: "0, which is no limit, or more", reload: Live, example: "100"
        },
        /// Largest value of a KV key, in bytes; also the largest body of a transaction.
        kv_max_value_size: Option<usize> {
            default: "524288", bounds: "0 to 66060288", reload: Live, example: "65536"
        },
        /// Timeout of the TLS handshake of HTTPS.
        https_handshake_timeout: Option<GoDuration> {
            default: "5s", bounds: "0s, which is no limit, or more", reload: Live,
            example: r#""3s""#
        },
        /// Timeout of the TLS handshake of server RPC.
        rpc_handshake_timeout: Option<GoDuration> {
            default: "5s", bounds: "0s, which is no limit, or more", reload: Restart,
            example: r#""4s""#
        },
        /// Most connections to server RPC from one address.
        rpc_max_conns_per_client: Option<usize> {
            default: "100", bounds: "0, which is no limit, or more", reload: Restart,
            example: "50"
        },
        /// Most requests of the HTTP API per second that a client agent forwards to servers. Its
        /// own registrations, DNS, and what it returns from its cache do not count.
        rpc_rate: Option<f64> {
            default: "-1", bounds: "a negative number is no limit; 0 allows `rpc_max_burst` requests in all",
            reload: Live, example: "250.5"
        },
        /// Burst of `rpc_rate`: requests that may be forwarded at once.
        rpc_max_burst: Option<usize> {
            default: "1000", bounds: "0 or more", reload: Live, example: "500"
        },
        /// Rate limits of servers.
        request_limits: Option<Value> { ignored, example: r#"{"mode":"enforcing"}"# },
        /// Largest body of a transaction; `kv_max_value_size` bounds it instead.
        txn_max_req_len: Option<Value> { ignored, example: "1048576" },
    }
}
