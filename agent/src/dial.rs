//! Outgoing connections of checks: names, TCP, TLS; errors in the words of Go's net package, which
//! Consul's users know from check outputs.
//!
//! Static binaries have no NSS: names go through hickory-resolver (with /etc/hosts), and
//! `localhost` is the loopback addresses whatever files there are.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use hickory_resolver::{TokioResolver, config::ResolverConfig};
use lictor_api::types::agent::CheckDefinition;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Resolver and TLS settings, made when they are first needed.
#[derive(Default)]
pub(crate) struct Dialer {
    resolver: OnceLock<Option<TokioResolver>>,
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
        let addresses = self.lookup(host).await.map_err(|reason| failed(&reason))?;
        Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![ip]);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() || name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let listed = in_hosts_file(&name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let Some(resolver) = self.resolver.get_or_init(system_resolver) else {
            return Err(format!("lookup {host}: no resolver is configured"));
        };
        match resolver.lookup_ip(host).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(error) if error.is_no_records_found() => {
                Err(format!("lookup {host}: no such host"))
            }
            Err(error) => Err(format!("lookup {host}: {error}")),
        }
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

/// A name's addresses in `/etc/hosts`. The resolver would ask servers for the other family's
/// address all the same, and wait for them where there are none.
fn in_hosts_file(name: &str) -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    text.lines().filter_map(address).collect()
}

fn system_resolver() -> Option<TokioResolver> {
    let builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        TokioResolver::builder_with_config(ResolverConfig::default(), Default::default())
    });
    builder
        .build()
        .inspect_err(|error| tracing::warn!(target: "agent", %error, "checks cannot resolve names"))
        .ok()
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

fn trusting() -> Arc<ClientConfig> {
    let verifier = AnyCertificate(provider().signature_verification_algorithms);
    Arc::new(
        builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth(),
    )
}

/// `tls_skip_verify`: the check asks whether the program answers, not who it is.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
