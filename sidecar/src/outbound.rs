//! Proxies connections from the application to the mesh: one listener per upstream, mutual TLS to
//! one instance.
//!
//! A listener is open before its endpoints are known, so that applications can start at once; the
//! first connections wait for the configuration, at most the connect timeout. Up to
//! [`MAX_ATTEMPTS`] endpoints are tried per connection; none of the application's data is sent
//! before a connection is established, so a retry repeats nothing.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lictor_api::{
    error::chain,
    resolve::{LookupError, lookup_with_port},
};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    access_log::Record,
    balance::{Balancer, Open, Slot},
    config::Limits,
    copy,
    drain::Drain,
    handshake::{self, TLS_BUFFER_BYTES},
    listener::{Accepted, prepare, reset},
    metrics,
    outcome::{Class, Outcome, Side},
    state::{State, wait_until_set},
    target::{Endpoint, Target},
    tls::certs::Identity,
};

/// Endpoints tried per connection.
const MAX_ATTEMPTS: usize = 3;

/// One upstream's connections.
#[derive(Debug)]
pub(crate) struct Outbound {
    service: String,
    state: Arc<State>,
    limits: Limits,
    drain: Drain,
    balancer: Mutex<Balancer>,
    /// `None` until the servers have sent the endpoints.
    target: watch::Sender<Option<Arc<Target>>>,
}

/// Why one endpoint could not be used.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("looking up")]
    Lookup(#[from] LookupError),
    #[error("connecting")]
    Connect(#[source] io::Error),
    #[error("handshake: {}", .0.reason.as_deref().unwrap_or_default())]
    Handshake(Outcome),
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

    /// Replaces the endpoints; open connections are not affected.
    pub(crate) fn update(&self, target: Option<&Arc<Target>>) {
        if *self.target.borrow() == target.cloned() {
            return;
        }
        let endpoints = target.map_or(&[][..], |target| &target.endpoints);
        self.balancer.lock().unwrap_or_else(PoisonError::into_inner).update(endpoints);
        self.target.send_replace(target.cloned());
    }

    /// Serves one connection from accept to its end, and records how it ended.
    pub(crate) async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted { mut stream, peer, slot } = accepted;
        let mut record = Record::open(Side::Outbound, &self.service, peer);
        let outcome = if slot.is_some() {
            let proxied = self.proxy(&mut stream, &mut record);
            tokio::select! {
                outcome = proxied => outcome,
                () = self.drain.cut.cancelled() => Outcome::new(Class::Drained),
            }
        } else {
            Outcome::new(Class::TooMany)
        };
        if outcome.class != Class::Ok {
            reset(stream);
        }
        record.close(&outcome);
    }

    /// Connects to an endpoint and copies until both directions have ended.
    async fn proxy(&self, application: &mut TcpStream, record: &mut Record) -> Outcome {
        if let Err(error) = prepare(application) {
            return Outcome::because(Class::Reset, error);
        }
        let (mut upstream, _open) = match Box::pin(self.establish(record)).await {
            Ok(established) => established,
            Err(outcome) => return outcome,
        };
        match copy::bidirectional(application, &mut upstream, &mut record.bytes).await {
            Ok(()) => Outcome::new(Class::Ok),
            Err(error) => {
                reset(upstream.into_inner().0);
                Outcome::because(Class::Reset, error)
            }
        }
    }

    /// Connects to one of the endpoints, trying at most [`MAX_ATTEMPTS`].
    async fn establish(&self, record: &mut Record) -> Result<Established, Outcome> {
        let limit = self.limits.connect_timeout;
        let Some(identity) = wait_until_set(self.state.certs.current(), limit).await else {
            return Err(Outcome::because(Class::NotReady, "no certificate yet"));
        };
        let Some(target) = wait_until_set(&self.target, limit).await else {
            return Err(Outcome::because(Class::NotReady, "no endpoints known yet"));
        };
        let limit = target.connect_timeout.unwrap_or(limit);
        let mut tried: Vec<Arc<Slot>> = Vec::new();
        let mut last = Outcome::because(Class::NoEndpoints, "no healthy instance");
        while tried.len() < MAX_ATTEMPTS {
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

    /// Excludes the endpoint from the choice for a while, and returns the outcome to record if no
    /// other is left to try.
    fn set_aside(&self, slot: &Slot, error: &AttemptError) -> Outcome {
        let pause = slot.failed(Instant::now());
        let Endpoint { host, port, .. } = &slot.endpoint;
        let text = chain(error);
        tracing::warn!(
            dst.service = %self.service,
            dst.addr = %format_args!("{host}:{port}"),
            ?pause,
            error = %text,
            "endpoint set aside"
        );
        metrics::endpoint_failed(&self.service);
        let class = match error {
            AttemptError::Handshake(outcome) => outcome.class,
            _ => Class::ConnectFailed,
        };
        Outcome::because(class, format_args!("{host}:{port}: {text}"))
    }

    /// Connects to one endpoint within `limit`, then completes TLS within the handshake timeout.
    async fn attempt(
        &self,
        identity: &Identity,
        endpoint: &Endpoint,
        limit: Duration,
        record: &mut Record,
    ) -> Result<TlsStream<TcpStream>, AttemptError> {
        let connect = async {
            let addresses = lookup_with_port(&endpoint.host, endpoint.port).await?;
            TcpStream::connect(&addresses[..]).await.map_err(AttemptError::Connect)
        };
        let tcp = timeout(limit, connect).await.map_err(|_| AttemptError::TimedOut(limit))??;
        prepare(&tcp).map_err(AttemptError::Connect)?;
        let address: SocketAddr = tcp.peer_addr().map_err(AttemptError::Connect)?;
        record.dst_addr = Some(address);
        let connector = TlsConnector::from(identity.client(&endpoint.spiffe_id));
        // The verifier checks the SPIFFE ID; with an IP address as the name no SNI is sent.
        let handshake = connector.connect(ServerName::IpAddress(address.ip().into()), tcp);
        let limit = self.limits.handshake_timeout;
        let mut stream = timeout(limit, handshake)
            .await
            .map_err(|_| AttemptError::TimedOut(limit))?
            .map_err(|error| AttemptError::Handshake(handshake::failure(&error)))?;
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        Ok(stream)
    }
}
