//! `addresses` and `ports`: where each protocol listens.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys;

section! {
    /// Listening addresses of single protocols, in place of `client_addr`; one or more, separated by
    /// blanks.
    Addresses {
        /// Addresses of DNS.
        dns: Option<String> {
            default: "`client_addr`", bounds: "IP addresses", reload: Restart,
            example: r#""127.0.0.2""#
        },
        /// Addresses of HTTP.
        http: Option<String> {
            default: "`client_addr`", bounds: "IP addresses and `unix://` paths", reload: Restart,
            example: r#""127.0.0.3 unix:///run/lictor.sock""#
        },
        /// Addresses of HTTPS.
        https: Option<String> {
            default: "`client_addr`", bounds: "IP addresses", reload: Restart,
            example: r#""127.0.0.4""#
        },
        /// Addresses of gRPC.
        grpc: Option<String> {
            default: "`client_addr`", bounds: "IP addresses", reload: Restart,
            example: r#""127.0.0.5""#
        },
        /// Addresses of gRPC over TLS.
        grpc_tls: Option<String> {
            default: "`client_addr`", bounds: "IP addresses", reload: Restart,
            example: r#""127.0.0.6""#
        },
    }
}

section! {
    /// Ports of protocols. Where a protocol can be turned off, 0 and less does it.
    Ports {
        /// Port of DNS, UDP and TCP.
        dns: Option<i32> {
            default: "8600", bounds: "at most 65535", reload: Restart, example: "53"
        },
        /// Port of HTTP.
        http: Option<i32> {
            default: "8500", bounds: "at most 65535", reload: Restart, example: "80"
        },
        /// Port of HTTPS.
        https: Option<i32> {
            default: "-1", bounds: "at most 65535", reload: Restart, example: "8501"
        },
        /// Port of gRPC.
        grpc: Option<i32> {
            default: "-1; 8502 with `-dev`", bounds: "at most 65535", reload: Restart,
            example: "9502"
        },
        /// Port of gRPC over TLS.
        grpc_tls: Option<i32> {
            default: "8503 on servers, -1 on clients", bounds: "at most 65535", reload: Restart,
            example: "9503"
        },
        /// Port of LAN gossip, UDP and TCP.
        serf_lan: Option<i32> {
            default: "8301", bounds: "1 to 65535", reload: Restart, example: "9301"
        },
        /// Port of WAN gossip; clients are in no WAN pool.
        serf_wan: Option<i32> {
            default: "8302", bounds: "at most 65535", reload: Restart, example: "9302"
        },
        /// Port of server RPC.
        server: Option<i32> {
            default: "8300", bounds: "1 to 65535", reload: Restart, example: "9300"
        },
        /// First port for sidecars that are registered without one; 0 and less leaves them without.
        sidecar_min_port: Option<i32> {
            default: "21000", bounds: "at most `ports.sidecar_max_port`", reload: Live,
            example: "20000"
        },
        /// Last port for such sidecars; 0 and less leaves them without.
        sidecar_max_port: Option<i32> {
            default: "21255", bounds: "at most 65535", reload: Live, example: "22000"
        },
        /// First port of exposed paths.
        expose_min_port: Option<Value> { ignored, example: "21500" },
        /// Last port of exposed paths.
        expose_max_port: Option<Value> { ignored, example: "21755" },
    }
}
