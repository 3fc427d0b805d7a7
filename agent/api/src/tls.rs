//! What every certificate verifier of ours shares: signatures are rustls's work, with the one
//! provider, and only the question whose certificate it is differs.
//!
//! INVARIANT: no verifier skips signatures. Also one that accepts any certificate proves that the
//! peer holds that certificate's key.

use std::sync::LazyLock;

use rustls::{
    client::danger::{ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
    LazyLock::new(|| aws_lc_rs::default_provider().signature_verification_algorithms);

/// Returns the signature algorithms that are accepted.
pub fn algorithms() -> WebPkiSupportedAlgorithms {
    *ALGORITHMS
}

/// Writes the three methods about signatures of a `ServerCertVerifier` or `ClientCertVerifier`.
/// With `tls13`, for settings that offer TLS 1.3 only, signatures of TLS 1.2 are refused.
#[macro_export]
macro_rules! verify_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &::rustls::pki_types::CertificateDer<'_>,
            signature: &::rustls::DigitallySignedStruct,
        ) -> Result<::rustls::client::danger::HandshakeSignatureValid, ::rustls::Error> {
            let algorithms = $crate::tls::algorithms();
            ::rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
        }

        $crate::verify_signatures!(@tls13);
    };
    (tls13) => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &::rustls::pki_types::CertificateDer<'_>,
            _: &::rustls::DigitallySignedStruct,
        ) -> Result<::rustls::client::danger::HandshakeSignatureValid, ::rustls::Error> {
            Err(::rustls::PeerIncompatible::Tls12NotOfferedOrEnabled.into())
        }

        $crate::verify_signatures!(@tls13);
    };
    (@tls13) => {
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &::rustls::pki_types::CertificateDer<'_>,
            signature: &::rustls::DigitallySignedStruct,
        ) -> Result<::rustls::client::danger::HandshakeSignatureValid, ::rustls::Error> {
            let algorithms = $crate::tls::algorithms();
            ::rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<::rustls::SignatureScheme> {
            $crate::tls::algorithms().supported_schemes()
        }
    };
}

/// Accepts any certificate, for callers that were told not to verify who the server is.
#[derive(Debug)]
pub struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!();
}

#[cfg(test)]
mod tests;
