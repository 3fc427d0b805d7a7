//! Obtains and renews this sidecar's certificate: key, CSR, `Mesh.Sign`.
//!
//! The P-256 key is generated here, stays in memory and is never reused. Renewal happens at 70 % of
//! a certificate's life less a little jitter, and within half a minute of a change of the roots (or
//! a fifth of the remaining life, if that is shorter). While renewals fail the old certificate
//! stays in use; peers reject it once it has expired.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

use lictor_api::error::chain;
use lictor_api::mesh::{PROTOCOL_VERSION, v1};
use lictor_runtime::Backoff;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{
    config::{Servers, Subject},
    error, metrics, servers,
    state::State,
    tls::material::{CertificateError, Leaf, LeafSummary, Roots},
};

/// Longer than servers wait for a pod's registration before they respond.
const SIGN_TIMEOUT: Duration = Duration::from_secs(15);
/// Share of a certificate's life after which it is renewed.
const RENEW_AT_SHARE: f64 = 0.7;
/// Most that [`RENEW_AT_SHARE`] is reduced by at random.
const RENEW_JITTER: f64 = 0.05;
/// Window over which the renewals of all sidecars are spread after a change of the roots.
const MAX_ROOTS_JITTER: Duration = Duration::from_secs(30);
/// Longest sleep before the wall clock is read again: a suspended machine must not renew too late.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Bounds the rate of renewals if this machine's clock and the servers' disagree.
const MIN_RENEWAL_INTERVAL: Duration = Duration::from_millis(200);

/// A certificate could not be obtained.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("making a key and a certificate request")]
    Request(#[from] rcgen::Error),
    #[error("requesting a certificate")]
    Servers(#[from] servers::Error),
    #[error("requesting a certificate for service {service:?}")]
    Status { service: String, source: Box<tonic::Status> },
    #[error("using the certificate that the server signed")]
    Certificate(#[from] CertificateError),
}

/// Maintains a valid certificate in `state`; returns only on error.
///
/// # Errors
/// The first certificate was rejected with a final status. Later failures are retried.
pub(crate) async fn run(config: &Servers, state: &State) -> Result<Infallible, error::Error> {
    // Short pauses until the first one: in a pod this waits for the operator's registration.
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    let mut issued: Option<LeafSummary> = None;
    let mut outage = Outage::default();
    loop {
        let service = service_name(config, state).await;
        match sign(config, &service).await {
            Ok((leaf, roots)) => {
                let summary = leaf.summary().clone();
                tracing::info!(spiffe_id = %summary.spiffe_id, lifetime = ?lifetime(&summary),
                    "certificate issued");
                metrics::certificate_issued(summary.not_after);
                if let Some(roots) = roots {
                    state.certs.set_first_roots(roots);
                }
                state.certs.set_leaf(leaf);
                wait_for_renewal(&summary, state).await;
                issued = Some(summary);
                outage = Outage::default();
                backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
            }
            Err(Error::Status { source, .. })
                if issued.is_none() && servers::is_final(source.code()) =>
            {
                return Err(error::Error::Refused { what: "a certificate", status: source });
            }
            Err(failure) => {
                metrics::certificate_failed();
                outage.report(&failure, issued.as_ref());
                tokio::time::sleep(backoff.next_pause()).await;
            }
        }
    }
}

/// Limits warnings to two per outage: when it begins, and when the certificate expires during it.
#[derive(Debug, Default)]
struct Outage {
    began: bool,
    expired: bool,
}

impl Outage {
    fn report(&mut self, failure: &Error, current: Option<&LeafSummary>) {
        let text = chain(failure);
        let expired = current.is_some_and(|leaf| leaf.not_after <= SystemTime::now());
        if expired && !self.expired {
            tracing::error!(error = %text, "the certificate has expired, still trying");
        } else if !self.began {
            tracing::warn!(error = %text, "no new certificate, trying again");
        } else {
            tracing::debug!(error = %text, "still no new certificate");
        }
        (self.began, self.expired) = (true, expired);
    }
}

/// Returns the service to request a certificate for; for a registered proxy, waits until the
/// stream has sent it.
async fn service_name(config: &Servers, state: &State) -> String {
    if let Subject::Service(name) = &config.subject {
        return name.clone();
    }
    let mut snapshots = state.snapshot.subscribe();
    match snapshots.wait_for(|snapshot| snapshot.proxy.is_some()).await {
        Ok(snapshot) => snapshot.proxy.as_ref().map_or_else(String::new, |p| p.service.clone()),
        Err(_) => String::new(),
    }
}

/// Requests a certificate for a new key; also returns the roots if the response has them.
async fn sign(config: &Servers, service: &str) -> Result<(Leaf, Option<Roots>), Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let csr = CertificateParams::default().serialize_request(&key)?;
    let message = v1::SignRequest {
        protocol_version: PROTOCOL_VERSION,
        csr_der: csr.der().to_vec(),
        service: service.to_owned(),
    };
    let status = |source: tonic::Status| Error::Status {
        service: service.to_owned(),
        source: Box::new(source),
    };
    let mut client = servers::connect(config).await?;
    let request = servers::request(&config.credential, message).await?;
    let response = tokio::time::timeout(SIGN_TIMEOUT, client.sign(request))
        .await
        .map_err(|_| {
            status(tonic::Status::deadline_exceeded(format!("no answer within {SIGN_TIMEOUT:?}")))
        })?
        .map_err(status)?
        .into_inner();
    let chain = response.chain_der.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let roots = response.roots.map(Roots::try_from).transpose()?;
    Ok((Leaf::from_der(chain, key)?, roots))
}

fn lifetime(leaf: &LeafSummary) -> Duration {
    leaf.not_after.duration_since(leaf.not_before).unwrap_or_default()
}

/// Waits until `leaf` is due for renewal.
async fn wait_for_renewal(leaf: &LeafSummary, state: &State) {
    let share = RENEW_AT_SHARE - RENEW_JITTER * rand::random::<f64>();
    let floor = lifetime(leaf).mul_f64(0.1).clamp(MIN_RENEWAL_INTERVAL, CLOCK_CHECK_INTERVAL);
    let mut due = (leaf.not_before + lifetime(leaf).mul_f64(share)).max(SystemTime::now() + floor);
    let mut snapshots = state.snapshot.subscribe();
    let roots = snapshots.borrow_and_update().roots.clone();
    let mut watching = true;
    loop {
        let now = SystemTime::now();
        let Ok(remaining) = due.duration_since(now) else { return };
        if remaining.is_zero() {
            return;
        }
        let pause = remaining.min(CLOCK_CHECK_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = snapshots.wait_for(|s| s.roots.is_some() && s.roots != roots), if watching => {
                // Either the roots are new, which is handled once, or the sidecar is ending.
                watching = false;
                if changed.is_ok() && roots.is_some() {
                    let left = leaf.not_after.duration_since(now).unwrap_or_default();
                    let window = MAX_ROOTS_JITTER.min(left / 5);
                    due = due.min(now + window.mul_f64(rand::random::<f64>()));
                }
            }
        }
    }
}
