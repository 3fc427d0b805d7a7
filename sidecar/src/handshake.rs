//! What inbound and outbound handshakes share: the buffer of a TLS session, and how a failed
//! handshake is logged and counted. TLS itself knows no result classes.

use std::io;

use rustls::CertificateError;

use crate::{
    outcome::{Class, Outcome},
    tls::verify::Refused,
};

/// Room for what the application writes while records wait for the socket.
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
