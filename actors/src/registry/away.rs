//! Who has left and may come back within the grace (spec §3.8): one bounded list, one sweep.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::llm_router::Requester;

/// The number of a departure: later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Departure(u64);

/// Instances without a socket, the one that left first in front. The grace is a parameter of each question:
/// the settings file may change while somebody is away.
#[derive(Debug, Default)]
pub(super) struct Away {
    next: u64,
    left: BTreeMap<Departure, (Instant, Requester)>,
}

impl Away {
    /// The last socket of an instance has closed.
    pub(super) fn leave(&mut self, who: Requester, now: Instant) -> Departure {
        let departure = Departure(self.next);
        self.next += 1;
        self.left.insert(departure, (now, who));
        departure
    }

    /// It is back, or given up.
    pub(super) fn forget(&mut self, departure: Departure) {
        self.left.remove(&departure);
    }

    /// Whoever left first, if that is longer ago than the grace.
    pub(super) fn overdue(&self, grace: Duration, now: Instant) -> Option<Requester> {
        let (since, who) = self.left.first_key_value()?.1;
        (now.saturating_duration_since(*since) >= grace).then(|| who.clone())
    }

    /// Time until somebody is overdue.
    pub(super) fn until_due(&self, grace: Duration, now: Instant) -> Option<Duration> {
        let (since, _) = self.left.first_key_value()?.1;
        Some(grace.saturating_sub(now.saturating_duration_since(*since)))
    }

    /// Whoever has been away longest.
    pub(super) fn longest(&self) -> Option<Requester> {
        Some(self.left.first_key_value()?.1.1.clone())
    }

    pub(super) fn len(&self) -> usize {
        self.left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClientId, Identity};

    fn who(id: &str) -> Requester {
        let client = ClientId::new(id).unwrap();
        Requester { identity: Identity::from(client.clone()), client }
    }

    #[test]
    fn whoever_left_first_is_due_first_under_the_grace_of_now() {
        let (mut away, start) = (Away::default(), Instant::now());
        let second = Duration::from_secs(1);
        let a = away.leave(who("a"), start);
        away.leave(who("b"), start + second);
        assert_eq!(away.overdue(5 * second, start + 4 * second), None);
        assert_eq!(away.until_due(5 * second, start + 4 * second), Some(second));
        // A shorter grace holds for those who have left already, and so does a longer one.
        assert_eq!(away.overdue(2 * second, start + 4 * second), Some(who("a")));
        assert_eq!(away.until_due(9 * second, start + 4 * second), Some(5 * second));
        away.forget(a);
        assert_eq!(away.overdue(2 * second, start + 4 * second), Some(who("b")));
        assert_eq!(away.longest(), Some(who("b")));
        assert_eq!(away.len(), 1);
    }
}
