//! Work in lanes: what is handed in for one key runs one after the other, in the order handed in; lanes do not
//! wait for each other. What a client asks without waiting for the answer must not overtake itself.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    future::Future,
    hash::Hash,
    rc::Rc,
    sync::Arc,
};

use futures::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::metrics::Metrics;

type Work = LocalBoxFuture<'static, ()>;

/// The lanes of one arbiter. Bounded: in all, and for each key.
pub(super) struct Lanes<K> {
    queues: Rc<RefCell<Queues<K>>>,
    max: usize,
    max_per_lane: usize,
    /// The setting behind the bounds, and where reaching one is counted.
    setting: &'static str,
    metrics: Arc<Metrics>,
}

struct Queues<K> {
    /// What waits behind the work that runs; a key without work has no lane.
    waiting: HashMap<K, VecDeque<Work>>,
    /// Work that runs or waits.
    len: usize,
}

impl<K: Clone + Eq + Hash + 'static> Lanes<K> {
    /// Lanes that hold `max` works in all and `max_per_lane` for one key, running ones included.
    pub(super) fn new(max: usize, max_per_lane: usize, setting: &'static str, metrics: Arc<Metrics>) -> Self {
        let queues = Rc::new(RefCell::new(Queues { waiting: HashMap::new(), len: 0 }));
        Self { queues, max: max.max(1), max_per_lane: max_per_lane.max(1), setting, metrics }
    }

    /// Whether nothing of this key runs or waits.
    pub(super) fn is_idle(&self, key: &K) -> bool {
        !self.queues.borrow().waiting.contains_key(key)
    }

    /// Runs the work in its turn, whether or not somebody waits for its result. `None` if the lanes are full;
    /// nothing is done then.
    pub(super) fn run<T: 'static>(
        &self,
        key: K,
        work: impl Future<Output = T> + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let mut queues = self.queues.borrow_mut();
        let in_lane = queues.waiting.get(&key).map_or(0, |waiting| waiting.len() + 1);
        if queues.len >= self.max || in_lane >= self.max_per_lane {
            self.metrics.limit_reached(self.setting);
            return None;
        }
        queues.len += 1;
        let (done, result) = oneshot::channel();
        let work: Work = Box::pin(async move {
            // Whoever asked may be gone.
            let _ = done.send(work.await);
        });
        match queues.waiting.get_mut(&key) {
            Some(waiting) => waiting.push_back(work),
            None => {
                queues.waiting.insert(key.clone(), VecDeque::new());
                actix::spawn(drive(Rc::clone(&self.queues), key, work));
            }
        }
        Some(result)
    }
}

/// Runs a lane until it is empty.
async fn drive<K: Eq + Hash>(queues: Rc<RefCell<Queues<K>>>, key: K, mut work: Work) {
    loop {
        work.await;
        let mut queues = queues.borrow_mut();
        queues.len -= 1;
        match queues.waiting.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(next) => work = next,
            None => {
                queues.waiting.remove(&key);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn one_lane_keeps_its_order_and_holds_up_no_other() {
        let lanes = Lanes::new(100, 100, "test", Arc::default());
        let order = Rc::new(RefCell::new(Vec::new()));
        let (open, closed) = oneshot::channel::<()>();
        let note = |text: &'static str| {
            let order = Rc::clone(&order);
            async move { order.borrow_mut().push(text) }
        };
        let first = note("first");
        let slow = lanes.run("a", async move {
            closed.await.unwrap();
            first.await;
        });
        let quick = lanes.run("a", note("second"));
        assert!(!lanes.is_idle(&"a") && lanes.is_idle(&"b"));
        lanes.run("b", note("other")).unwrap().await.unwrap();
        assert_eq!(*order.borrow(), ["other"]);
        open.send(()).unwrap();
        quick.unwrap().await.unwrap();
        slow.unwrap().await.unwrap();
        assert_eq!(*order.borrow(), ["other", "first", "second"]);
    }

    #[actix::test]
    async fn lanes_are_bounded_and_work_needs_nobody_to_wait() {
        let lanes = Lanes::new(3, 2, "test", Arc::default());
        let (open, closed) = oneshot::channel::<()>();
        let held = lanes.run('a', async { closed.await.unwrap() }).unwrap();
        drop(lanes.run('a', async {}).unwrap());
        assert!(lanes.run('a', async {}).is_none(), "the lane is full");
        let other = lanes.run('b', async {}).unwrap();
        assert!(lanes.run('c', async {}).is_none(), "all lanes are full");
        other.await.unwrap();
        open.send(()).unwrap();
        held.await.unwrap();
        lanes.run('a', async {}).unwrap().await.unwrap();
        // Whoever has its result finds the room that it took.
        assert!(lanes.is_idle(&'a') && lanes.queues.borrow().len == 0);
    }
}
