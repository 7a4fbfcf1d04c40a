//! The brake on guessing: attempts per (address, client) (spec §3.2, appendix A).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::ids::ClientId;

const WINDOW: Duration = Duration::from_secs(60);

/// Who is counted: an address, or the /64 that an IPv6 peer can choose from, and the id it tries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Suspect {
    addr: IpAddr,
    client_id: ClientId,
}

impl Suspect {
    /// The pair for a peer.
    pub fn new(addr: IpAddr, client_id: &ClientId) -> Self {
        let addr = match addr.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
            v4 => v4,
        };
        Self { addr, client_id: client_id.clone() }
    }
}

#[derive(Debug, Default)]
struct Record {
    /// Counted attempts, oldest first, never more than the limit.
    counted: VecDeque<Instant>,
    /// Attempts under way: they count until their result is known, so that many at once gain nothing.
    in_flight: u32,
    banned_until: Option<Instant>,
}

/// A bounded table of suspects. Time is a parameter.
///
/// ```text
///   begin ──► in flight ──► counted ──(limit within a minute)──► banned ──(ban over)──► forgotten
///                      └──► excused
/// ```
#[derive(Debug)]
pub struct Throttle {
    limit: u32,
    ban: Duration,
    capacity: usize,
    records: HashMap<Suspect, Record>,
    order: VecDeque<Suspect>,
}

