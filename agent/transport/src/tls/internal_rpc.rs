//! TLS of server RPC: one object for both directions, swapped as a whole.
//!
//! A server that has a certificate accepts TLS; unless `verify_incoming` is set it also accepts
//! plain text on the same port, distinguished by the first byte ([`is_tls`]), so that a cluster can
//! be moved to TLS agent by agent. INVARIANT: with `verify_outgoing` an agent connects to servers
//! with TLS only (CVE-2018-19653), with `verify_server_hostname` only to a certificate with the
//! server's name (CVE-2019-9764).

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use lictor_api::contract::server_name;
use lictor_config::{RuntimeConfig, runtime::TlsProtocol};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, client::Resumption, server::NoServerSessionStorage,
};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

use super::{
    TlsError,
    material::{self, Identity, provider, versions},
    role::{self, Role},
    verify::{Agents, Servers},
};

/// First byte of every TLS connection: a record with a handshake message. HTTP/2 begins with `P`.
const TLS_HANDSHAKE: u8 = 0x16;

/// TLS of server RPC; see the module's header. The default is plain text in both directions.
#[derive(Default)]
pub struct InternalRpc {
    current: ArcSwap<Current>,
    parts: Mutex<Parts>,
}

/// Settings that new connections use.
#[derive(Default)]
struct Current {
    domain: String,
    verify_incoming: bool,
    hands_out: bool,
    awaits_certificate: bool,
    acceptor: Option<Arc<ServerConfig>>,
    connector: Option<Arc<ClientConfig>>,
    /// The connector without a client certificate; on agents that request one.
    unknown: Option<Arc<ClientConfig>>,
}

/// Inputs of [`Current`]; files, mesh and issued certificate change independently.
#[derive(Default)]
struct Parts {
    files: Files,
    mesh: Vec<CertificateDer<'static>>,
    issued: Option<Identity>,
}

/// The files that the configuration names, loaded.
#[derive(Clone)]
pub struct Files {
    settings: TlsProtocol,
    check_name: bool,
    domain: String,
    server: bool,
    /// True if agents without a certificate may connect to request one.
    hands_out: bool,
    /// True if this agent requests its certificate from the servers.
    asks: bool,
    authorities: Arc<RootCertStore>,
    identity: Option<Identity>,
}

// === impl InternalRpc ===

impl InternalRpc {
    /// Loads the files that the configuration names.
    ///
    /// # Errors
    /// [`TlsError`] names the key or the file.
    pub fn load(config: &RuntimeConfig) -> Result<Self, TlsError> {
        let rpc = Self::default();
        rpc.stage(Files::load(config)?)?.commit();
        Ok(rpc)
    }

    /// Returns the settings for accepting TLS; `None` accepts plain text only.
    pub fn acceptor(&self) -> Option<Arc<ServerConfig>> {
        self.current.load().acceptor.clone()
    }

    /// Returns whether plain text is accepted beside TLS.
    pub fn accepts_plain_text(&self) -> bool {
        !self.current.load().verify_incoming
    }

    /// Returns the settings for connecting to a server of `datacenter`, and its name; `None` stands
    /// for plain text.
    pub fn connector(&self, datacenter: &str) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let current = self.current.load();
        Some((current.connector.clone()?, current.server_name(datacenter)))
    }

    /// Returns the same settings without a client certificate, to request one
    /// (`auto_encrypt.tls`); `None` on agents that request none.
    pub fn anonymous_connector(
        &self,
        datacenter: &str,
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let current = self.current.load();
        Some((current.unknown.clone()?, current.server_name(datacenter)))
    }

    /// Returns whether this agent still waits for the certificate that servers require.
    pub fn awaits_certificate(&self) -> bool {
        self.current.load().awaits_certificate
    }

    /// Returns whether agents without a certificate may connect to request one
    /// (`auto_encrypt.allow_tls`).
    pub fn hands_out(&self) -> bool {
        self.current.load().hands_out
    }

    /// Returns the role of the peer of an accepted connection from the certificates it presented.
    pub fn role(&self, certificates: &[CertificateDer<'_>]) -> Role {
        let current = self.current.load();
        if !current.verify_incoming {
            return Role::Open;
        }
        role::of_certificates(certificates, &current.domain)
    }

    /// Prepares loaded files, which are in force after [`Staged::commit`]. Until then no other
    /// change is made. Open connections go on as they are.
    ///
    /// # Errors
    /// [`TlsError`]; nothing is changed.
    pub fn stage(&self, files: Files) -> Result<Staged<'_>, TlsError> {
        self.prepare(|parts| parts.files = files)
    }

    /// Trusts the client agents of the mesh's authority (`auto_encrypt.allow_tls`).
    ///
    /// # Errors
    /// [`TlsError`]; nothing is changed.
    pub fn trust_mesh(&self, roots: Vec<CertificateDer<'static>>) -> Result<(), TlsError> {
        self.change(|parts| parts.mesh = roots)
    }

    /// Presents this certificate to servers from now on (`auto_encrypt.tls`).
    ///
    /// # Errors
    /// [`TlsError`]; nothing is changed.
    pub fn show(&self, issued: Identity) -> Result<(), TlsError> {
        self.change(|parts| parts.issued = Some(issued))
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) -> Result<(), TlsError> {
        self.prepare(change)?.commit();
        Ok(())
    }

    fn prepare(&self, change: impl FnOnce(&mut Parts)) -> Result<Staged<'_>, TlsError> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Parts {
            files: parts.files.clone(),
            mesh: parts.mesh.clone(),
            issued: parts.issued.clone(),
        };
        change(&mut changed);
        let current = changed.compile()?;
        Ok(Staged { rpc: self, parts, changed, current })
    }
}

