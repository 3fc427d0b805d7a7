//! Leaves that the agent caches for HTTP clients, key included: `GET /v1/agent/connect/ca/leaf`.
//!
//! One leaf per service, renewed by the request that reads or waits for it: at about 70% of its
//! lifetime, or when the active root changes. While renewal fails, the old leaf is returned until
//! it expires. INVARIANT: a service's index only grows, so a blocked client never misses a renewal.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use lictor_api::types::connect::LeafCert;
use lictor_core::state::{State, Topic, WatchSet};
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;

use super::{Authority, CaError, roots, sign};

/// Services with a cached leaf; beyond that, leaves that no request is using are dropped.
const MAX_LEAVES: usize = 4096;
/// Pause after a failed renewal.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The cached leaves by service.
#[derive(Default)]
pub(super) struct Leaves(Mutex<HashMap<String, Arc<Slot>>>);

/// One service's leaf; its lock is held during a renewal, so that concurrent requests share it.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Option<CachedLeaf>>);

#[derive(Clone)]
struct CachedLeaf {
    leaf: Arc<LeafCert>,
    root_id: String,
    renew_at: Instant,
    expires_at: Instant,
}

impl Leaves {
    /// Returns a leaf as described at [`Authority::leaf`].
    pub(super) async fn get(
        &self,
        authority: &Authority,
        service: &str,
        index: u64,
        wait: Duration,
    ) -> Result<LeafCert, CaError> {
        sign::check_service_name(service)?;
        let slot = self.slot(service);
        let deadline = Instant::now() + wait;
        loop {
            let cached = slot.get_or_renew(authority, service).await?;
            if index == 0 || cached.leaf.modify_index != index || Instant::now() >= deadline {
                return Ok((*cached.leaf).clone());
            }
            let store = authority.server.store();
            let other_root = store.wait_for(|state: &State, topics: &mut WatchSet| {
                topics.add(Topic::Roots);
                let active = state.ca.as_ref()?.active_root()?;
                (active.id != cached.root_id).then_some(())
            });
            // After a failed renewal for a new root the next attempt is at `renew_at`, not at once.
            let failed = cached.renew_at <= Instant::now() + RETRY_INTERVAL;
            tokio::select! {
                () = tokio::time::sleep_until(cached.renew_at.min(deadline)) => {}
                () = other_root, if !failed => {}
            }
        }
    }

    fn slot(&self, service: &str) -> Arc<Slot> {
        // Inserts and removes are single steps, so a poisoned lock is safe to use.
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(service) {
            return slot.clone();
        }
        if slots.len() >= MAX_LEAVES {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(service.to_owned()).or_default().clone()
    }
}

impl Slot {
    /// Returns the leaf, renewed first if that is due.
    async fn get_or_renew(
        &self,
        authority: &Authority,
        service: &str,
    ) -> Result<CachedLeaf, CaError> {
        let mut slot = self.0.lock().await;
        let now = Instant::now();
        if let Some(cached) = &*slot {
            let active = authority
                .server
                .store()
                .snapshot()
                .ca
                .as_ref()
                .and_then(|ca| ca.active_root().map(|root| root.id.clone()));
            if now < cached.renew_at && active.is_none_or(|id| id == cached.root_id) {
                return Ok(cached.clone());
            }
        }
        let previous = slot.as_ref().map_or(0, |cached| cached.leaf.modify_index);
        match issue(authority, service, previous).await {
            Ok(cached) => Ok(slot.insert(cached).clone()),
            Err(error) => match &mut *slot {
                Some(cached) if now < cached.expires_at => {
                    tracing::warn!(service, %error, "certificate not renewed, trying again");
                    cached.renew_at = now + RETRY_INTERVAL;
                    Ok(cached.clone())
                }
                _ => Err(error),
            },
        }
    }
}

async fn issue(authority: &Authority, service: &str, previous: u64) -> Result<CachedLeaf, CaError> {
    let key = KeyPair::generate().map_err(CaError::certificate("generating a leaf's key"))?;
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .map_err(CaError::certificate("making a certificate request"))?;
    let signed = authority.sign(request.der(), service).await?;
    let issued = signed.issued;
    let index = authority.server.store().snapshot().index.max(previous + 1);
    let now = SystemTime::now();
    let left = Duration::from_secs(issued.not_after.max(0).cast_unsigned())
        .saturating_sub(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let renew_in = left.mul_f64(rand::random_range(0.65..0.75));
    Ok(CachedLeaf {
        leaf: Arc::new(LeafCert {
            serial_number: roots::colon_hex(&issued.serial),
            cert_pem: chain_pem(&issued.chain),
            private_key_pem: key.serialize_pem(),
            service: service.to_owned(),
            service_uri: signed.spiffe_id.to_string(),
            valid_after: roots::rfc3339(issued.not_before),
            valid_before: roots::rfc3339(issued.not_after),
            create_index: index,
            modify_index: index,
        }),
        root_id: issued.root_id,
        renew_at: Instant::now() + renew_in,
        expires_at: Instant::now() + left,
    })
}

fn chain_pem(chain: &[CertificateDer<'_>]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut pem = String::new();
    for certificate in chain {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}
