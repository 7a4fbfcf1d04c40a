//! The last answers and failures that were said in one piece.

use std::collections::VecDeque;

use super::lane::cost;
use crate::llm_router::Delivery;

/// Within so many bytes as the caller says; the oldest are forgotten for newer ones.
#[derive(Debug, Default)]
pub(super) struct Wholes {
    parts: VecDeque<Delivery>,
    bytes: usize,
}

impl Wholes {
    /// Notes one.
    pub(super) fn push(&mut self, whole: Delivery, limit: usize) {
        self.bytes += cost(&whole);
        self.parts.push_back(whole);
        while self.bytes > limit
            && self.parts.len() > 1
            && let Some(oldest) = self.parts.pop_front()
        {
            self.bytes -= cost(&oldest);
        }
    }

    /// Whether it is one of them.
    pub(super) fn has(&self, delivery: &Delivery) -> bool {
        self.parts.iter().any(|whole| whole.is_same_whole(delivery))
    }

    /// All of them, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.parts.iter()
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RequestId;

    fn message(text: &str) -> Delivery {
        Delivery::Message { request_id: RequestId::new("r").unwrap(), payload: text.into() }
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_last_is_not() {
        let mut wholes = Wholes::default();
        let limit = 3 * cost(&message("1"));
        for text in ["1", "2", "3", "4"] {
            wholes.push(message(text), limit);
        }
        assert!(!wholes.has(&message("1")));
        assert!(["2", "3", "4"].iter().all(|text| wholes.has(&message(text))));
        wholes.push(message(&"x".repeat(2 * limit)), limit);
        assert_eq!(wholes.iter().count(), 1, "one alone may have any size");
        wholes.push(message("5"), limit);
        assert!(wholes.has(&message("5")) && wholes.iter().count() == 1);
        wholes.clear();
        assert_eq!((wholes.iter().count(), wholes.bytes), (0, 0));
    }
}
