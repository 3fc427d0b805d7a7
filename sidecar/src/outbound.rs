//! From the application to the mesh: one listener per upstream, mutual TLS to one instance.
//!
//! A listener is open before its endpoints are known, so that applications can start at once; the
//! first connections wait for the configuration, no longer than the connect timeout. Up to
//! [`ATTEMPTS`] endpoints are tried per connection; nothing of the application's data has been
//! sent before one stands, so a retry repeats nothing.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::warn;

use crate::{
    access_log::{Class, End, Record, Side},
    balance::{Balancer, Open, Slot},
    config::Limits,
    copy,
    drain::Drain,
    listener::{Accepted, prepare, reset},
    metrics, names,
    snapshot::{Endpoint, Target},
    state::{State, known},
    tls::{certs::Identity, verify::handshake_failure},
};

const ATTEMPTS: usize = 3;
/// Room for what the application writes while records wait for the socket.
pub(crate) const TLS_BUFFER_BYTES: usize = 512 * 1024;

/// One upstream's connections.
#[derive(Debug)]
pub(crate) struct Outbound {
    service: String,
    state: Arc<State>,
    limits: Limits,
    drain: Drain,
    balancer: Mutex<Balancer>,
    /// `None` until the servers have told the endpoints.
    target: watch::Sender<Option<Arc<Target>>>,
}

/// Why one endpoint did not do.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("looking up")]
    Lookup(#[from] names::LookupError),
    #[error("connecting")]
    Connect(#[source] io::Error),
    #[error("handshake: {}", .0.reason.as_deref().unwrap_or_default())]
    Handshake(End),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

type Established = (TlsStream<TcpStream>, Open);

impl Outbound {
    pub(crate) fn new(service: &str, state: Arc<State>, limits: Limits, drain: Drain) -> Self {
        Self {
            service: service.to_owned(),
            state,
            limits,
            drain,
            balancer: Mutex::default(),
            target: watch::Sender::default(),
        }
    }

    /// What the servers say now; connections that are open stay.
    pub(crate) fn update(&self, target: Option<&Arc<Target>>) {
        if *self.target.borrow() == target.cloned() {
            return;
        }
        let endpoints = target.map_or(&[][..], |target| &target.endpoints);
        self.balancer.lock().unwrap_or_else(PoisonError::into_inner).update(endpoints);
        self.target.send_replace(target.cloned());
    }

    /// One connection from accept to the end.
    pub(crate) async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted { mut stream, peer, place } = accepted;
        let mut record = Record::open(Side::Outbound, &self.service, peer);
        let end = if place.is_some() {
            let proxied = self.proxy(&mut stream, &mut record);
            tokio::select! {
                end = proxied => end,
                () = self.drain.cut.cancelled() => End::new(Class::Drained),
            }
        } else {
            End::new(Class::TooMany)
        };
        if end.class != Class::Ok {
            reset(stream);
        }
        record.close(&end);
    }

    async fn proxy(&self, application: &mut TcpStream, record: &mut Record) -> End {
        if let Err(error) = prepare(application) {
            return End::because(Class::Reset, error);
        }
        let (mut upstream, _open) = match Box::pin(self.establish(record)).await {
            Ok(established) => established,
            Err(end) => return end,
        };
        match copy::bidirectional(application, &mut upstream, &mut record.bytes).await {
            Ok(()) => End::new(Class::Ok),
            Err(error) => {
                reset(upstream.into_inner().0);
                End::because(Class::Reset, error)
            }
        }
    }

    /// A TLS connection to one of the endpoints.
    async fn establish(&self, record: &mut Record) -> Result<Established, End> {
        let limit = self.limits.connect_timeout;
        let Some(identity) = known(self.state.certs.current(), limit).await else {
            return Err(End::because(Class::NotReady, "no certificate yet"));
        };
        let Some(target) = known(&self.target, limit).await else {
            return Err(End::because(Class::NotReady, "no endpoints known yet"));
        };
        let limit = target.connect_timeout.unwrap_or(limit);
        let mut tried: Vec<Arc<Slot>> = Vec::new();
        let mut last = End::because(Class::NoEndpoints, "no healthy instance");
        while tried.len() < ATTEMPTS {
            let Some(slot) = self.pick(&tried) else { break };
            let attempt = self.attempt(&identity, &slot.endpoint, limit, record);
            match attempt.await {
                Ok(stream) => {
                    record.identity = Some(slot.endpoint.spiffe_id.clone());
                    return Ok((stream, slot.succeeded()));
                }
                Err(error) => last = self.set_aside(&slot, &error),
            }
            tried.push(slot);
        }
        Err(last)
    }

    fn pick(&self, tried: &[Arc<Slot>]) -> Option<Arc<Slot>> {
        let balancer = self.balancer.lock().unwrap_or_else(PoisonError::into_inner);
        balancer.pick(tried, Instant::now(), &mut rand::rng())
    }

    fn set_aside(&self, slot: &Slot, error: &AttemptError) -> End {
        let pause = slot.failed(Instant::now());
        let Endpoint { host, port, .. } = &slot.endpoint;
        let text = crate::report::chain(error);
        warn!(dst.service = %self.service, dst.addr = %format_args!("{host}:{port}"), ?pause,
            error = %text, "endpoint set aside");
        metrics::endpoint_failed(&self.service);
        let class = match error {
            AttemptError::Handshake(end) => end.class,
            _ => Class::ConnectFailed,
        };
        End::because(class, format_args!("{host}:{port}: {text}"))
    }

    async fn attempt(
        &self,
        identity: &Identity,
        endpoint: &Endpoint,
        limit: Duration,
        record: &mut Record,
    ) -> Result<TlsStream<TcpStream>, AttemptError> {
        let connect = async {
            let addresses = names::lookup(&endpoint.host, endpoint.port).await?;
            TcpStream::connect(&addresses[..]).await.map_err(AttemptError::Connect)
        };
        let tcp = timeout(limit, connect).await.map_err(|_| AttemptError::TimedOut(limit))??;
        prepare(&tcp).map_err(AttemptError::Connect)?;
        let address: SocketAddr = tcp.peer_addr().map_err(AttemptError::Connect)?;
        record.dst_addr = Some(address);
        let connector = TlsConnector::from(identity.client(&endpoint.spiffe_id));
        // The verifier goes by the SPIFFE ID; an IP address as name keeps SNI out.
        let handshake = connector.connect(ServerName::IpAddress(address.ip().into()), tcp);
        let limit = self.limits.handshake_timeout;
        let mut stream = timeout(limit, handshake)
            .await
            .map_err(|_| AttemptError::TimedOut(limit))?
            .map_err(|error| AttemptError::Handshake(handshake_failure(&error)))?;
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        Ok(stream)
    }
}
