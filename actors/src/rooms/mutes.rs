//! Who may not write, in no room (Q15). Shared by all rooms: a mute that one of them imposes holds in
//! the others at once.

use std::collections::HashMap;

use parking_lot::RwLock;

use super::Timestamp;
use crate::ids::Identity;

/// See the module's documentation.
#[derive(Debug)]
pub struct Mutes {
    until: RwLock<HashMap<Identity, Timestamp>>,
    max: usize,
}

/// As many as may be are muted (`rooms.max_mutes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyMutes;

impl Mutes {
    /// Nobody is muted yet.
    pub fn new(max: usize) -> Self {
        Self { until: RwLock::default(), max }
    }

    /// Whether somebody may not write now.
    pub fn is_muted(&self, identity: &str, now: Timestamp) -> bool {
        self.until.read().get(identity).is_some_and(|until| *until > now)
    }

    /// Mutes somebody until then; none: for ever.
    ///
    /// # Errors
    /// There are as many as may be.
    pub fn mute(
        &self,
        identity: &Identity,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), TooManyMutes> {
        let mut muted = self.until.write();
        if muted.len() >= self.max && !muted.contains_key(identity) {
            muted.retain(|_, until| *until > now);
            if muted.len() >= self.max {
                return Err(TooManyMutes);
            }
        }
        muted.insert(identity.clone(), until.unwrap_or(Timestamp::NEVER));
        Ok(())
    }

    /// Lets somebody write again. Whether it was muted.
    pub fn unmute(&self, identity: &str, now: Timestamp) -> bool {
        self.until.write().remove(identity).is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mute_ends_by_time_or_by_word_and_the_number_is_bounded() {
        let id = |text: &str| Identity::new(text).unwrap();
        let (mutes, at) = (Mutes::new(2), Timestamp(10));
        assert_eq!(mutes.mute(&id("kept"), None, Timestamp(0)), Ok(()));
        assert_eq!(mutes.mute(&id("over"), Some(Timestamp(5)), Timestamp(0)), Ok(()));
        assert!(mutes.is_muted("kept", at) && !mutes.is_muted("over", at) && !mutes.is_muted("else", at));
        assert_eq!(mutes.mute(&id("a"), Some(Timestamp(20)), at), Ok(()), "the one that is over makes room");
        assert_eq!(mutes.mute(&id("b"), None, at), Err(TooManyMutes));
        assert_eq!(mutes.mute(&id("a"), Some(Timestamp(30)), at), Ok(()));
        assert!(mutes.is_muted("a", Timestamp(29)) && !mutes.is_muted("a", Timestamp(30)));
        assert!(mutes.unmute("kept", at) && !mutes.unmute("kept", at));
    }
}
