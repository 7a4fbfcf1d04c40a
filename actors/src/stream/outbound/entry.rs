//! One stream at one receiver.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
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

/// Text of another stream, or of another place in this one, at the end of an entry's.
#[derive(Debug)]
struct Merged {
    info: Arc<StreamInfo>,
    at: u64,
    len: usize,
}

/// Bytes that wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waiting {
    pub(super) text: usize,
    /// In which it is noted where text that was merged comes from: small pieces need more for that than they are.
    sources: usize,
}

impl Waiting {
    pub(super) fn all(self) -> usize {
        self.text + self.sources
    }

    /// One part of it has changed.
    pub(super) fn change(&mut self, before: Self, after: Self) {
        self.text = self.text + after.text - before.text;
        self.sources = self.sources + after.sources - before.sources;
    }
}

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
    /// What is not written. So many bytes of it are of the entry's own stream, and stand there at `at`.
    pub(super) text: TextBuffer,
    own: usize,
    at: u64,
    /// Whose the rest is: most entries never have any.
    merged: VecDeque<Merged>,
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
        self.merged.push_back(Merged { info: other.info, at: other.at, len: other.own });
        self.merged.append(&mut other.merged);
        self.text.push(other.text.take_all());
    }

    /// Takes more text: of its own stream, or with [`StreamGrouping::Output`](super::StreamGrouping::Output) of another.
    pub(super) fn append(&mut self, info: Arc<StreamInfo>, at: u64, text: Bytes) {
        let len = text.len();
        match self.merged.back_mut() {
            None if info.key == self.info.key && at == self.at + self.own as u64 => self.own += len,
            Some(last) if info.key == last.info.key && at == last.at + last.len as u64 => last.len += len,
            _ => self.merged.push_back(Merged { info, at, len }),
        }
        self.text.push(text);
    }

    /// Takes what is written next, at most so many bytes.
    pub(super) fn take(&mut self, max: usize) -> Bytes {
        let chunk = self.text.take(max);
        let own = chunk.len().min(self.own);
        self.own -= own;
        self.at += own as u64;
        let mut others = chunk.len() - own;
        while let Some(mut merged) = if others > 0 { self.merged.pop_front() } else { None } {
            let len = merged.len.min(others);
            others -= len;
            merged.at += len as u64;
            merged.len -= len;
            if merged.len > 0 {
                self.merged.push_front(merged);
            }
        }
        chunk
    }

    /// What it counts as among all that waits.
    pub(super) fn waiting(&self) -> Waiting {
        Waiting { text: self.text.len(), sources: self.merged.len() * size_of::<Merged>() }
    }

    /// What is left of it, stream by stream: whoever takes it over may have had some of them.
    pub(super) fn into_texts(mut self) -> impl Iterator<Item = StreamText> {
        let own = Merged { info: self.info, at: self.at, len: self.own };
        let mut rest = self.text.take_all();
        let end = self.closing != Closing::No;
        let texts = std::iter::once(own).chain(self.merged);
        let texts = texts.map(move |Merged { info, at, len }| StreamText {
            text: rest.split_to(len.min(rest.len())),
            at,
            end,
            info,
        });
        texts.filter(|part| !part.text.is_empty())
    }

    /// A stream with its first text, not yet announced.
    pub(super) fn new(first: StreamText, lane: LaneId, now: Instant) -> Self {
        let own = first.text.len();
        let mut text = TextBuffer::default();
        text.push(first.text);
        Self {
            info: first.info,
            lane,
            prev: None,
            next: None,
            text,
            own,
            at: first.at,
            merged: VecDeque::new(),
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
