//! What waits for one receiver, in order and within a bound.

use std::collections::{HashSet, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::{
    llm_router::Delivery,
    metrics::Metrics,
    stream::{StreamText, outbound::reason},
};

/// Each waiting part counts as this many bytes more than its text.
const PART_COST: usize = 256;

/// What waits, in order.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) parts: VecDeque<Delivery>,
    bytes: usize,
    /// Parts at the front that came back from a socket.
    returned: usize,
    /// Streams of which text was dropped; their rest is, too, until they end.
    failed: HashSet<u64>,
}

impl Lane {
    /// Queues a part. One that does not fit fails its stream for this receiver, once.
    pub(super) fn push(&mut self, delivery: Delivery, limit: usize, metrics: &Metrics) {
        if self.swallows(&delivery) {
            return;
        }
        if let Some(delivery) = self.push_whole(delivery, limit) {
            metrics.limit_reached("streams.max_waiting_bytes");
            self.overflow(delivery, limit, metrics);
        }
    }

    /// Whether a part belongs to a stream that has failed here.
    pub(super) fn swallows(&mut self, delivery: &Delivery) -> bool {
        match delivery {
            Delivery::Text(text) if text.end => self.failed.remove(&text.info.key),
            Delivery::Text(text) => self.failed.contains(&text.info.key),
            Delivery::StreamFailed { info, .. } => self.failed.remove(&info.key),
            Delivery::Opened { .. }
            | Delivery::Message { .. }
            | Delivery::Finished(_)
            | Delivery::Failed(_)
            | Delivery::Fence => false,
        }
    }

    /// The text does not fit. Notices may take as much room again.
    fn overflow(&mut self, delivery: Delivery, limit: usize, metrics: &Metrics) {
        let notice = match delivery {
            Delivery::Text(StreamText { info, end, .. }) => {
                metrics.streams_dropped.inc();
                if !end {
                    self.failed.insert(info.key);
                }
                Delivery::StreamFailed { info, reason: reason::TOO_SLOW }
            }
            other => other,
        };
        if self.bytes <= limit.saturating_mul(2) {
            self.bytes += cost(&notice);
            self.parts.push_back(notice);
        }
    }

    /// Gives the part back if it does not fit.
    fn push_whole(&mut self, delivery: Delivery, limit: usize) -> Option<Delivery> {
        // What came back may be followed by more of that.
        if self.parts.len() > self.returned
            && let (Delivery::Text(next), Some(Delivery::Text(last))) = (&delivery, self.parts.back_mut())
            && last.info.key == next.info.key
            && last.at + last.text.len() as u64 == next.at
            && !last.end
            && self.bytes + next.text.len() <= limit
        {
            self.bytes += next.text.len();
            last.text = joined(&last.text, &next.text);
            last.end = next.end;
            return None;
        }
        let cost = cost(&delivery);
        if self.bytes + cost > limit && !self.parts.is_empty() {
            return Some(delivery);
        }
        self.bytes += cost;
        self.parts.push_back(delivery);
        None
    }

    /// A part that came back: in front of what did not, and behind what did before; text from several sockets in its
    /// own order.
    pub(super) fn push_returned(&mut self, delivery: Delivery) {
        self.bytes += cost(&delivery);
        let place = |text: &StreamText| (text.info.turn.number(), text.at);
        let text = delivery.text().map(place);
        let is_later = |part: &&Delivery| text.is_some() && part.text().map(place) > text;
        let back = self.returned.min(self.parts.len());
        let later = self.parts.range(..back).rev().take_while(is_later).count();
        self.parts.insert(back - later, delivery);
        self.returned += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let part = self.parts.pop_front()?;
        self.returned = self.returned.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(cost(&part));
        Some(part)
    }

    pub(super) fn put_back(&mut self, delivery: Delivery) {
        self.bytes += cost(&delivery);
        self.parts.push_front(delivery);
    }
}

pub(super) fn cost(delivery: &Delivery) -> usize {
    PART_COST
        + match delivery {
            Delivery::Text(text) => text.text.len(),
            Delivery::Message { payload, .. } => payload.len(),
            Delivery::Opened { .. }
            | Delivery::StreamFailed { .. }
            | Delivery::Finished(_)
            | Delivery::Failed(_)
            | Delivery::Fence => 0,
        }
}

fn joined(first: &Bytes, second: &Bytes) -> Bytes {
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    both.freeze()
}
