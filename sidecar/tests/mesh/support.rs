//! A control plane small enough to read: a real authority, `Sign`, and `Watch` as full snapshots.
//!
//! It runs on a runtime of its own, so that a test can take it away as abruptly as a power cut.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use lictor_api::{
    SpiffeId,
    mesh::v1::{self, mesh_server},
    upstream::Upstream,
};
use lictor_sidecar::{
    Config, Handle, Sidecar,
    config::{Credential, Limits, Servers, Source, Subject, Upstreams},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
    task::JoinHandle,
};
use tokio_stream::{StreamExt as _, wrappers::WatchStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    transport::{Identity, ServerTlsConfig},
};

pub(crate) const TRUST_DOMAIN: &str = "11111111-2222-3333-4444-555555555555.consul";
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// An authority of the mesh.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    trust_domain: String,
}

impl Ca {
    pub(crate) fn new(trust_domain: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names =
            vec![SanType::URI(format!("spiffe://{trust_domain}").try_into().unwrap())];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, trust_domain: trust_domain.to_owned() }
    }

    pub(crate) fn roots(&self) -> v1::Roots {
        v1::Roots {
            trust_domain: self.trust_domain.clone(),
            datacenter: "dc1".into(),
            roots_der: vec![self.issuer.der().to_vec()],
        }
    }

    /// A server's certificate for a DNS name, in PEM.
    pub(crate) fn server_leaf(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = Self::params(&[], Duration::from_secs(3600));
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn params(uris: &[String], life: Duration) -> CertificateParams {
        let mut params = CertificateParams::default();
        let uri = |uri: &String| SanType::URI(uri.clone().try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = SystemTime::now().into();
        params.not_after = (SystemTime::now() + life).into();
        params
    }

    /// A certificate and key for any names, in PEM.
    pub(crate) fn leaf(&self, uris: &[String]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(uris, Duration::from_secs(3600));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn sign(&self, csr: &[u8], service: &str, life: Duration) -> CertificateDer<'static> {
        let csr = CertificateSigningRequestDer::from(csr);
        let mut request = CertificateSigningRequestParams::from_der(&csr).unwrap();
        request.params = Self::params(&[self.id(service).to_string()], life);
        request.signed_by(&self.issuer).unwrap().der().clone()
    }

    pub(crate) fn id(&self, service: &str) -> SpiffeId {
        SpiffeId::service(&self.trust_domain, "dc1", service)
    }
}

/// What the control plane knows; shared with the service it runs.
pub(crate) struct Mesh {
    pub(crate) ca: Ca,
    /// Signs instead of `ca` once it is there; both are trusted.
    next_ca: OnceLock<Ca>,
    leaf_life: Duration,
    /// What callers must present, if anything.
    pub(crate) token: Mutex<Option<&'static str>>,
    services: Mutex<BTreeMap<String, watch::Sender<v1::WatchResponse>>>,
    signed: watch::Sender<usize>,
}

/// The control plane, running.
pub(crate) struct Server {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    pub(crate) fn start(leaf_life: Duration) -> Self {
        let mesh = Arc::new(Mesh {
            ca: Ca::new(TRUST_DOMAIN),
            next_ca: OnceLock::new(),
            leaf_life,
            token: Mutex::default(),
            services: Mutex::default(),
            signed: watch::Sender::default(),
        });
        Self::serve(mesh, (Ipv4Addr::LOCALHOST, 0).into(), None)
    }

    /// The same control plane behind TLS, under the name `server.dc1.consul`.
    pub(crate) fn start_tls() -> Self {
        let mut plain = Self::start(Duration::from_secs(3600));
        plain.kill();
        let mesh = Arc::clone(&plain.mesh);
        let (certificate, key) = mesh.ca.server_leaf("server.dc1.consul");
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        Self::serve(mesh, (Ipv4Addr::LOCALHOST, 0).into(), Some(tls))
    }

    /// Back at the same address, knowing what it knew.
    pub(crate) fn restart(&mut self) {
        self.kill();
        *self = Self::serve(Arc::clone(&self.mesh), self.address, None);
    }

    fn serve(mesh: Arc<Mesh>, address: SocketAddr, tls: Option<ServerTlsConfig>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let _inside = runtime.enter();
        // tokio's bind sets SO_REUSEADDR, which a restart on the same port needs.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let service = mesh_server::MeshServer::from_arc(Arc::clone(&mesh));
        let mut server = tonic::transport::Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        runtime.spawn(async move {
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            server.add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        drop(_inside);
        Self { mesh, address, runtime: Some(runtime) }
    }

    /// Gone, with all its connections.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Mesh {
    fn service(&self, name: &str) -> watch::Sender<v1::WatchResponse> {
        let mut services = self.services.lock().unwrap();
        let initial = || {
            watch::Sender::new(v1::WatchResponse {
                index: 1,
                snapshot: true,
                roots: Some(self.roots()),
                proxy: Some(v1::Proxy { service: name.to_owned(), ..<_>::default() }),
                intentions: Some(v1::Intentions { default_allow: true, list: vec![] }),
                ..<_>::default()
            })
        };
        services.entry(name.to_owned()).or_insert_with(initial).clone()
    }

    pub(crate) fn change(&self, service: &str, change: impl FnOnce(&mut v1::WatchResponse)) {
        self.service(service).send_modify(|response| {
            response.index += 1;
            change(response);
        });
    }

    /// Says that `service` has an upstream with these endpoints.
    pub(crate) fn upstream(
        &self,
        of: &str,
        service: &str,
        bind: SocketAddr,
        endpoints: &[v1::Endpoint],
    ) {
        self.change(of, |response| {
            response.upstreams.retain(|upstream| upstream.service != service);
            response.upstreams.push(v1::Upstream {
                id: format!("{service}:{}:{}", bind.ip(), bind.port()),
                service: service.to_owned(),
                bind_address: bind.ip().to_string(),
                bind_port: bind.port().into(),
                connect_timeout_ms: 2000,
                endpoints: endpoints.to_vec(),
                ..<_>::default()
            });
        });
    }

    pub(crate) fn endpoint(&self, service: &str, address: SocketAddr) -> v1::Endpoint {
        v1::Endpoint {
            address: address.ip().to_string(),
            port: address.port().into(),
            spiffe_id: self.ca.id(service).to_string(),
            node: "n".into(),
            weight: 1,
        }
    }

    pub(crate) fn intend(&self, destination: &str, default_allow: bool, list: &[(&str, bool)]) {
        let intention = |&(source, allow): &(&str, bool)| v1::Intention {
            source: source.to_owned(),
            allow,
            precedence: if source == "*" { 8 } else { 9 },
        };
        let list = list.iter().map(intention).collect();
        self.change(destination, |response| {
            response.intentions = Some(v1::Intentions { default_allow, list });
        });
    }

    /// A new root: trusted everywhere at once, and what signs from now on.
    pub(crate) fn rotate(&self) {
        assert!(self.next_ca.set(Ca::new(TRUST_DOMAIN)).is_ok(), "rotated once");
        for service in self.services.lock().unwrap().values() {
            service.send_modify(|response| response.roots = Some(self.roots()));
        }
    }

    fn roots(&self) -> v1::Roots {
        let mut roots = self.ca.roots();
        roots.roots_der.extend(self.next_ca.get().map(|ca| ca.issuer.der().to_vec()));
        roots
    }

    /// What the gate of a server does with the caller's credential.
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Some(token) = *self.token.lock().unwrap() else { return Ok(()) };
        let presented = request.metadata().get("authorization").and_then(|v| v.to_str().ok());
        if presented == Some(&format!("Bearer {token}")) {
            return Ok(());
        }
        Err(Status::unavailable("the token is not known yet"))
    }

    pub(crate) fn signed(&self) -> watch::Receiver<usize> {
        self.signed.subscribe()
    }
}

#[tonic::async_trait]
impl mesh_server::Mesh for Mesh {
    type WatchStream = std::pin::Pin<
        Box<dyn tokio_stream::Stream<Item = Result<v1::WatchResponse, Status>> + Send>,
    >;

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        self.check(&request)?;
        let v1::SignRequest { csr_der, service, .. } = request.into_inner();
        if service == "forbidden" {
            return Err(Status::permission_denied("service \"forbidden\" is not yours"));
        }
        let leaf = self.next_ca.get().unwrap_or(&self.ca).sign(&csr_der, &service, self.leaf_life);
        self.signed.send_modify(|count| *count += 1);
        Ok(Response::new(v1::SignResponse {
            chain_der: vec![leaf.to_vec()],
            spiffe_id: self.ca.id(&service).to_string(),
            service,
            roots: Some(self.roots()),
            ..<_>::default()
        }))
    }

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.check(&request)?;
        let subject = request.into_inner().subject;
        let Some(v1::watch_request::Subject::Service(name)) = subject else {
            return Err(Status::not_found("No sidecar proxy registered"));
        };
        let changes = WatchStream::new(self.service(&name).subscribe());
        Ok(Response::new(Box::pin(changes.map(Ok))))
    }
}

