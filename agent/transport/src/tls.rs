//! TLS between agents: server RPC, and what it shares with the agent's other ports.
//!
//! rustls does the work; what is ours is whose certificates count. INVARIANT: who the other side is
//! follows from a certificate that chains to the configured authorities and from its names alone
//! ([`Role`]); a client's certificate never passes as a server's (CVE-2021-37219). Settings are
//! loaded whole before any of them is swapped, so that a bad file changes nothing, and open
//! connections keep what they began with.
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

pub use internal_rpc::{Files as RpcFiles, InternalRpc, is_tls};
pub use role::Role;

/// TLS settings that can be swapped; `None` refuses every handshake.
pub type TlsConfig = Arc<ArcSwapOption<rustls::ServerConfig>>;

/// Why TLS cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("reading {what} {}", path.display())]
    File {
        /// What it should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: rustls_pki_types::pem::Error,
    },
    /// A directory of authorities.
    #[error("reading certificate authorities in {}", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Certificate and key do not fit, or are of an unknown kind.
    #[error("using certificate {}", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// Somebody's certificate is to be verified, and nobody is trusted.
    #[error(
        "tls.{protocol}.{key} needs tls.{protocol}.ca_file or ca_path with at least one certificate"
    )]
    NoAuthorities {
        /// `https`, `internal_rpc`, `grpc`.
        protocol: &'static str,
        /// What asks for it.
        key: &'static str,
    },
    /// `verify_incoming` asks all agents for certificates and this one has none to show.
    #[error(
        "tls.internal_rpc.verify_incoming needs tls.internal_rpc.cert_file and key_file, or, on \
         a client, auto_encrypt.tls"
    )]
    NoCertificate,
    /// The TLS library refused settings that come from no file.
    #[error("setting up TLS")]
    Settings(#[source] rustls::Error),
}
