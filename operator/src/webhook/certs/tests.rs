//! Rotation over simulated time, and whether a client trusts the leaf.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio_rustls::TlsConnector;

use super::*;

/// Returns a TLS client that trusts exactly `bundle`.
pub(crate) fn connector(bundle: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn handshake(authorities: &Authorities, bundle: &str, name: &'static str) -> bool {
    let leaf = Arc::new(ServedLeaf::default());
    leaf.set(authorities.leaf(&["hook.lictor.svc".to_owned()]).unwrap());
    let (client, server) = tokio::io::duplex(1 << 16);
    let (acceptor, connector) = (leaf.acceptor(), connector(bundle));
    let connecting = connector.connect(name.try_into().unwrap(), client);
    let (accepted, connected) = tokio::join!(acceptor.accept(server), connecting);
    accepted.is_ok() && connected.is_ok()
}

#[test]
fn the_secret_keeps_the_authority() {
    let authorities = Authorities::generate().unwrap();
    assert!(Authorities::from_data(&authorities.to_data()).unwrap() == authorities);
    assert!(matches!(Authorities::from_data(&BTreeMap::new()), Err(CertsError::Field("ca.crt"))));
}

#[test]
fn a_successor_is_announced_long_before_it_signs() {
    let start = SystemTime::now();
    let at = |days: u32| start + DAY * days;
    let first = Authorities::generate().unwrap();
    assert!(first.rotated(at(300)).unwrap().is_none());
    let announced = first.rotated(at(306)).unwrap().unwrap();
    assert!(announced.current == first.current);
    assert_eq!(announced.bundle().matches("BEGIN CERTIFICATE").count(), 2);
    assert!(announced.rotated(at(312)).unwrap().is_none());
    let promoted = announced.rotated(at(314)).unwrap().unwrap();
    assert!(promoted.next.is_none());
    assert!(announced.bundle().contains(&promoted.current.certificate));
    assert!(promoted.rotated(at(315)).unwrap().is_none());
}

#[tokio::test]
async fn the_leaf_is_trusted_for_its_name_through_the_bundle_only() {
    let authorities = Authorities::generate().unwrap();
    let other = Authorities::generate().unwrap();
    assert!(handshake(&authorities, &authorities.bundle(), "hook.lictor.svc").await);
    assert!(!handshake(&authorities, &authorities.bundle(), "other.lictor.svc").await);
    assert!(!handshake(&authorities, &other.bundle(), "hook.lictor.svc").await);
}
