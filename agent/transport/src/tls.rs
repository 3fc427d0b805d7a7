//! TLS between agents: server RPC, and what it shares with the agent's other ports.
//!
//! rustls does the handshake; which certificates are accepted is decided here. INVARIANT: the
//! peer's role follows from a certificate that chains to the configured authorities and its names
//! alone ([`Role`]); a client's certificate never passes as a server's (CVE-2021-37219). Settings
//! are loaded whole before any of them is swapped, so that a bad file changes nothing, and open
//! connections keep their settings.
//!
//! Consul pages: "TLS configuration", "Auto-encrypt". Sessions are not resumed: a resumed session
//! would skip the check of a certificate against authorities that may have changed.

pub mod auto_encrypt;
pub mod internal_rpc;
pub mod material;
pub mod role;
#[cfg(test)]
pub(crate) mod testing;
mod verify;

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwapOption;

pub use internal_rpc::{Files as RpcFiles, InternalRpc, Staged as StagedRpc, is_tls};
pub use role::Role;

/// TLS settings that can be swapped; `None` refuses every handshake.
pub type TlsConfig = Arc<ArcSwapOption<rustls::ServerConfig>>;

/// Why TLS cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("reading {what} {}", path.display())]
    File {
        /// Purpose of the file.
        what: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the reader.
        source: rustls_pki_types::pem::Error,
    },
    /// A directory of authorities cannot be read.
    #[error("reading certificate authorities in {}", path.display())]
    Directory {
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the reader.
        source: std::io::Error,
    },
    /// Certificate and key do not match, or are of an unknown kind.
    #[error("using certificate {}", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Error of the reader.
        source: rustls::Error,
    },
    /// Certificates are to be verified, and no authority is configured.
    #[error(
        "tls.{protocol}.{key} needs tls.{protocol}.ca_file or ca_path with at least one certificate"
    )]
    NoAuthorities {
        /// `https`, `internal_rpc`, `grpc`.
        protocol: &'static str,
        /// Configuration key that requires it.
        key: &'static str,
    },
    /// `verify_incoming` requires a certificate of every agent and this one has none.
    #[error(
        "tls.internal_rpc.verify_incoming needs tls.internal_rpc.cert_file and key_file, or, on \
         a client, auto_encrypt.tls"
    )]
    NoCertificate,
    /// The TLS library refused settings that come from no file.
    #[error("setting up TLS")]
    Settings(#[source] rustls::Error),
}
