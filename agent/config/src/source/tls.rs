//! `tls`: one block per protocol over a block of defaults.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys;

section! {
    /// TLS of server RPC, HTTPS and gRPC. A protocol's own block counts before `defaults`, except
    /// for gRPC: sidecars know only the mesh's authority, which is used where `tls.grpc` gives no
    /// certificate.
    TlsSource {
        /// Serves HTTPS with a certificate of the mesh's authority when no file is given.
        auto: Option<bool> { default: "false", bounds: "none", reload: Restart, example: "true" },
        /// Extra DNS names and addresses in that certificate.
        auto_names: Vec<String> {
            default: "none", bounds: "none", reload: Restart, example: r#"["server.example"]"#
        },
        /// For server RPC and HTTPS.
        defaults: TlsFiles { block },
        /// For HTTPS.
        https: TlsFiles { block },
        /// For gRPC.
        grpc: TlsFiles { block },
        /// For server RPC, in both directions.
        internal_rpc: TlsFiles { block },
    }
}

section! {
    /// Certificate files and rules of one protocol. A reload reads the files again, also under the
    /// same names.
    TlsFiles {
        /// Certificate chain, PEM. For HTTPS with `tls.auto` and for gRPC a reload can only replace it:
        /// giving it first, or leaving it out, needs a restart.
        cert_file: Option<String> {
            default: "none", bounds: "given together with `key_file`", reload: Live,
            example: r#""/tls/cert.pem""#
        },
        /// Private key of the certificate, PEM.
        key_file: Option<String> {
            default: "none", bounds: "given together with `cert_file`", reload: Live,
            example: r#""/tls/key.pem""#
        },
        /// Authorities that may sign the other side's certificates, PEM.
        ca_file: Option<String> {
            default: "none", bounds: "none", reload: Live, example: r#""/tls/ca.pem""#
        },
        /// Directory of such PEM files, read beside `ca_file`.
        ca_path: Option<String> {
            default: "none", bounds: "none", reload: Live, example: r#""/tls/ca""#
        },
        /// Requires client certificates.
        verify_incoming: Option<bool> {
            default: "false", bounds: "none", reload: Live, example: "true"
        },
        /// Speaks TLS to servers and verifies them; server RPC only.
        verify_outgoing: Option<bool> {
            default: "false; true with `verify_server_hostname` or `auto_encrypt.tls`",
            bounds: "none", reload: Live, example: "true"
        },
        /// Requires that a server's certificate is for `server.<datacenter>.<domain>`; server RPC
        /// only.
        verify_server_hostname: Option<bool> {
            default: "false; true with `auto_encrypt.tls`", bounds: "none", reload: Live,
            example: "true"
        },
        /// Oldest version of TLS that is spoken.
        tls_min_version: Option<String> {
            default: "TLSv1_2", bounds: "`TLS_AUTO`, `TLSv1_2` or `TLSv1_3`", reload: Live,
            example: r#""TLSv1_3""#
        },
        /// Cipher suites of TLS 1.2. Only safe ones are offered.
        tls_cipher_suites: Option<Value> { ignored, example: r#""TLS_X""# },
        /// Uses the certificate of `auto_encrypt` for gRPC.
        use_auto_cert: Option<Value> { ignored, example: "true" },
    }
}
