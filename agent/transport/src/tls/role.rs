//! The role that an agent's certificate gives it. Pure.
//!
//! INVARIANT: only a name of exactly the form `server.<datacenter>.<domain>` makes a server: no
//! wildcard, no common name, no name with more labels. An ambiguous certificate, which names
//! servers of two datacenters, or a server and a client, is a client's. Certificates of the mesh's
//! authority carry a SPIFFE ID; that of a client agent makes a client, that of a service makes no
//! role here. CVE-2021-37219, CVE-2021-32574.

use lictor_api::SpiffeId;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// Role of the peer on a connection between agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// No certificate is required (`verify_incoming` is off): every agent may act as a server.
    Open,
    /// A server of a datacenter.
    Server {
        /// Name of the datacenter.
        datacenter: String,
    },
    /// An agent that is not a server.
    Client,
    /// A peer without a usable certificate: it may only request one (`auto_encrypt`).
    Unauthenticated,
}

impl Role {
    /// Returns whether the peer may act as a server of `datacenter`.
    pub fn is_server_of(&self, datacenter: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Server { datacenter: own } => own == datacenter,
            Self::Client | Self::Unauthenticated => false,
        }
    }

    /// Returns whether the peer may make the calls of any agent.
    pub fn is_agent(&self) -> bool {
        !matches!(self, Self::Unauthenticated)
    }
}

/// Returns the role of a verified certificate chain; the peer's own certificate comes first.
pub fn of_certificates(chain: &[CertificateDer<'_>], domain: &str) -> Role {
    let Some(names) = chain.first().and_then(Names::read) else { return Role::Unauthenticated };
    match &names.uris[..] {
        [] => {}
        [uri] => {
            return match uri.parse() {
                Ok(SpiffeId::Agent { .. }) => Role::Client,
                _ => Role::Unauthenticated,
            };
        }
        _ => return Role::Unauthenticated,
    }
    let mut datacenters: Vec<&str> =
        names.dns.iter().filter_map(|name| datacenter_of(name, "server", domain)).collect();
    datacenters.dedup();
    match datacenters[..] {
        [datacenter] if !names.has_client(domain) => {
            Role::Server { datacenter: datacenter.to_owned() }
        }
        _ => Role::Client,
    }
}

/// Returns whether a certificate is a client agent's from the mesh's authority.
pub(super) fn is_mesh_agent(certificate: &CertificateDer<'_>) -> bool {
    let names = Names::read(certificate).unwrap_or(Names { dns: Vec::new(), uris: Vec::new() });
    matches!(&names.uris[..], [uri] if matches!(uri.parse(), Ok(SpiffeId::Agent { .. })))
}

/// Returns whether a certificate states that it is not a server's. For the calling side without
/// `verify_server_hostname`, which accepts any other name as a server's.
pub(super) fn is_no_server(certificate: &CertificateDer<'_>, domain: &str) -> bool {
    Names::read(certificate).is_none_or(|names| !names.uris.is_empty() || names.has_client(domain))
}

/// A certificate's alternative names, DNS names in lower case.
struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
}

impl Names {
    fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let extension = parsed.subject_alternative_name().ok()?;
        let names = extension.iter().flat_map(|extension| &extension.value.general_names);
        let (mut dns, mut uris) = (Vec::new(), Vec::new());
        for name in names {
            match name {
                GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        Some(Self { dns, uris })
    }

    fn has_client(&self, domain: &str) -> bool {
        self.dns.iter().any(|name| {
            ["client", "cli"].iter().any(|kind| datacenter_of(name, kind, domain).is_some())
        })
    }
}

/// Returns the datacenter in `<kind>.<datacenter>.<domain>`.
fn datacenter_of<'a>(name: &'a str, kind: &str, domain: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(kind)?.strip_prefix('.')?;
    let datacenter = rest.strip_suffix(domain)?.strip_suffix('.')?;
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
    (!datacenter.is_empty() && datacenter.bytes().all(legal)).then_some(datacenter)
}

#[cfg(test)]
mod tests;
