//! The two roles in an LLM request, and what they are told.
//!
//! A *requester* asks and is delivered to; a *target* answers. The router and the targets speak to
//! these roles through `Recipient`s, so a requester or a target need not be a Socket.IO session: the
//! demo is a target that lives in this process (spec §5.1 rule 5).

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use actix::prelude::*;
use framing::{ByteString, Bytes, json::RawJson};
use smallvec::SmallVec;

use crate::{
    ids::{ClientId, Identity, RequestId},
    protocol::RequestMode,
    registry::SocketKey,
    stream::{StreamInfo, StreamText, Unread},
};

/// One request at one of its targets. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u64);

/// Where an answer is delivered: one `/llm` socket of a requester.
#[derive(Clone, Debug)]
pub struct Peer {
    /// That socket. A delivery to a session whose `/llm` socket is another one is dropped.
    pub socket: SocketKey,
    /// Its session. Shared, not cloned: every clone of a `Recipient` may enter one message beyond the
    /// mailbox's bound (facts §3.2).
    pub deliver: Arc<Recipient<Deliver>>,
    /// An older socket of the same requester has not shown yet that it lives, and may give back text that stands before
    /// what comes: this one is given no text meanwhile, only what is whole.
    pub newcomer: bool,
}

impl Peer {
    /// One that is given everything.
    pub fn new(socket: SocketKey, deliver: Arc<Recipient<Deliver>>) -> Self {
        Self { socket, deliver, newcomer: false }
    }
}

/// All `/llm` sockets of a requester: one, but for those who have the same page open twice.
pub type Peers = SmallVec<[Peer; 1]>;

/// The party that asked: every `/llm` socket of one instance of one client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requester {
    /// The authenticated client.
    pub client: ClientId,
    /// Its instance; the client's id unless it declared one (spec §1.1).
    pub identity: Identity,
}

/// What the router reads of a route without asking its target, and the target writes without
/// telling the router.
#[derive(Debug)]
pub struct RouteState {
    /// Milliseconds on the router's clock of the last stream event or message of this route.
    pub last_event: AtomicU64,
    /// Streams that have started and not ended.
    pub open_streams: AtomicU32,
    /// At least one stream has ended.
    pub ended_once: AtomicBool,
    /// The request is over; the route stays for a requester that is away, or has text to read.
    pub finished: AtomicBool,
    /// Whether anybody still has text of its answer.
    pub unread: Unread,
    /// The same clock's last sign of life of the target, on any of its routes.
    pub target_activity: Arc<AtomicU64>,
}

impl RouteState {
    /// Notes a stream event or a message.
    pub fn touch(&self, now_millis: u64) {
        self.last_event.store(now_millis, Ordering::Relaxed);
        self.target_activity.store(now_millis, Ordering::Relaxed);
    }

    /// Whether a stream has ever started: it is open, or has ended.
    pub fn has_streamed(&self) -> bool {
        self.ended_once.load(Ordering::Relaxed) || self.open_streams.load(Ordering::Relaxed) > 0
    }

    /// Nothing more is taken for it.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    /// Whether the request is over.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    /// All its streams have ended: it no longer counts as pending (spec §5.9).
    pub fn is_quiet(&self) -> bool {
        self.ended_once.load(Ordering::Relaxed) && self.open_streams.load(Ordering::Relaxed) == 0
    }
}

/// A route as its target gets it.
#[derive(Clone, Debug)]
pub struct OpenedRoute {
    /// Its id.
    pub route: RouteId,
    /// The requester's id for the request.
    pub request_id: RequestId,
    /// Who is delivered to, with all live sockets. A requester without any is away.
    pub requesters: SmallVec<[(Requester, Peers); 1]>,
    /// The room in which the request was made: it gets everything, too.
    pub listener: Option<Peer>,
    /// Shared with the router.
    pub state: Arc<RouteState>,
}

/// A request as it is forwarded: the requester's object with `clientId` and `source` replaced.
#[derive(Clone, Debug)]
pub struct ForwardedRequest {
    /// The payload object; unknown fields, number texts and key order as they came.
    pub payload: RawJson,
    /// Its attachments.
    pub attachments: Vec<Bytes>,
    /// What targets of dialect 2 are told beside it, if it was made in a room.
    pub chat: Option<Arc<ChatContext>>,
}

/// What a target of dialect 2 is told beside a request (spec §4.9.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatContext {
    /// The room's mode.
    pub mode: RequestMode,
    /// `type`: a direct request, or an invitation to think, in a conversation.
    pub kind: Option<&'static str>,
    /// The room.
    pub room: ByteString,
    /// Who asks; none for an invitation.
    pub requester: Option<Identity>,
    /// All messages of the room, as a JSON array.
    pub context: ByteString,
    /// What an invitation says.
    pub instruction: Option<ByteString>,
}

