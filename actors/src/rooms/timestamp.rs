//! Wall-clock time as messages carry it (spec §4.9.1).

use std::fmt;

/// Milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Shown for what has no end (spec §4.9.4 `MEMBER_MUTED`).
    pub const NEVER: Self = Self(253_402_300_799_999);

    /// The time now.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// So many milliseconds later; at most [`Timestamp::NEVER`].
    pub fn after(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis).min(Self::NEVER.0))
    }
}

impl fmt::Display for Timestamp {
    /// As JavaScript's `toISOString` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            // The calendar of jiff ends a day earlier.
            Err(_) => f.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_javascript_does() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_000_000_000_120, "2001-09-09T01:46:40.120Z"),
            (Timestamp::NEVER.0, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(millis).to_string(), text);
        }
        assert_eq!(Timestamp(1).after(i64::MAX), Timestamp::NEVER);
    }
}
