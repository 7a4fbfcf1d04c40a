//! How much of a room is kept (spec appendix A).

/// Bounds of one room's messages; the oldest go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many.
    pub messages: usize,
    /// Bytes of their JSON together.
    pub bytes: usize,
}

impl Retention {
    /// Whether so many messages, of so many bytes, are too many. The newest one stays whatever its length.
    pub fn is_exceeded(&self, messages: usize, bytes: usize) -> bool {
        messages > 1 && (messages > self.messages || bytes > self.bytes)
    }

    /// The place of the last message that must go, if any must, for
    /// [`Change::MessagesTrimmed`](super::Change::MessagesTrimmed).
    ///
    /// `messages` and `bytes` are what the room has, `oldest_first` the place and length of each. Costs as
    /// much as there is to go.
    pub fn excess(
        &self,
        mut messages: usize,
        mut bytes: usize,
        oldest_first: impl IntoIterator<Item = (u64, usize)>,
    ) -> Option<u64> {
        let mut last = None;
        for (seq, length) in oldest_first {
            if !self.is_exceeded(messages, bytes) {
                break;
            }
            messages -= 1;
            bytes = bytes.saturating_sub(length);
            last = Some(seq);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_the_newest_stays() {
        for (messages, bytes, lengths, expected) in [
            (3, 100, vec![], None),
            (3, 100, vec![1, 1, 1], None),
            (3, 100, vec![1, 1, 1, 1], Some(1)),
            (3, 100, vec![1, 1, 1, 1, 1], Some(2)),
            (9, 10, vec![5, 5], None),
            (9, 10, vec![5, 5, 1], Some(1)),
            (9, 10, vec![5, 5, 10], Some(2)),
            (9, 10, vec![5, 11], Some(1)),
            (9, 10, vec![11], None),
            (0, 0, vec![1, 1], Some(1)),
        ] {
            let total = lengths.iter().sum();
            let oldest_first = (1..).zip(lengths.iter().copied());
            let found = Retention { messages, bytes }.excess(lengths.len(), total, oldest_first);
            assert_eq!(found, expected, "{messages} {bytes} {lengths:?}");
        }
    }
}
