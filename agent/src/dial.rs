//! Outgoing connections of checks: names, TCP, TLS; errors in the words of Go's net package, which
//! Consul's users know from check outputs.
//!
//! Names are looked up with [`resolve`].

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use lictor_api::{
    error::chain,
    resolve::{self, LookupError},
    tls::AnyServer,
    types::agent::CheckDefinition,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::ServerName,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// TLS settings, made when they are first needed.
#[derive(Default)]
pub(crate) struct Dialer {
    verifying: OnceLock<Arc<ClientConfig>>,
    trusting: OnceLock<Arc<ClientConfig>>,
}

impl Dialer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The addresses of `host:port`. Never empty.
    ///
    /// # Errors
    /// Go's text.
    pub(crate) async fn resolve(
        &self,
        network: &str,
        address: &str,
    ) -> Result<Vec<SocketAddr>, String> {
        let failed = |reason: &str| format!("dial {network}: {reason}");
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| failed(&format!("address {address}: missing port in address")))?;
        let port: u16 =
            port.parse().map_err(|_| failed(&format!("lookup {network}/{port}: unknown port")))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let addresses = lookup(host).await.map_err(|reason| failed(&reason))?;
        Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// Connects to the first address that answers; the error is the first address's.
    ///
    /// # Errors
    /// Go's text.
    pub(crate) async fn connect_tcp(&self, address: &str) -> Result<TcpStream, String> {
        let mut first_error = None;
        for target in self.resolve("tcp", address).await? {
            match TcpStream::connect(target).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    first_error.get_or_insert_with(|| {
                        refusal(&format!("dial tcp {target}: connect: "), &error)
                    });
                }
            }
        }
        Err(first_error.unwrap_or_else(|| format!("dial tcp {address}: no such host")))
    }

    /// Speaks TLS as the check says.
    ///
    /// # Errors
    /// What is wrong with the server's certificate or its TLS.
    pub(crate) async fn start_tls(
        &self,
        stream: TcpStream,
        address: &str,
        definition: &CheckDefinition,
    ) -> Result<TlsStream<TcpStream>, String> {
        let config = if definition.tls_skip_verify {
            self.trusting.get_or_init(trusting)
        } else {
            self.verifying.get_or_init(verifying)
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = match definition.tls_server_name.as_str() {
            "" => host,
            name => name,
        };
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("tls: invalid server name {name:?}"))?;
        TlsConnector::from(config.clone())
            .connect(server, stream)
            .await
            .map_err(|error| refusal("tls: ", &error))
    }
}

/// An operating system's error as Go words it.
pub(crate) fn refusal(prefix: &str, error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => format!("{prefix}{}", reason.to_lowercase()),
        None => format!("{prefix}{text}"),
    }
}

/// Returns the addresses of a name; no name is this host.
async fn lookup(host: &str) -> Result<Vec<IpAddr>, String> {
    if host.is_empty() {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    resolve::lookup(host).await.map_err(|error| match error {
        LookupError::NoSuchHost(host) => format!("lookup {host}: no such host"),
        LookupError::Failed { host, source } => format!("lookup {host}: {}", chain(&*source)),
    })
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for the default versions")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn verifying() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(target: "agent", %error, "some of the system's root certificates cannot be read");
    }
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        tracing::warn!(target: "agent", "the system has no root certificates: HTTPS checks fail unless they skip verification");
    }
    Arc::new(builder().with_root_certificates(roots).with_no_client_auth())
}

/// `tls_skip_verify`: the check asks whether the program answers, not who it is.
fn trusting() -> Arc<ClientConfig> {
    Arc::new(
        builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer))
            .with_no_client_auth(),
    )
}