/// A change that cannot fail any more; dropped, it is not made.
pub struct Staged<'a> {
    rpc: &'a InternalRpc,
    parts: MutexGuard<'a, Parts>,
    changed: Parts,
    current: Current,
}

impl Staged<'_> {
    /// Puts the change in force.
    pub fn commit(mut self) {
        *self.parts = self.changed;
        self.rpc.current.store(Arc::new(self.current));
    }
}

// === impl Current ===

impl Current {
    fn server_name(&self, datacenter: &str) -> ServerName<'static> {
        let name = server_name(datacenter, &self.domain);
        // A datacenter that cannot be part of a DNS name gets one that no certificate matches.
        ServerName::try_from(name)
            .unwrap_or_else(|_| ServerName::from(std::net::IpAddr::from([0, 0, 0, 0])))
    }
}

// === impl Files ===

impl Default for Files {
    fn default() -> Self {
        Self {
            settings: TlsProtocol::default(),
            check_name: false,
            domain: String::new(),
            server: false,
            hands_out: false,
            asks: false,
            authorities: Arc::new(RootCertStore::empty()),
            identity: None,
        }
    }
}

impl Files {
    /// Reads and verifies the files; nothing is put in force.
    pub fn load(config: &RuntimeConfig) -> Result<Self, TlsError> {
        let settings = &config.tls.internal_rpc;
        let authorities = material::authorities(settings)?;
        let needs = [
            ("verify_incoming", settings.verify_incoming && config.server),
            ("verify_server_hostname", config.tls.verify_server_hostname),
            ("verify_outgoing", settings.verify_outgoing),
        ];
        for (key, set) in needs {
            if set && authorities.is_empty() {
                return Err(TlsError::NoAuthorities { protocol: "internal_rpc", key });
            }
        }
        let identity = material::identity(settings)?;
        if settings.verify_incoming && identity.is_none() && !config.auto_encrypt.tls {
            return Err(TlsError::NoCertificate);
        }
        let files = Self {
            settings: settings.clone(),
            check_name: config.tls.verify_server_hostname,
            domain: config.domain.clone(),
            server: config.server,
            hands_out: config.auto_encrypt.allow_tls,
            asks: config.auto_encrypt.tls,
            authorities: Arc::new(authorities),
            identity,
        };
        // Certificate and key must fit each other before anything is swapped.
        Parts { files: files.clone(), ..Parts::default() }.compile()?;
        Ok(files)
    }

    fn blame(&self, source: rustls::Error) -> TlsError {
        match &self.settings.cert_file {
            Some(path) => TlsError::Certificate { path: path.clone(), source },
            None => TlsError::Settings(source),
        }
    }
}

// === impl Parts ===

impl Parts {
    fn compile(&self) -> Result<Current, TlsError> {
        let files = &self.files;
        let identity = self.issued.as_ref().or(files.identity.as_ref());
        let connector = |identity| {
            let connector = self.connector(identity).map_err(|error| files.blame(error));
            Ok(connector?.map(Arc::new))
        };
        Ok(Current {
            domain: files.domain.clone(),
            verify_incoming: files.server && files.settings.verify_incoming,
            hands_out: files.server && files.hands_out,
            awaits_certificate: files.asks && identity.is_none(),
            acceptor: self.acceptor().map_err(|error| files.blame(error))?.map(Arc::new),
            connector: connector(identity)?,
            unknown: if files.asks { connector(None)? } else { None },
        })
    }

    fn acceptor(&self) -> Result<Option<ServerConfig>, rustls::Error> {
        let files = &self.files;
        let Some(identity) = files.identity.clone().filter(|_| files.server) else {
            return Ok(None);
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(files.settings.min_version))?;
        let builder = if files.settings.verify_incoming {
            let mut mesh = RootCertStore::empty();
            mesh.add_parsable_certificates(self.mesh.iter().cloned());
            let agents = Agents::new(files.authorities.clone(), mesh, files.hands_out)?;
            builder.with_client_cert_verifier(Arc::new(agents))
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(identity.chain, identity.key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Some(config))
    }

    fn connector(
        &self,
        identity: Option<&Identity>,
    ) -> Result<Option<ClientConfig>, rustls::Error> {
        let files = &self.files;
        if !files.settings.verify_outgoing {
            return Ok(None);
        }
        let servers = Servers {
            roots: RootCertStore::clone(&files.authorities),
            domain: files.domain.clone(),
            check_name: files.check_name,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(files.settings.min_version))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers));
        let mut config = match identity.cloned() {
            Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Some(config))
    }
}

/// Returns whether an accepted connection begins with TLS. Waits for its first byte without
/// consuming it; the caller bounds the wait.
///
/// # Errors
/// The connection's, when it breaks.
pub async fn is_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok(read == 1 && first[0] == TLS_HANDSHAKE)
}

#[cfg(test)]
mod tests;
