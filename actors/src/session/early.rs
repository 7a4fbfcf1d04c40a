//! What a peer has sent to a namespace before its admission was known.

use std::collections::VecDeque;

use framing::socket::{Action, Event, Namespace};

/// The events of one namespace, in order.
#[derive(Default)]
pub(super) struct Early {
    events: VecDeque<Action>,
    bytes: usize,
}

impl Early {
    pub(super) fn push(&mut self, ns: Namespace, event: Event) {
        self.bytes += event.bytes();
        self.events.push_back(Action::Event { ns, event });
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> VecDeque<Action> {
        std::mem::take(self).events
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Bytes of their arguments and attachments.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
