//! One stream at one receiver.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::types::{StreamText, WireId};
use crate::stream::StreamInfo;
use crate::stream::text::TextBuffer;

/// Number of an entry; ascending in the order of creation, which is the order of announcement.
pub(super) type EntryId = u64;
/// Number of a lane.
pub(super) type LaneId = u64;

/// What later text is recognised by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// [`StreamInfo::key`].
    Stream(u64),
    /// All streams of an output, see [`OutputKey`].
    Output(OutputKey),
}

/// An output of a request; the ids of two extensions could be the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OutputKey {
    pub(super) output_id: Arc<str>,
    pub(super) request_id: Arc<str>,
}

impl OutputKey {
    pub(super) fn of(info: &StreamInfo) -> Self {
        Self { output_id: info.output_id.clone(), request_id: info.request_id.clone() }
    }
}

/// A stream whose text is a part of another entry's, and its length.
type Merged = (Arc<StreamInfo>, usize);

/// How far the announcement is.
///
/// ```text
/// Waiting ─► Probing ─► Unread ─► Open ─► Ended (ack outstanding) ─► gone
///        └───── one name ──┘
/// ```
#[derive(Debug)]
pub(super) enum Phase {
    /// Not announced.
    Waiting,
    /// Announced once per event name (by its place in the list); none was read.
    Probing(SmallVec<[(usize, WireId); 2]>),
    /// Announced, not read.
    Unread(WireId),
    /// Read at least once.
    Open(WireId),
    /// `$stream-end` or `$stream-error` is sent, the last ack is outstanding.
    Ended(WireId),
}

/// How the stream will end, once its text is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closing {
    /// Not yet known: more text may come.
    No,
    End,
    Error(Cow<'static, str>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) info: Arc<StreamInfo>,
    pub(super) lane: LaneId,
    /// Neighbours in the lane; an ended entry has left it.
    pub(super) prev: Option<EntryId>,
    pub(super) next: Option<EntryId>,
    pub(super) text: TextBuffer,
    /// The streams that were merged into it, and how much of the text is each one's: the last so many bytes. Most
    /// entries never have any.
    pub(super) merged: Vec<Merged>,
    pub(super) closing: Closing,
    pub(super) phase: Phase,
    /// A read that no write has answered yet.
    pub(super) permit: bool,
    /// A write of this stream waits for its ack: there is never more than one.
    pub(super) unacked: bool,
    pub(super) writes: u32,
    /// When it was announced, or else the last read or ack, or the last moment at which waiting
    /// was not the receiver's fault.
    pub(super) progress: Instant,
    /// The one entry in the timer set.
    pub(super) timer: Option<Instant>,
}

impl Entry {
    /// Takes in a neighbour: both are complete, and neither is announced.
    pub(super) fn merge(&mut self, mut other: Self) {
        let own = other.text.len() - other.merged_bytes();
        self.merged.push((other.info, own));
        self.merged.append(&mut other.merged);
        self.text.push(other.text.take_all());
    }

    fn merged_bytes(&self) -> usize {
        self.merged.iter().map(|(_, bytes)| bytes).sum()
    }

    /// What is left of it, stream by stream: whoever takes it over may have had some of them. What was merged left
    /// as one, or has not left at all.
    pub(super) fn into_texts(mut self) -> impl Iterator<Item = StreamText> {
        let merged = self.merged_bytes();
        let mut rest = self.text.take_all();
        let own = rest.len().saturating_sub(merged);
        let end = self.closing != Closing::No;
        let first = StreamText { text: rest.split_to(own), end, info: self.info };
        let merged = self.merged.into_iter().map(move |(info, bytes)| StreamText {
            text: rest.split_to(bytes.min(rest.len())),
            end,
            info,
        });
        std::iter::once(first).chain(merged).filter(|part| !part.text.is_empty())
    }

    /// A stream with its first text, not yet announced.
    pub(super) fn new(first: StreamText, lane: LaneId, now: Instant) -> Self {
        let mut text = TextBuffer::default();
        text.push(first.text);
        Self {
            info: first.info,
            lane,
            prev: None,
            next: None,
            text,
            merged: Vec::new(),
            closing: Closing::No,
            phase: Phase::Waiting,
            permit: false,
            unacked: false,
            writes: 0,
            progress: now,
            timer: None,
        }
    }

    /// Whether the receiver knows the stream and has not read it.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self.phase, Phase::Probing(_) | Phase::Unread(_))
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting)
    }

    /// The ids under which the receiver may know the stream.
    pub(super) fn wires(&self) -> SmallVec<[WireId; 2]> {
        match &self.phase {
            Phase::Waiting => SmallVec::new(),
            Phase::Probing(wires) => wires.iter().map(|(_, wire)| *wire).collect(),
            Phase::Unread(wire) | Phase::Open(wire) | Phase::Ended(wire) => SmallVec::from_slice(&[*wire]),
        }
    }
}
