//! Certificates, keys and authorities from files, as rustls takes them.
//!
//! INVARIANT: the one place that chooses the crypto provider and TLS versions.

use std::{fs, path::Path, sync::Arc};

use lictor_config::runtime::{MinVersion, TlsProtocol};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion, crypto::CryptoProvider,
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::TlsError;

/// A certificate, its chain and its key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Reads the certificate and key that are configured for a protocol; `None` without both.
pub fn identity(files: &TlsProtocol) -> Result<Option<Identity>, TlsError> {
    let (Some(certificate), Some(key)) = (&files.cert_file, &files.key_file) else {
        return Ok(None);
    };
    let chain = certificates("certificate", certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
        what: "key",
        path: key.clone(),
        source,
    })?;
    Ok(Some(Identity { chain, key }))
}

/// Reads the authorities that are configured for a protocol; empty when none are.
pub fn authorities(files: &TlsProtocol) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &files.ca_file {
        roots.add_parsable_certificates(certificates("certificate authorities", file)?);
    }
    if let Some(dir) = &files.ca_path {
        let failed = |source| TlsError::Directory { path: dir.clone(), source };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.is_file() {
                roots.add_parsable_certificates(certificates("certificate authorities", &file)?);
            }
        }
    }
    Ok(roots)
}

/// Returns the authorities of the client certificates that a protocol requires; `None` when it
/// requires none.
pub fn client_authorities(
    protocol: &'static str,
    files: &TlsProtocol,
) -> Result<Option<Arc<RootCertStore>>, TlsError> {
    if !files.verify_incoming {
        return Ok(None);
    }
    let roots = authorities(files)?;
    if roots.is_empty() {
        return Err(TlsError::NoAuthorities { protocol, key: "verify_incoming" });
    }
    Ok(Some(Arc::new(roots)))
}

/// Returns the TLS settings of an HTTP listener, which offers HTTP/2 and HTTP/1.1.
pub fn http_server(
    identity: Identity,
    clients: Option<Arc<RootCertStore>>,
    oldest: MinVersion,
) -> Result<ServerConfig, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions(oldest))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?,
        ),
    };
    let mut config = builder.with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub fn versions(oldest: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] =
        [&rustls::version::TLS13, &rustls::version::TLS12];
    match oldest {
        MinVersion::Tls12 => &BOTH,
        MinVersion::Tls13 => &BOTH[..1],
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what, path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}
