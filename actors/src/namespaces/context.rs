//! The history of a room, sent in pages to whoever asks for it, or joins (spec §4.9.4).

use std::{collections::VecDeque, time::Duration};

use framing::{
    ByteString,
    json::quoted,
    socket::{Event, Namespace as WireNamespace},
};

use super::{
    Broker, Cx, Standing, payload,
    reply::{BUSY, Reply},
    rooms::room_field,
};
use crate::{
    ids::RoomName,
    protocol::{MsgType, payload as payloads},
    registry::SocketKey,
    rooms::{Command, InRoom, Reply as RoomReply, RoomCommand, RoomRefusal},
    session::NoAnswer,
};

/// Time after which a history that could not be asked for is asked for again.
const PATIENCE: Duration = Duration::from_millis(200);

/// The rooms whose history a socket is owed, each once: no more than it is in.
#[derive(Default)]
pub(super) struct Owed {
    rooms: VecDeque<(SocketKey, RoomName)>,
    /// One is being asked for.
    under_way: bool,
}

/// What of a room's history is wanted.
#[derive(Clone, Copy)]
struct Wanted {
    /// All in one event (`auth.contextMode: "full"`).
    whole: bool,
    /// That page only.
    page: Option<u64>,
}

impl Broker {
    /// `GET_FULL_CONTEXT`, `GET_OFFLINE_MESSAGES`: the history of a room, in pages, or whole for whoever
    /// declares `auth.contextMode: "full"` (spec §4.9.4).
    pub(super) fn context(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let Some(socket) = self.sockets.get(ns) else {
            return;
        };
        let reply = Reply::to(event);
        let Some(room) = room_field(event) else {
            return self.refuse(cx, ns, &reply, &RoomRefusal::RoomMissing.to_string());
        };
        let object = payload::object(event);
        let since = payload::text(payload::present(object.get("since")).as_ref());
        let page = payload::present(object.get("page")).and_then(|page| page.as_u64());
        let wanted = Wanted { whole: socket.labels.whole_context && page.is_none(), page };
        let key = socket.key;
        let Some((room, ask)) = self.ask_context(ns, room, since, wanted) else {
            return;
        };
        let Some(supervisor) = self.directory.rooms.of(room.as_str()).cloned() else {
            return;
        };
        let (joined, later) = (ns.clone(), reply.clone());
        let outcome = cx.session().ask(&supervisor, ask, move |layer, session, outcome| {
            layer.with_handler(session, |broker, cx| {
                if broker.still(&joined, key) {
                    broker.answer_context(cx, &joined, (key, &later), &room, outcome, wanted);
                }
            });
            Ok(())
        });
        self.asked(cx, ns, &reply, outcome);
    }

    fn ask_context(
        &self,
        ns: &WireNamespace,
        room: RoomName,
        since: Option<ByteString>,
        wanted: Wanted,
    ) -> Option<(RoomName, InRoom)> {
        let caller = self.sockets.get(ns)?.room_caller(true);
        let page_size = match wanted.whole {
            true => usize::MAX,
            false => self.directory.settings.load().context_page_size,
        };
        let command = RoomCommand::Run(Command::Context { since, page_size });
        Some((room.clone(), InRoom { room, caller, command }))
    }

    fn answer_context(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        (key, reply): (SocketKey, &Reply),
        room: &RoomName,
        outcome: Result<Result<RoomReply, RoomRefusal>, NoAnswer>,
        wanted: Wanted,
    ) {
        let pages = match outcome {
            Ok(Ok(RoomReply::Pages(pages))) => pages,
            Ok(Err(refusal)) => return self.refuse(cx, ns, reply, &refusal.to_string()),
            Ok(Ok(_)) | Err(_) => return self.refuse(cx, ns, reply, BUSY),
        };
        let id = uuid::Uuid::new_v4().to_string();
        let ack = payloads::status_ok([("updateId", id.as_str().into()), ("totalPages", pages.len().into())]);
        self.ack_value(cx, ns, reply.ack, &ack);
        self.send_pages(cx, ns, key, room, (&id, pages), wanted);
    }

    /// A socket has joined a room, or is back in it: it is sent what was written there.
    pub(super) fn joined_room(&mut self, cx: &mut Cx<'_, '_>, key: SocketKey, room: RoomName) {
        let owed = (key, room);
        if !self.owed.rooms.contains(&owed) {
            self.owed.rooms.push_back(owed);
        }
        self.send_owed(cx);
    }

