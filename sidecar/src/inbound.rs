//! Proxies connections from the mesh to the application: client certificate, intention, local port.
//!
//! INVARIANT: the application is dialed only after TLS has authenticated the peer and the policy
//! allows it. Whenever the policy changes, every open connection is authorized again; one that is
//! no longer allowed is reset at once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lictor_api::{SpiffeId, error::chain, resolve::lookup_with_port};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    access_log::Record,
    config::Limits,
    copy,
    drain::Drain,
    handshake::{self, TLS_BUFFER_BYTES},
    listener::{Accepted, prepare, reset},
    outcome::{Class, Outcome, Side},
    policy::Policy,
    state::{State, wait_until_set},
    tls::verify::spiffe_id,
};

/// Default for connecting to the application, as of Consul's `local_connect_timeout_ms`.
const LOCAL_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The public listener's connections.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) state: Arc<State>,
    pub(crate) limits: Limits,
    pub(crate) drain: Drain,
    /// The application; `None` takes the registration's address.
    pub(crate) local_app: Option<SocketAddr>,
}

impl Inbound {
    /// Serves one connection from accept to its end, and records how it ended.
    pub(crate) async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted { stream, peer, slot } = accepted;
        let service =
            self.state.snapshot.borrow().proxy.as_ref().map(|proxy| proxy.service.clone());
        let mut record = Record::open(Side::Inbound, &service.unwrap_or_default(), peer);
        let outcome = if slot.is_some() {
            let proxied = self.proxy(stream, &mut record);
            tokio::select! {
                outcome = proxied => outcome,
                () = self.drain.cut.cancelled() => Outcome::new(Class::Drained),
            }
        } else {
            reset(stream);
            Outcome::new(Class::TooMany)
        };
        record.close(&outcome);
    }

    /// Authenticates, authorizes and copies until both directions have ended.
    async fn proxy(&self, stream: TcpStream, record: &mut Record) -> Outcome {
        let (mut peer, id) = match Box::pin(self.handshake(stream, record)).await {
            Ok(accepted) => accepted,
            Err(refused) => return refused,
        };
        let forwarded = async {
            let source = id.service_name().unwrap_or_default();
            let mut policy = self.state.policy.subscribe();
            self.admit(source, &mut policy).await?;
            let mut application = Box::pin(self.dial(record)).await?;
            let copied = tokio::select! {
                copied = copy::bidirectional(&mut peer, &mut application, &mut record.bytes) => {
                    copied.map_err(|error| Outcome::because(Class::Reset, error))
                }
                () = denied(source, &mut policy) => {
                    Err(Outcome::because(Class::Revoked, "an intention now denies it"))
                }
            };
            if copied.is_err() {
                reset(application);
            }
            copied
        };
        match forwarded.await {
            Ok(()) => Outcome::new(Class::Ok),
            Err(failed) => {
                reset(peer.into_inner().0);
                failed
            }
        }
    }

    /// Completes TLS, and records and returns the client's SPIFFE ID.
    async fn handshake(
        &self,
        stream: TcpStream,
        record: &mut Record,
    ) -> Result<(TlsStream<TcpStream>, SpiffeId), Outcome> {
        let limit = self.handshake_timeout();
        prepare(&stream).map_err(|error| Outcome::because(Class::Probe, error))?;
        let Some(identity) = wait_until_set(self.state.certs.current(), limit).await else {
            return Err(Outcome::because(Class::NotReady, "no certificate yet"));
        };
        let accept = TlsAcceptor::from(identity.server()).accept(stream);
        let mut stream = match timeout(limit, accept).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if is_gone(&error) => return Err(Outcome::because(Class::Probe, error)),
            Ok(Err(error)) => return Err(handshake::failure(&error)),
            Err(_) => {
                let reason = format_args!("no handshake within {limit:?}");
                return Err(Outcome::because(Class::HandshakeFailed, reason));
            }
        };
        let session = stream.get_mut().1;
        session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        let id = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .ok_or_else(|| Outcome::because(Class::IdentityRefused, "no client certificate"))
            .and_then(|certificate| {
                spiffe_id(certificate)
                    .map_err(|error| Outcome::because(Class::IdentityRefused, error))
            })?;
        record.identity = Some(id.clone());
        Ok((stream, id))
    }

    /// Returns the registered `handshake_timeout_ms`, or this sidecar's own limit.
    fn handshake_timeout(&self) -> Duration {
        let snapshot = self.state.snapshot.borrow();
        match snapshot.proxy.as_ref().map_or(0, |proxy| proxy.handshake_timeout_ms) {
            0 => self.limits.handshake_timeout,
            millis => Duration::from_millis(millis.into()),
        }
    }

    /// Waits for the policy, up to the handshake timeout, and checks that it allows `source`.
    async fn admit(
        &self,
        source: &str,
        policy: &mut watch::Receiver<Option<Arc<Policy>>>,
    ) -> Result<(), Outcome> {
        let first = timeout(self.limits.handshake_timeout, policy.wait_for(Option::is_some)).await;
        let Ok(Ok(policy)) = first else {
            return Err(Outcome::because(Class::NotReady, "no intentions known yet"));
        };
        match policy.as_ref() {
            Some(policy) if policy.allows(source) => Ok(()),
            _ => Err(Outcome::because(Class::Denied, "no intention allows it")),
        }
    }

    /// Connects to the application within the local connect timeout.
    async fn dial(&self, record: &mut Record) -> Result<TcpStream, Outcome> {
        let proxy = self.state.snapshot.borrow().proxy.clone();
        if let Some(proxy) = &proxy {
            record.service.clone_from(&proxy.service);
        }
        let configured = proxy.as_ref().map_or(0, |proxy| proxy.local_connect_timeout_ms);
        let limit = match configured {
            0 => LOCAL_CONNECT_TIMEOUT,
            millis => Duration::from_millis(millis.into()),
        };
        let (host, port) = match (self.local_app, &proxy) {
            (Some(address), _) => (address.ip().to_string(), address.port()),
            (None, Some(proxy)) if proxy.local_port != 0 => {
                let host = match proxy.local_address.as_str() {
                    "" => "127.0.0.1",
                    host => host,
                };
                (host.to_owned(), u16::try_from(proxy.local_port).unwrap_or_default())
            }
            _ => {
                return Err(Outcome::because(
                    Class::NotReady,
                    "the application's port is not known",
                ));
            }
        };
        let failed = |error: &dyn std::error::Error| {
            let reason = chain(error);
            Outcome::because(Class::DialFailed, format_args!("dialing {host}:{port}: {reason}"))
        };
        let connect = async {
            let addresses = lookup_with_port(&host, port).await.map_err(|error| failed(&error))?;
            let stream =
                TcpStream::connect(&addresses[..]).await.map_err(|error| failed(&error))?;
            prepare(&stream).map_err(|error| failed(&error))?;
            Ok(stream)
        };
        let stream = timeout(limit, connect).await.unwrap_or_else(|_| {
            let reason = format_args!("dialing {host}:{port}: no answer within {limit:?}");
            Err(Outcome::because(Class::DialFailed, reason))
        })?;
        record.dst_addr = stream.peer_addr().ok();
        Ok(stream)
    }
}

/// Waits until `source` is no longer allowed.
async fn denied(source: &str, policy: &mut watch::Receiver<Option<Arc<Policy>>>) {
    let allowed = |policy: &Option<Arc<Policy>>| policy.as_ref().is_some_and(|p| p.allows(source));
    if policy.wait_for(|policy| !allowed(policy)).await.is_err() {
        // The sender was dropped, so the policy cannot change any more: the connection goes on.
        std::future::pending::<()>().await;
    }
}

/// Returns whether the peer left without a protocol error: a health check, a scanner.
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(error.kind(), Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe)
}
