//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What happens to a connection beyond the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It stays in the kernel's queue until there is a slot.
    Wait,
    /// It is accepted without a slot, for the server to refuse it at once, so that a flood costs
    /// neither memory nor file descriptors.
    Refuse,
}

/// The places for connections of one server, over all its listeners.
#[derive(Debug)]
pub struct Slots {
    total: Arc<Semaphore>,
    when_full: WhenFull,
    /// 0 is no limit.
    max_per_address: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    _total: OwnedSemaphorePermit,
    address: Option<(Arc<Slots>, IpAddr)>,
}

impl Slots {
    /// Returns places for `max_total` connections, and no limit per address.
    pub fn new(max_total: usize, when_full: WhenFull) -> Arc<Self> {
        let total = Arc::new(Semaphore::new(max_total.min(Semaphore::MAX_PERMITS)));
        let (max_per_address, by_address) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { total, when_full, max_per_address, by_address })
    }

    /// Returns places for any number of connections, but `max` from one address; 0 is no limit.
    /// One beyond is accepted without a slot.
    pub fn per_address(max: usize) -> Arc<Self> {
        let slots = Self::new(usize::MAX, WhenFull::Refuse);
        slots.set_max_per_address(max);
        slots
    }

    /// Changes how many connections one address may have from now on; 0 is no limit. Those there
    /// are stay.
    pub fn set_max_per_address(&self, max: usize) {
        self.max_per_address.store(max, Ordering::Relaxed);
    }

    /// Waits for a place before a connection is accepted, where that is asked for.
    pub(super) async fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        match self.when_full {
            WhenFull::Refuse => None,
            // The semaphore is never closed.
            WhenFull::Wait => Arc::clone(&self.total).acquire_owned().await.ok(),
        }
    }

    /// Takes a place; `None` when there is none, in all or for this address.
    pub(super) fn take(
        self: &Arc<Self>,
        reserved: Option<OwnedSemaphorePermit>,
        address: Option<IpAddr>,
    ) -> Option<Slot> {
        let total = match reserved {
            Some(permit) => permit,
            None => Arc::clone(&self.total).try_acquire_owned().ok()?,
        };
        let address = address.map(|address| address.to_canonical());
        if let Some(address) = address {
            let max = self.max_per_address.load(Ordering::Relaxed);
            let mut by_address = self.by_address();
            let count = by_address.entry(address).or_default();
            if max > 0 && *count >= max {
                return None;
            }
            *count += 1;
        }
        Some(Slot { _total: total, address: address.map(|address| (Arc::clone(self), address)) })
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some((slots, address)) = &self.address else { return };
        let mut by_address = slots.by_address();
        if let Some(count) = by_address.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const OTHER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let slots = Slots::per_address(2);
        let first = slots.take(None, ONE).unwrap();
        let mapped = slots.take(None, Some("::ffff:192.0.2.1".parse().unwrap())).unwrap();
        assert!(slots.take(None, ONE).is_none());
        assert!(slots.take(None, OTHER).is_some());
        assert!(slots.take(None, None).is_some(), "a Unix socket's peer has no address");
        drop(first);
        assert!(slots.take(None, ONE).is_some());
        drop(mapped);
        assert!(slots.by_address().is_empty(), "an address without connections is forgotten");
    }

    #[test]
    fn the_share_can_be_changed_and_zero_is_no_limit() {
        let slots = Slots::per_address(1);
        let _first = slots.take(None, ONE).unwrap();
        assert!(slots.take(None, ONE).is_none());
        slots.set_max_per_address(2);
        let _second = slots.take(None, ONE).unwrap();
        assert!(slots.take(None, ONE).is_none());
        slots.set_max_per_address(0);
        assert!(slots.take(None, ONE).is_some());
    }

    #[test]
    fn the_total_holds_over_all_addresses() {
        let slots = Slots::new(2, WhenFull::Refuse);
        let _one = slots.take(None, ONE).unwrap();
        let other = slots.take(None, OTHER).unwrap();
        assert!(slots.take(None, None).is_none());
        drop(other);
        assert!(slots.take(None, ONE).is_some());
    }
}