    /// Sends the next history that is owed to a socket that has been admitted.
    pub(super) fn send_owed(&mut self, cx: &mut Cx<'_, '_>) {
        if self.owed.under_way {
            return;
        }
        let sockets = &self.sockets;
        let of = |key: SocketKey| sockets.iter().find(|(_, socket)| socket.key == key);
        self.owed.rooms.retain(|(key, _)| of(*key).is_some());
        let ready = |(key, _): &(SocketKey, RoomName)| {
            of(*key).is_some_and(|(_, socket)| socket.standing == Standing::Full)
        };
        let Some(owed) = self.owed.rooms.iter().position(ready).and_then(|at| self.owed.rooms.remove(at))
        else {
            return;
        };
        let (key, room) = owed.clone();
        let Some((ns, socket)) = of(key).map(|(ns, socket)| (ns.clone(), socket)) else {
            return;
        };
        let wanted = Wanted { whole: socket.labels.whole_context, page: None };
        // Everybody has a room of its own, and most write nothing there: that is no news.
        let own = room.as_str() == socket.identity.as_str();
        let Some((room, ask)) = self.ask_context(&ns, room, None, wanted) else {
            return;
        };
        let Some(supervisor) = self.directory.rooms.of(room.as_str()).cloned() else {
            return;
        };
        self.owed.under_way = true;
        let asked = cx.session().ask(&supervisor, ask, move |layer, session, outcome| {
            layer.with_handler(session, |broker, cx| {
                // It may have left the room, or the namespace, since.
                if let Ok(Ok(RoomReply::Pages(pages))) = outcome
                    && broker.still(&ns, key)
                    && !(own && pages.iter().all(|page| page == "[]"))
                {
                    let id = uuid::Uuid::new_v4().to_string();
                    broker.send_pages(cx, &ns, key, &room, (&id, pages), wanted);
                }
                broker.owed.under_way = false;
                broker.send_owed(cx);
            });
            Ok(())
        });
        if asked.is_err() {
            self.owed.rooms.push_front(owed);
            cx.session().later(PATIENCE, |layer, session| {
                layer.with_handler(session, |broker, cx| {
                    broker.owed.under_way = false;
                    broker.send_owed(cx);
                });
                Ok(())
            });
        }
    }

    fn send_pages(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        key: SocketKey,
        room: &RoomName,
        (id, pages): (&str, Vec<String>),
        wanted: Wanted,
    ) {
        if wanted.whole {
            for context in pages {
                let payload = format!("{{\"roomName\":{},\"context\":{context}}}", quoted(room.as_str()));
                self.push(cx, ns, MsgType::UpdateContext, &payload);
            }
            return;
        }
        let total = pages.len();
        let page = |(at, page): (usize, String)| {
            let number = at + 1;
            let payload = format!(
                "{{\"updateId\":{},\"roomName\":{},\"pageNumber\":{number},\"totalPages\":{total},\
                 \"isLastPage\":{},\"contextPage\":{page}}}",
                quoted(id),
                quoted(room.as_str()),
                number == total,
            );
            (number as u64, payload)
        };
        let asked_for = |(number, _): &(u64, String)| wanted.page.is_none_or(|only| only == *number);
        let mut pages = pages.into_iter().enumerate().map(page).filter(asked_for).map(|(_, payload)| payload);
        let delay = self.directory.settings.load().context_send_delay;
        if let Some(first) = pages.next() {
            self.push(cx, ns, MsgType::UpdateContextPage, &first);
        }
        self.send_later(cx, ns.clone(), key, pages.collect(), delay);
    }

    /// A page after a pause (spec §2.1 `contextSendDelay`), so that a long history does not crowd out what
    /// is happening.
    fn send_later(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: WireNamespace,
        key: SocketKey,
        mut pages: VecDeque<String>,
        delay: Duration,
    ) {
        if delay.is_zero() {
            for page in pages {
                self.push(cx, &ns, MsgType::UpdateContextPage, &page);
            }
            return;
        }
        let Some(next) = pages.pop_front() else {
            return;
        };
        cx.session().later(delay, move |layer, session| {
            layer.with_handler(session, |broker, cx| {
                if broker.still(&ns, key) {
                    broker.push(cx, &ns, MsgType::UpdateContextPage, &next);
                    broker.send_later(cx, ns, key, pages, delay);
                }
            });
            Ok(())
        });
    }
}
