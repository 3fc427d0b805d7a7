//! The verifiers of server RPC: chains by rustls, names by [`super::role`].

use std::sync::Arc;

use lictor_api::{tls::algorithms, verify_signatures};
use rustls::{
    CertificateError, DistinguishedName, RootCertStore,
    client::{
        danger::{ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    material::provider,
    role::{self, Role},
};

/// Accepts servers: of the expected name where names are checked, else everyone but clients.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) roots: RootCertStore,
    pub(super) domain: String,
    pub(super) check_name: bool,
}

/// Accepts agents: with a certificate of the operator's authorities, or of a client agent from the
/// mesh's.
#[derive(Debug)]
pub(super) struct Agents {
    operator: Arc<dyn ClientCertVerifier>,
    mesh: Option<Arc<dyn ClientCertVerifier>>,
    /// Whether an agent without a certificate may connect, to ask for one.
    optional: bool,
}

impl Agents {
    pub(super) fn new(
        operator: Arc<RootCertStore>,
        mesh: RootCertStore,
        optional: bool,
    ) -> Result<Self, rustls::Error> {
        let verifier = |roots: Arc<RootCertStore>| {
            let built = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            built.map_err(|error| rustls::Error::General(error.to_string()))
        };
        let mesh = match mesh.is_empty() {
            true => None,
            false => Some(verifier(Arc::new(mesh))?),
        };
        Ok(Self { operator: verifier(operator)?, mesh, optional })
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let all = algorithms().all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, all)?;
        let is_expected = if self.check_name {
            match role::of_certificates(std::slice::from_ref(end_entity), &self.domain) {
                Role::Server { datacenter } => {
                    *server_name.to_str()
                        == *lictor_api::contract::server_name(&datacenter, &self.domain)
                }
                _ => false,
            }
        } else {
            !role::is_no_server(end_entity, &self.domain)
        };
        if !is_expected {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!();
}

impl ClientCertVerifier for Agents {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let refused = match self.operator.verify_client_cert(end_entity, intermediates, now) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        // The mesh's authority signs services too, and they are no agents.
        match &self.mesh {
            Some(mesh) if role::is_mesh_agent(end_entity) => {
                mesh.verify_client_cert(end_entity, intermediates, now)
            }
            _ => Err(refused),
        }
    }

    verify_signatures!();
}
