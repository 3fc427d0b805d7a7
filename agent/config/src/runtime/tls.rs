//! TLS of the agent's own ports and of its connections to servers.

use std::path::PathBuf;

/// TLS of every protocol; each is complete, defaults and older spellings already in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Serve HTTPS with a certificate of the mesh's authority when no file is given. `key: tls.auto`
    pub auto: bool,
    /// Extra DNS names in that certificate. `key: tls.auto_names`
    pub auto_names: Vec<String>,
    /// Server RPC, both directions. `key: tls.internal_rpc`
    pub internal_rpc: TlsProtocol,
    /// HTTPS. `key: tls.https`
    pub https: TlsProtocol,
    /// gRPC over TLS. What is not given here is the mesh's: sidecars know its roots and nothing else,
    /// so `tls.defaults` does not count. `key: tls.grpc`
    pub grpc: TlsProtocol,
    /// A server must be called `server.<dc>.<domain>`; implies `internal_rpc.verify_outgoing`; false.
    /// `key: tls.internal_rpc.verify_server_hostname`
    pub verify_server_hostname: bool,
}

/// TLS of one protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsProtocol {
    /// PEM. `key: cert_file`
    pub cert_file: Option<PathBuf>,
    /// PEM. `key: key_file`
    pub key_file: Option<PathBuf>,
    /// PEM: who may sign the other side's certificates. `key: ca_file`
    pub ca_file: Option<PathBuf>,
    /// Directory of such PEM files, read beside `ca_file`. `key: ca_path`
    pub ca_path: Option<PathBuf>,
    /// Require client certificates; false. `key: verify_incoming`
    pub verify_incoming: bool,
    /// Speak TLS and check the other side; server RPC only; false. `key: verify_outgoing`
    pub verify_outgoing: bool,
    /// Oldest version spoken; TLS 1.2. `key: tls_min_version`
    pub min_version: MinVersion,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// `TLSv1_2`.
    #[default]
    Tls12,
    /// `TLSv1_3`.
    Tls13,
}
