//! What an agent's certificate says it is. Pure.
//!
//! Only names count that are exactly of the form `server.<datacenter>.<domain>`: no wildcard, no
//! common name, no name with more labels. Whatever is ambiguous is not a server: a certificate that
//! names servers of two datacenters, or a server and a client, is a client's. Certificates of the
//! mesh's authority carry a SPIFFE ID; one of a client agent is a client's, and one of a service is
//! nobody's here. CVE-2021-37219, CVE-2021-32574.

use lictor_api::SpiffeId;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// Who is at the other end of a connection between agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Nobody is asked for a certificate (`verify_incoming` is off): every agent may be a server.
    Open,
    /// A server of a datacenter.
    Server {
        /// Which.
        datacenter: String,
    },
    /// An agent that is no server.
    Client,
    /// Nobody known: it may ask for a certificate (`auto_encrypt`) and for nothing else.
    Unauthenticated,
}

impl Role {
    /// Whether it may act as a server of `datacenter`.
    pub fn is_server_of(&self, datacenter: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Server { datacenter: own } => own == datacenter,
            Self::Client | Self::Unauthenticated => false,
        }
    }

    /// Whether it may ask what any agent may.
    pub fn is_agent(&self) -> bool {
        !matches!(self, Self::Unauthenticated)
    }
}

/// The role that a verified certificate chain gives, its own certificate first.
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

/// Whether a certificate is that of a client agent from the mesh's authority.
pub(super) fn is_mesh_agent(certificate: &CertificateDer<'_>) -> bool {
    let names = Names::read(certificate).unwrap_or(Names { dns: Vec::new(), uris: Vec::new() });
    matches!(&names.uris[..], [uri] if matches!(uri.parse(), Ok(SpiffeId::Agent { .. })))
}

/// Whether a certificate says in so many words that it is not a server's. For the side that calls
/// where `verify_server_hostname` is off: then any name is a server's but these.
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

/// The datacenter in `<kind>.<datacenter>.<domain>`.
fn datacenter_of<'a>(name: &'a str, kind: &str, domain: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(kind)?.strip_prefix('.')?;
    let datacenter = rest.strip_suffix(domain)?.strip_suffix('.')?;
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
    (!datacenter.is_empty() && datacenter.bytes().all(legal)).then_some(datacenter)
}

#[cfg(test)]
mod tests;
