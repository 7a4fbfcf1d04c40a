//! What the streams of one output share: a character whose halves came in different streams.

use crate::maps::FastMap;
use std::sync::Arc;

use framing::json::SurrogateJoiner;

use crate::stream::StreamInfo;

/// The first half of a character, left by a stream that has ended.
#[derive(Debug)]
pub(super) struct Carry<R> {
    pub(super) joiner: SurrogateJoiner,
    pub(super) info: Arc<StreamInfo>,
    pub(super) route: R,
}

#[derive(Debug)]
pub(super) struct Output<R> {
    /// Open streams of this output.
    pub(super) open: usize,
    /// Those of them that have had text.
    pub(super) begun: usize,
    /// Bytes that they keep together.
    pub(super) bytes: usize,
    pub(super) carry: Option<Carry<R>>,
    /// No stream will follow the open ones.
    pub(super) finished: bool,
}

/// Outputs with an open stream or a carry; all others need no state.
#[derive(Debug)]
pub(super) struct Outputs<R> {
    map: FastMap<Arc<str>, Output<R>>,
}

impl<R> Outputs<R> {
    pub(super) fn new() -> Self {
        Self { map: FastMap::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn get(&self, output_id: &str) -> Option<&Output<R>> {
        self.map.get(output_id)
    }

    pub(super) fn get_mut(&mut self, output_id: &str) -> Option<&mut Output<R>> {
        self.map.get_mut(output_id)
    }

    /// Counts a new stream.
    pub(super) fn open(&mut self, output_id: &Arc<str>) {
        let output = self.map.entry(output_id.clone()).or_insert_with(|| Output {
            open: 0,
            begun: 0,
            bytes: 0,
            carry: None,
            finished: false,
        });
        output.open += 1;
    }

    /// Forgets the output if nothing of it is left.
    pub(super) fn forget_if_over(&mut self, output_id: &str) {
        if self.get(output_id).is_some_and(|output| output.open == 0 && output.carry.is_none()) {
            self.map.remove(output_id);
        }
    }

    /// Forgets all carries whose route is selected.
    pub(super) fn drop_carries(&mut self, selected: impl Fn(&R) -> bool) {
        self.map.retain(|_, output| {
            if output.carry.as_ref().is_some_and(|carry| selected(&carry.route)) {
                output.carry = None;
            }
            output.open > 0 || output.carry.is_some()
        });
    }

    /// The id of the output whose carry is the oldest, among those without open streams.
    pub(super) fn oldest_waiting(&self) -> Option<Arc<str>> {
        let waiting = self.map.iter().filter(|(_, output)| output.open == 0);
        let keyed = waiting.filter_map(|(id, output)| Some((output.carry.as_ref()?.info.key, id)));
        keyed.min_by_key(|(key, _)| *key).map(|(_, id)| id.clone())
    }
}