/// Who else gets the answers to a request that was made in a room.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// The room's members, the asker among them or not.
    pub members: Vec<Requester>,
    /// The room itself.
    pub listener: Option<Peer>,
    /// The room asked by itself: whoever stands for the asker gets no answer for that.
    pub nobody_asked: bool,
}

/// Where a delivery comes from, and what could not be delivered goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The route.
    pub route: RouteId,
    /// The target's socket.
    pub holder: SocketKey,
}

/// The router to a target.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum ToTarget {
    /// A request to answer; the route is open from here on.
    Ask {
        /// The socket that is addressed.
        socket: SocketKey,
        /// Where the answer goes.
        route: OpenedRoute,
        /// What is asked.
        request: ForwardedRequest,
    },
    /// Routes that this target may answer, without the requests: those were forwarded to a socket that
    /// is gone. All in one, lest a reconnect fill the mailbox.
    Adopt {
        /// The socket that takes over.
        socket: SocketKey,
        /// Where the answers go.
        routes: Vec<OpenedRoute>,
    },
    /// The sockets of a requester have changed.
    Peers {
        /// The route.
        route: RouteId,
        /// Whose sockets.
        requester: Requester,
        /// All of them, now. Empty: it is away, or gone.
        peers: Peers,
        /// It will not come back: nothing is kept for it any more.
        gone: bool,
    },
    /// What a requester's socket took and could not write before it closed. It stands before what
    /// comes from now on (spec §5.5 rule 14).
    Returned {
        /// The route.
        route: RouteId,
        /// Whose.
        requester: Requester,
        /// The socket that is over.
        socket: SocketKey,
        /// In order.
        parts: Vec<Delivery>,
    },
    /// The request has failed: its open streams end as errors, and nothing more is taken for it.
    Fail {
        /// The route.
        route: RouteId,
        /// Shown to readers of its streams.
        reason: &'static str,
        /// Goes to everybody who asked, behind the text that they are still to get. One holder of a
        /// route is given it, the others are not.
        failure: Option<Failure>,
    },
    /// Nothing more is taken for the request: a room has its answer. The route stays for readers who are away, or have
    /// not read all of it.
    Complete {
        /// The route.
        route: RouteId,
    },
    /// The request is over; what still arrives for it is dropped.
    Close {
        /// The route.
        route: RouteId,
    },
}

/// A target or the router to a requester's session.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The socket that is meant.
    pub socket: SocketKey,
    /// The route that it comes by, and the target's socket at its other end.
    pub origin: Origin,
    /// What is delivered.
    pub delivery: Delivery,
}

/// One part of an answer.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A target was asked. Only a room is told so, before anything else of that route.
    Opened {
        /// The request.
        request_id: RequestId,
        /// Who answers it.
        target: ClientId,
    },
    /// Text of a stream, in order.
    Text(StreamText),
    /// A stream ends as an error.
    StreamFailed {
        /// The stream.
        info: Arc<StreamInfo>,
        /// Shown to the reader.
        reason: &'static str,
    },
    /// Nothing more comes for this request.
    Finished(RequestId),
    /// A complete, non-streamed answer (spec §5.8).
    Message {
        /// The request.
        request_id: RequestId,
        /// The payload of the `message` event.
        payload: ByteString,
    },
    /// The request failed (spec §5.9).
    Failed(Failure),
    /// Sent behind all that was sent to a socket that is over: it comes back like that, and behind it.
    Fence,
}

impl Delivery {
    /// If it is text.
    pub fn text(&self) -> Option<&StreamText> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether both are the same answer, or the same failure, in one piece.
    pub fn is_same_whole(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Message { payload, .. }, Self::Message { payload: other, .. }) => payload == other,
            (Self::Failed(failure), Self::Failed(other)) => failure.message == other.message,
            _ => false,
        }
    }

    /// An answer or a failure that comes in one piece. What was written of it to a connection that is dead does not
    /// come back, as text does.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Message { .. } | Self::Failed(_))
    }
}

/// Why a request failed, as its requester is told.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The request.
    pub request_id: RequestId,
    /// In words.
    pub message: ByteString,
    /// The extension's own `error` field, if it sent one.
    pub error: Option<RawJson>,
}

/// A target to the router: a route needs nothing more.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum RouteNotice {
    /// Its first output has begun, and the extension named the request.
    OutputStarted {
        /// The route.
        route: RouteId,
        /// The output.
        output_id: Arc<str>,
    },
    /// The target has answered in full, or has failed and said so.
    Completed {
        /// The route.
        route: RouteId,
    },
    /// The target cannot take the request.
    Refused {
        /// The route.
        route: RouteId,
        /// The target's socket.
        socket: SocketKey,
        /// What its requesters are told.
        message: &'static str,
    },
}
