//! Chooses the instance for each connection.
//!
//! Two endpoints are drawn at random, by weight, and the one with fewer open connections wins
//! (Mitzenmacher, "The Power of Two Choices"). An endpoint that failed is set aside for a pause
//! that doubles with each failure, from [`MIN_PAUSE`] to [`MAX_PAUSE`]. If all are set aside, the
//! one whose pause ends first is tried: it may work, and a refusal certainly does not.
//!
//! A core: time and randomness are arguments. Counts survive an update of the list.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rand::{Rng, RngExt as _};

use crate::target::Endpoint;

const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The endpoints of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    slots: Vec<Arc<Slot>>,
}

/// One endpoint with its open connections and its health.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) endpoint: Endpoint,
    open: AtomicUsize,
    health: Mutex<Health>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Health {
    failures: u32,
    aside_until: Option<Instant>,
}

/// Counts one open connection until dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<Slot>);

impl Balancer {
    /// Replaces the endpoints; those that stay keep their counts.
    pub(crate) fn update(&mut self, endpoints: &[Endpoint]) {
        let keep = |endpoint: &Endpoint| {
            let old = self.slots.iter().find(|slot| slot.endpoint == *endpoint);
            old.map_or_else(|| Arc::new(Slot::new(endpoint.clone())), Arc::clone)
        };
        self.slots = endpoints.iter().map(keep).collect();
    }

    /// Chooses an endpoint that is not in `tried`; `None` if there is no other.
    pub(crate) fn pick(
        &self,
        tried: &[Arc<Slot>],
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Arc<Slot>> {
        let untried =
            || self.slots.iter().filter(|slot| !tried.iter().any(|other| Arc::ptr_eq(slot, other)));
        let ready: Vec<&Arc<Slot>> = untried().filter(|slot| slot.is_ready(now)).collect();
        let total: u64 = ready.iter().map(|slot| u64::from(slot.endpoint.weight)).sum();
        if total == 0 {
            return untried().min_by_key(|slot| slot.health().aside_until).cloned();
        }
        let mut draw = || {
            let mut left = rng.random_range(0..total);
            ready.iter().find(|slot| {
                let weight = u64::from(slot.endpoint.weight);
                let hit = left < weight;
                left = left.saturating_sub(weight);
                hit
            })
        };
        let (first, second) = (draw()?, draw()?);
        let fewer = if second.load() < first.load() { second } else { first };
        Some(Arc::clone(fewer))
    }
}

impl Slot {
    fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, open: AtomicUsize::new(0), health: Mutex::default() }
    }

    fn health(&self) -> Health {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.health().aside_until.is_none_or(|until| until <= now)
    }

    /// Returns open connections per unit of weight, comparable between endpoints.
    fn load(&self) -> u64 {
        self.open.load(Relaxed) as u64 * 1_000 / u64::from(self.endpoint.weight)
    }

    /// Sets the endpoint aside after a failed attempt, and returns for how long.
    pub(crate) fn failed(&self, now: Instant) -> Duration {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = MIN_PAUSE.saturating_mul(1 << health.failures.min(10)).min(MAX_PAUSE);
        health.failures += 1;
        health.aside_until = Some(now + pause);
        pause
    }

    /// Clears earlier failures after a successful attempt, and counts the open connection.
    pub(crate) fn succeeded(self: &Arc<Self>) -> Open {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::default();
        self.open.fetch_add(1, Relaxed);
        Open(Arc::clone(self))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use lictor_api::SpiffeId;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn endpoint(port: u16, weight: u32) -> Endpoint {
        let spiffe_id = SpiffeId::service("td.consul", "dc1", "web");
        Endpoint { host: "127.0.0.1".into(), port, spiffe_id, weight }
    }

    fn balancer(endpoints: &[Endpoint]) -> (Balancer, StdRng, Instant) {
        let mut balancer = Balancer::default();
        balancer.update(endpoints);
        (balancer, StdRng::seed_from_u64(7), Instant::now())
    }

    #[test]
    fn the_endpoint_with_fewer_open_connections_gets_more() {
        let (balancer, mut rng, now) = balancer(&[endpoint(1, 1), endpoint(2, 1)]);
        let mut open = Vec::new();
        for _ in 0..100 {
            open.push(balancer.pick(&[], now, &mut rng).unwrap().succeeded());
        }
        let first = open.iter().filter(|open| open.0.endpoint.port == 1).count();
        assert!((45..=55).contains(&first), "{first} of 100");
    }

    #[test]
    fn weight_decides_the_share() {
        let (balancer, mut rng, now) = balancer(&[endpoint(1, 1), endpoint(2, 9)]);
        let open: Vec<Open> =
            (0..200).map(|_| balancer.pick(&[], now, &mut rng).unwrap().succeeded()).collect();
        let heavy = open.iter().filter(|open| open.0.endpoint.port == 2).count();
        assert!((165..=195).contains(&heavy), "{heavy} of 200");
    }

    #[test]
    fn a_failed_endpoint_is_set_aside_longer_each_time_and_tried_again() {
        let (balancer, mut rng, now) = balancer(&[endpoint(1, 1), endpoint(2, 1)]);
        let bad = Arc::clone(&balancer.slots[0]);
        let pause = bad.failed(now);
        for _ in 0..50 {
            let pick = balancer.pick(&[], now, &mut rng).unwrap();
            assert_eq!(pick.endpoint.port, 2);
        }
        let back = now + pause;
        assert!((0..50).any(|_| balancer.pick(&[], back, &mut rng).unwrap().endpoint.port == 1));
        assert!(bad.failed(back) > pause);
        let longest = (0..40).map(|_| bad.failed(back)).max();
        assert_eq!(longest, Some(MAX_PAUSE));
        drop(bad.succeeded());
        assert!(bad.is_ready(now));
    }

    #[test]
    fn with_all_set_aside_the_one_back_soonest_is_tried() {
        let (balancer, mut rng, now) = balancer(&[endpoint(1, 1), endpoint(2, 1)]);
        balancer.slots[0].failed(now);
        balancer.slots[0].failed(now);
        balancer.slots[1].failed(now);
        let pick = balancer.pick(&[], now, &mut rng).unwrap();
        assert_eq!(pick.endpoint.port, 2);
        assert_eq!(balancer.pick(&[pick], now, &mut rng).unwrap().endpoint.port, 1);
    }

    #[test]
    fn no_endpoint_is_tried_twice_and_none_means_none() {
        let (mut balancer, mut rng, now) = balancer(&[endpoint(1, 1)]);
        let tried = [balancer.pick(&[], now, &mut rng).unwrap()];
        assert!(balancer.pick(&tried, now, &mut rng).is_none());
        balancer.update(&[]);
        assert!(balancer.pick(&[], now, &mut rng).is_none());
    }

    #[test]
    fn an_update_keeps_the_counts_of_those_that_stay() {
        let (mut balancer, mut rng, now) = balancer(&[endpoint(1, 1)]);
        let _open = balancer.pick(&[], now, &mut rng).unwrap().succeeded();
        balancer.update(&[endpoint(2, 1), endpoint(1, 1)]);
        assert_eq!(balancer.slots[1].open.load(Relaxed), 1);
    }
}
