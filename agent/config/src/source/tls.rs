//! `tls`: one block per protocol over a block of defaults.

use serde::{Deserialize, Serialize};
use serde_json::Value;

section! {
    /// `tls`.
    TlsSource {
        /// Serve with a certificate of the mesh's authority.
        auto: Option<bool>,
        /// Extra DNS names in it.
        auto_names: Vec<String>,
        /// For every protocol.
        defaults: TlsFiles,
        /// For HTTPS.
        https: TlsFiles,
        /// For gRPC.
        grpc: TlsFiles,
        /// For server RPC.
        internal_rpc: TlsFiles,
    }
}

section! {
    /// Certificate files and rules of one protocol.
    TlsFiles {
        /// PEM.
        cert_file: Option<String>,
        /// PEM.
        key_file: Option<String>,
        /// PEM.
        ca_file: Option<String>,
        /// Directory of PEM files.
        ca_path: Option<String>,
        /// Require client certificates.
        verify_incoming: Option<bool>,
        /// Speak TLS and check the other side.
        verify_outgoing: Option<bool>,
        /// Expect `server.<dc>.<domain>`; server RPC only.
        verify_server_hostname: Option<bool>,
        /// `TLSv1_2` or `TLSv1_3`.
        tls_min_version: Option<String>,
        /// Accepted: the suites of TLS 1.2 that are safe are the ones there are.
        tls_cipher_suites: Option<Value>,
        /// Accepted.
        use_auto_cert: Option<Value>,
    }
}
