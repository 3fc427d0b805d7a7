//! TLS of the agent's own ports and of its connections to servers.

use std::path::PathBuf;

/// TLS of every protocol, with defaults and older spellings already applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether HTTPS serves a certificate of the mesh's authority when no file is given.
    /// `key: tls.auto`
    pub auto: bool,
    /// Extra names in that certificate. `key: tls.auto_names`
    pub auto_names: Vec<String>,
    /// Server RPC, both directions. `key: tls.internal_rpc`
    pub internal_rpc: TlsProtocol,
    /// HTTPS. `key: tls.https`
    pub https: TlsProtocol,
    /// gRPC over TLS. Without files here the mesh's certificate is served: sidecars trust only its
    /// roots, so `tls.defaults` does not apply. `key: tls.grpc`
    pub grpc: TlsProtocol,
    /// Whether a server's certificate must be for `server.<dc>.<domain>`; implies
    /// `internal_rpc.verify_outgoing`.
    /// `key: tls.internal_rpc.verify_server_hostname`
    pub verify_server_hostname: bool,
}

/// TLS of one protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsProtocol {
    /// Certificate chain, PEM. `key: cert_file`
    pub cert_file: Option<PathBuf>,
    /// Private key, PEM. `key: key_file`
    pub key_file: Option<PathBuf>,
    /// Authorities that may sign the peer's certificate, PEM. `key: ca_file`
    pub ca_file: Option<PathBuf>,
    /// Directory of such PEM files, read beside `ca_file`. `key: ca_path`
    pub ca_path: Option<PathBuf>,
    /// Whether client certificates are required. `key: verify_incoming`
    pub verify_incoming: bool,
    /// Whether connections to servers are TLS and verified; server RPC only. `key: verify_outgoing`
    pub verify_outgoing: bool,
    /// Oldest version that is accepted. `key: tls_min_version`
    pub min_version: MinVersion,
}

/// The oldest version of TLS that is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// `TLSv1_2`.
    #[default]
    Tls12,
    /// `TLSv1_3`.
    Tls13,
}
