//! Password hashing off the event path, in bounded number (spec §8.1 8-53).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// In whose queue a hash waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Ordinary peers.
    Regular,
    /// Peers that are banned: their key may yet be right, but they wait for each other.
    Penalty,
}

/// Too many hashes wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many password checks wait")]
pub struct Busy;

#[derive(Debug)]
struct Queue {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
}

/// Runs hashes on the blocking pool.
#[derive(Debug)]
pub struct HashPool {
    metrics: Arc<Metrics>,
    all: Queue,
    penalty: Queue,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    fn new(slots: usize, max_waiting: usize) -> Self {
        let slots = Arc::new(Semaphore::new(slots));
        Self { slots, waiting: AtomicUsize::new(0), max_waiting }
    }

    async fn enter(&self, metrics: &Metrics) -> Result<tokio::sync::OwnedSemaphorePermit, Busy> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(permit);
        }
        metrics.limit_reached("trust.max_concurrent_hashes");
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.max_waiting {
            return Err(Busy);
        }
        Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Busy)
    }
}

impl HashPool {
    /// Computes `concurrent` hashes at once and lets `max_waiting` wait; of the banned, one and an eighth.
    pub fn new(concurrent: usize, max_waiting: usize, metrics: Arc<Metrics>) -> Self {
        let all = Queue::new(concurrent.max(1), max_waiting);
        Self { metrics, all, penalty: Queue::new(1, max_waiting / 8) }
    }

    /// Waits for a slot and runs the work on the blocking pool. The slot stays taken until the work ends,
    /// even if nobody waits for the answer any more.
    pub async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let penalty = match lane {
            Lane::Penalty => Some(self.penalty.enter(&self.metrics).await?),
            Lane::Regular => None,
        };
        let slot = self.all.enter(&self.metrics).await?;
        let held = (slot, penalty);
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(held);
            result
        });
        task.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn gate() -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
        mpsc::channel()
    }

    #[tokio::test]
    async fn defect_8_53_waiting_is_bounded() {
        let pool = Arc::new(HashPool::new(1, 1, Arc::default()));
        let (open, closed) = gate();
        let mut running = Box::pin(pool.run(Lane::Regular, move || closed.recv().is_ok()));
        assert!(futures::poll!(&mut running).is_pending());
        let mut waiting = Box::pin(pool.run(Lane::Regular, || true));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(pool.run(Lane::Regular, || true).await, Err(Busy));
        open.send(()).unwrap();
        assert_eq!(running.await, Ok(true));
        assert_eq!(waiting.await, Ok(true));
        assert_eq!(pool.run(Lane::Regular, || true).await, Ok(true));
    }

    #[tokio::test]
    async fn the_banned_leave_room_for_others() {
        let pool = HashPool::new(2, 8, Arc::default());
        let (open, closed) = gate();
        let mut banned = Box::pin(pool.run(Lane::Penalty, move || closed.recv().is_ok()));
        assert!(futures::poll!(&mut banned).is_pending());
        let mut second = Box::pin(pool.run(Lane::Penalty, || true));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(pool.run(Lane::Penalty, || true).await, Err(Busy));
        assert_eq!(pool.run(Lane::Regular, || true).await, Ok(true));
        open.send(()).unwrap();
        assert_eq!(banned.await, Ok(true));
        assert_eq!(second.await, Ok(true));
    }
}
