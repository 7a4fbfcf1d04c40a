//! The deadlines of open requests (spec §5.9).

use std::{sync::atomic::Ordering, time::Instant};

use framing::ByteString;
use log::info;

use super::book::{Book, Route};

/// What is due for a route.
enum Due {
    /// Nothing came for a while after a stream had ended: the answer was complete.
    Idle,
    /// Its target shows no sign of life.
    TimedOut,
    /// Its target has been away for longer than the grace.
    TargetLost,
}

impl Book {
    /// Ends what is over. Returns how many requests failed.
    pub(super) fn sweep(&mut self, now: Instant) -> usize {
        self.close_all_read();
        let mut failed = 0;
        for id in self.in_order(|route| self.due(route, now).is_some()) {
            let Some(route) = self.routes.get(&id) else { continue };
            // One that ended before it may have ended this one.
            let Some(due) = self.due(route, now) else { continue };
            let failure = match due {
                Due::Idle => None,
                Due::TimedOut => {
                    Some(("LLM request timed out.", ByteString::from_static("LLM request timed out.")))
                }
                Due::TargetLost => {
                    let text = format!("Target client disconnected: {}", route.target);
                    Some(("Target client disconnected", ByteString::from(text)))
                }
            };
            if let Some((_, message)) = &failure {
                info!(request:% = route.request, target_id:% = route.target, message:%; "request failed");
                failed += 1;
            }
            self.complete(id, failure);
        }
        failed
    }

    fn due(&self, route: &Route, now: Instant) -> Option<Due> {
        if route.finished {
            return None;
        }
        if route.orphaned.is_some_and(|since| now.saturating_duration_since(since) >= self.limits.grace) {
            return Some(Due::TargetLost);
        }
        let millis = self.millis(now);
        let since = |mark: u64| millis.saturating_sub(mark);
        let last_event = route.state.last_event.load(Ordering::Relaxed);
        let idle = u64::try_from(self.limits.idle_timeout.as_millis()).unwrap_or(u64::MAX);
        if route.state.ended_once.load(Ordering::Relaxed) && since(last_event) >= idle {
            return Some(Due::Idle);
        }
        let activity = route
            .state
            .target_activity
            .load(Ordering::Relaxed)
            .max(self.millis(route.opened))
            .max(last_event);
        let timeout = u64::try_from(self.limits.request_timeout.as_millis()).unwrap_or(u64::MAX);
        (since(activity) >= timeout).then_some(Due::TimedOut)
    }
}
