//! The servers of the tests: `Sign` with a real authority, `Watch` as full snapshots.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, OnceLock},
    time::Duration,
};

use lictor_api::mesh::v1::{self, mesh_server};
use tokio::sync::watch;
use tokio_stream::{StreamExt as _, wrappers::WatchStream};
use tonic::{Request, Response, Status};

use super::{TRUST_DOMAIN, ca::Ca};

/// The state of the control plane; shared with the service it runs.
pub(crate) struct Mesh {
    pub(crate) ca: Ca,
    /// Signs instead of `ca` once it is set; both are trusted.
    next_ca: OnceLock<Ca>,
    leaf_life: Duration,
    /// The token that callers must present, if any.
    pub(crate) token: Mutex<Option<&'static str>>,
    services: Mutex<BTreeMap<String, watch::Sender<v1::WatchResponse>>>,
    signed: watch::Sender<usize>,
}

impl Mesh {
    pub(super) fn new(leaf_life: Duration) -> Self {
        Self {
            ca: Ca::new(TRUST_DOMAIN),
            next_ca: OnceLock::new(),
            leaf_life,
            token: Mutex::default(),
            services: Mutex::default(),
            signed: watch::Sender::default(),
        }
    }

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

    /// Publishes to the sidecar of `of` an upstream `service` with these endpoints.
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

    /// Replaces the intentions of `destination`.
    pub(crate) fn set_intentions(
        &self,
        destination: &str,
        default_allow: bool,
        list: &[(&str, bool)],
    ) {
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

    /// Rotates the root: the new one is trusted everywhere at once and signs from now on.
    pub(crate) fn rotate(&self) {
        assert!(self.next_ca.set(Ca::new(TRUST_DOMAIN)).is_ok(), "rotated once");
        for service in self.services.lock().unwrap().values() {
            service.send_modify(|response| response.roots = Some(self.roots()));
        }
    }

    fn roots(&self) -> v1::Roots {
        let mut roots = self.ca.roots();
        roots.roots_der.extend(self.next_ca.get().map(|ca| ca.der()));
        roots
    }

    /// Authenticates a caller as a server does.
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
