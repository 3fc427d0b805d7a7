//! Shared by inbound and outbound handshakes: the buffer size of a TLS session, and the result
//! class of a failed handshake. The `tls` module is independent of result classes.

use std::io;

use rustls::CertificateError;

use crate::{
    outcome::{Class, Outcome},
    tls::verify::Refused,
};

/// Most application bytes that a TLS session buffers while the socket is not writable.
pub(crate) const TLS_BUFFER_BYTES: usize = 512 * 1024;

/// Classifies a failed handshake: `IdentityRefused` with the verifier's reason if the peer's
/// certificate is not acceptable, else `HandshakeFailed`.
pub(crate) fn failure(error: &io::Error) -> Outcome {
    use rustls::Error as Tls;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) {
        Some(Tls::InvalidCertificate(CertificateError::Other(other))) => {
            match other.0.downcast_ref::<Refused>() {
                Some(refused) => Outcome::because(Class::IdentityRefused, refused),
                None => Outcome::because(Class::IdentityRefused, error),
            }
        }
        Some(Tls::InvalidCertificate(_) | Tls::NoCertificatesPresented) => {
            Outcome::because(Class::IdentityRefused, error)
        }
        _ => Outcome::because(Class::HandshakeFailed, error),
    }
}