/// A sidecar under test.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), lictor_sidecar::Error>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What most tests start from.
pub(crate) fn config(server: SocketAddr, service: &str) -> Config {
    Config {
        source: Source::Servers(Servers {
            uris: vec![format!("http://{server}").parse().unwrap()],
            tls: None,
            credential: Credential::Anonymous,
            subject: Subject::Service(service.to_owned()),
        }),
        upstreams: Upstreams::Fixed(vec![]),
        public_listener: None,
        local_app: None,
        admin: None,
        metrics: None,
        limits: Limits { drain: Duration::from_secs(10), ..Limits::default() },
    }
}

pub(crate) fn start(config: Config) -> Running {
    let (sidecar, handle) = Sidecar::new(config);
    let stop = CancellationToken::new();
    let task = tokio::spawn(sidecar.run(stop.clone()));
    Running { handle, stop, task }
}

pub(crate) async fn ready(running: &Running) {
    let ready = tokio::time::timeout(LIMIT, running.handle.ready()).await;
    assert!(ready.is_ok(), "not ready: {:?}", running.handle.check());
}

/// A service with its sidecar in front of `app`.
pub(crate) async fn destination(server: &Server, service: &str, app: SocketAddr) -> Running {
    let running = start(Config {
        public_listener: Some((Ipv4Addr::LOCALHOST, 0).into()),
        local_app: Some(app),
        ..config(server.address, service)
    });
    ready(&running).await;
    running
}

/// A client whose sidecar leads to `service` at `bind`.
pub(crate) async fn source(
    server: &Server,
    name: &str,
    service: &str,
    bind: SocketAddr,
) -> Running {
    let running = start(Config {
        upstreams: Upstreams::Fixed(vec![own_upstream(service, bind)]),
        ..config(server.address, name)
    });
    ready(&running).await;
    running
}

pub(crate) fn own_upstream(service: &str, bind: SocketAddr) -> Upstream {
    format!("{service}:{}:local_bind_address={}", bind.port(), bind.ip()).parse().unwrap()
}

/// An address that nobody else uses: the loopback network is large.
pub(crate) fn unused() -> SocketAddr {
    let [a, b, c, ..] = rand::random::<[u8; 16]>();
    let ip = IpAddr::V4(Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254)));
    let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// An application that gives back what it gets and ends when its client does.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    address
}

/// Sends `line` on a new connection and returns what comes back until the end.
pub(crate) async fn exchange(to: SocketAddr, line: &[u8]) -> std::io::Result<Vec<u8>> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(line).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(LIMIT, exchange).await.expect("an answer in time")
}

/// Waits until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, holds).await.is_ok(), "{what} never came true");
}
