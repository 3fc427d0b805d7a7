//! TLS between sidecars: certificates held in memory, TLS 1.3 only, identities by SPIFFE.

pub(crate) mod certs;
pub(crate) mod material;
pub(crate) mod verify;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The one crypto provider: aws-lc-rs, whose AES-GCM uses the CPU's vector units.
///
/// AES-128 comes first because it is the cheaper of equals for these short-lived keys; X25519 is
/// offered alone with P-256, since a post-quantum share would double the handshake's size and add
/// to its time on every connection between two sidecars.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
                aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
                aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1],
            ..aws_lc_rs::default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}
