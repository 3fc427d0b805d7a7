//! Shares one result among all callers that asked before its round began.
//!
//! INVARIANT: a caller gets the result of a round that began after it joined, never of one that was
//! in progress (the lesson of etcd #20418: a read index obtained for an earlier read may be
//! older than a write that the later reader knows of).

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use lictor_core::planted::{Bug, is_planted};
use tokio::sync::watch;

/// Rounds of one question.
#[derive(Debug)]
pub struct Rounds<T> {
    /// The round that has not begun.
    next: Mutex<Option<watch::Receiver<Option<T>>>>,
    /// Held while a round is in progress.
    turn: tokio::sync::Mutex<()>,
    #[cfg(test)]
    begun: std::sync::atomic::AtomicUsize,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self {
            next: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            #[cfg(test)]
            begun: std::sync::atomic::AtomicUsize::default(),
        }
    }
}

impl<T: Clone + Send + Sync> Rounds<T> {
    /// Returns the result of the next round, which `ask` carries out unless another caller does.
    ///
    /// # Cancel safety
    /// Cancel-safe: when the caller that asks is dropped, another one asks.
    pub async fn join<F>(&self, ask: impl Fn() -> F) -> T
    where
        F: Future<Output = T>,
    {
        loop {
            let (driver, mut result) = self.enter();
            if let Some(driver) = driver {
                return self.drive(driver, &ask).await;
            }
            let answered = result.wait_for(Option::is_some).await.map(|answer| answer.clone());
            if let Ok(Some(answer)) = answered {
                return answer;
            }
        }
    }

    fn enter(&self) -> (Option<watch::Sender<Option<T>>>, watch::Receiver<Option<T>>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = next.as_ref().filter(|round| round.has_changed().is_ok()) {
            return (None, waiting.clone());
        }
        let (sender, receiver) = watch::channel(None);
        *next = Some(receiver.clone());
        (Some(sender), receiver)
    }

    async fn drive<F>(&self, round: watch::Sender<Option<T>>, ask: &impl Fn() -> F) -> T
    where
        F: Future<Output = T>,
    {
        let _turn = self.turn.lock().await;
        // From here on others wait for another round.
        let end = || self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        if !is_planted(Bug::RoundReused) {
            end();
        }
        #[cfg(test)]
        self.begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let answer = ask().await;
        if is_planted(Bug::RoundReused) {
            end();
        }
        round.send_replace(Some(answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use tokio::{task::JoinSet, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_caller_gets_a_round_that_began_after_it_asked() {
        let (rounds, clock) = (Arc::new(Rounds::default()), Arc::new(AtomicU64::new(0)));
        let mut all = JoinSet::new();
        for start in 0..100u64 {
            let (rounds, clock) = (rounds.clone(), clock.clone());
            all.spawn(async move {
                tokio::time::sleep(Duration::from_millis(start % 10)).await;
                let asked = clock.fetch_add(1, Ordering::SeqCst);
                let began = rounds
                    .join(|| async {
                        let began = clock.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(3)).await;
                        began
                    })
                    .await;
                assert!(began > asked, "round {began} began before {asked}");
            });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
        assert!(rounds.begun.load(Ordering::Relaxed) < 20, "rounds are shared");
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_whose_driver_gave_up_is_begun_by_another() {
        let rounds = Arc::new(Rounds::<u8>::default());
        let slow = rounds.clone();
        let first = tokio::spawn(async move { slow.join(std::future::pending::<u8>).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        let queued = rounds.clone();
        let second = tokio::spawn(async move { queued.join(std::future::pending::<u8>).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        let waiting = rounds.clone();
        let third = tokio::spawn(async move { waiting.join(|| async { 7 }).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        first.abort();
        second.abort();
        assert_eq!(third.await.unwrap(), 7);
    }
}