impl Throttle {
    /// Allows `limit` counted attempts a minute, then bans for `ban`; with a zero ban the minute alone limits.
    /// Beyond `capacity` suspects the one seen first is forgotten.
    pub fn new(limit: u32, ban: Duration, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { limit, ban, capacity, records: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether the suspect is over its limit now.
    pub fn is_limited(&mut self, suspect: &Suspect, now: Instant) -> bool {
        let (limit, window) = (self.limit, WINDOW);
        let Some(record) = self.records.get_mut(suspect) else {
            return limit == 0;
        };
        record.expire(now, window);
        record.banned_until.is_some() || record.counted.len() + record.in_flight as usize >= limit as usize
    }

    /// Notes an attempt under way; end it with [`Throttle::count`] or [`Throttle::excuse`]. True if the
    /// suspect seen first was forgotten for it.
    pub fn begin(&mut self, suspect: &Suspect) -> bool {
        if let Some(record) = self.records.get_mut(suspect) {
            record.in_flight += 1;
            return false;
        }
        let oldest = if self.records.len() >= self.capacity { self.order.pop_front() } else { None };
        if let Some(oldest) = &oldest {
            self.records.remove(oldest);
        }
        self.order.push_back(suspect.clone());
        self.records.insert(suspect.clone(), Record { in_flight: 1, ..Record::default() });
        oldest.is_some()
    }

    /// Ends an attempt that counts.
    pub fn count(&mut self, suspect: &Suspect, now: Instant) {
        let Some(record) = self.records.get_mut(suspect) else {
            return;
        };
        record.in_flight = record.in_flight.saturating_sub(1);
        record.expire(now, WINDOW);
        if record.banned_until.is_some() {
            return;
        }
        record.counted.push_back(now);
        if record.counted.len() >= self.limit as usize && !self.ban.is_zero() {
            record.counted.clear();
            record.banned_until = Some(now + self.ban);
        }
        while record.counted.len() > self.limit as usize {
            record.counted.pop_front();
        }
    }

    /// Ends an attempt that does not count.
    pub fn excuse(&mut self, suspect: &Suspect) {
        if let Some(record) = self.records.get_mut(suspect) {
            record.in_flight = record.in_flight.saturating_sub(1);
            if record.in_flight == 0 && record.counted.is_empty() && record.banned_until.is_none() {
                self.records.remove(suspect);
                self.order.retain(|other| other != suspect);
            }
        }
    }

    /// Number of suspects remembered.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Record {
    fn expire(&mut self, now: Instant, window: Duration) {
        if self.banned_until.is_some_and(|until| now >= until) {
            self.banned_until = None;
        }
        while self.counted.front().is_some_and(|at| now.saturating_duration_since(*at) >= window) {
            self.counted.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn suspect(addr: &str, id: &str) -> Suspect {
        Suspect::new(addr.parse().unwrap(), &ClientId::new(id).unwrap())
    }

    fn fail(throttle: &mut Throttle, who: &Suspect, now: Instant) {
        throttle.begin(who);
        throttle.count(who, now);
    }

    #[test]
    fn ten_failures_a_minute_then_sixty_seconds() {
        let mut throttle = Throttle::new(10, Duration::from_secs(60), 100);
        let (who, start) = (suspect("192.0.2.1", "a"), Instant::now());
        for i in 0..10 {
            assert!(!throttle.is_limited(&who, start + Duration::from_secs(i)));
            fail(&mut throttle, &who, start + Duration::from_secs(i));
        }
        let banned = start + Duration::from_secs(9);
        assert!(throttle.is_limited(&who, banned));
        fail(&mut throttle, &who, banned + Duration::from_secs(30));
        assert!(throttle.is_limited(&who, banned + Duration::from_secs(59)));
        assert!(!throttle.is_limited(&who, banned + Duration::from_secs(60)), "not prolonged");
        assert!(!throttle.is_limited(&suspect("192.0.2.1", "b"), banned));
        assert!(!throttle.is_limited(&suspect("192.0.2.2", "a"), banned));
    }

    #[test]
    fn slow_failures_do_not_add_up() {
        let mut throttle = Throttle::new(10, Duration::from_secs(60), 100);
        let (who, start) = (suspect("192.0.2.1", "a"), Instant::now());
        for i in 0..100 {
            let now = start + Duration::from_secs(7 * i);
            assert!(!throttle.is_limited(&who, now), "{i}");
            fail(&mut throttle, &who, now);
        }
    }

    #[test]
    fn attempts_under_way_count_until_excused() {
        let mut throttle = Throttle::new(3, Duration::from_secs(60), 100);
        let (who, now) = (suspect("192.0.2.1", "a"), Instant::now());
        for _ in 0..3 {
            assert!(!throttle.is_limited(&who, now));
            throttle.begin(&who);
        }
        assert!(throttle.is_limited(&who, now));
        for _ in 0..3 {
            throttle.excuse(&who);
        }
        assert!(!throttle.is_limited(&who, now));
        assert!(throttle.is_empty());
    }

    #[test]
    fn without_a_ban_the_minute_limits() {
        let mut throttle = Throttle::new(5, Duration::ZERO, 100);
        let (who, start) = (suspect("192.0.2.1", "a"), Instant::now());
        for _ in 0..5 {
            fail(&mut throttle, &who, start);
        }
        assert!(throttle.is_limited(&who, start + Duration::from_secs(59)));
        assert!(!throttle.is_limited(&who, start + Duration::from_secs(60)));
    }

    #[test]
    fn one_ipv6_network_is_one_suspect_and_mapped_addresses_are_ipv4() {
        assert_eq!(suspect("2001:db8::1", "a"), suspect("2001:db8::ffff:1", "a"));
        assert_ne!(suspect("2001:db8::1", "a"), suspect("2001:db8:0:1::1", "a"));
        assert_eq!(suspect("::ffff:192.0.2.1", "a"), suspect("192.0.2.1", "a"));
    }

    proptest! {
        #[test]
        fn the_table_never_grows_beyond_its_capacity(
            steps in prop::collection::vec((0..20_u8, 0..3_u8), 0..300)
        ) {
            let mut throttle = Throttle::new(3, Duration::from_secs(60), 5);
            let now = Instant::now();
            for (host, step) in steps {
                let who = suspect(&format!("192.0.2.{host}"), "a");
                match step {
                    0 => _ = throttle.begin(&who),
                    1 => throttle.count(&who, now),
                    _ => throttle.excuse(&who),
                }
                prop_assert!(throttle.len() <= 5);
                prop_assert_eq!(throttle.len(), throttle.order.len());
            }
        }
    }
}
