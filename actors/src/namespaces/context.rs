//! The history of a room, sent in pages to whoever asks for it, or joins (spec §4.9.4).

use std::{collections::VecDeque, sync::Arc, time::Duration};

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
    rooms::{Command, InRoom, Page, Reply as RoomReply, RoomCommand, RoomRefusal},
    session::NoAnswer,
};

/// Time after which a history that could not be asked for, or be queued, is asked for again.
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

/// A history that is on its way to a socket.
#[derive(Clone)]
struct Update {
    id: String,
    ns: WireNamespace,
    key: SocketKey,
    room: RoomName,
    pages: Arc<[Page]>,
    /// How many of them were sent.
    sent: usize,
    /// No other follows.
    alone: bool,
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
        // A copy: it may be asked for again, and an id is not worth the packet in which it came.
        let since = since.map(|since| ByteString::from(&*since));
        let page = payload::present(object.get("page")).and_then(|page| page.as_u64());
        let wanted = Wanted { whole: socket.labels.whole_context && page.is_none(), page };
        let key = socket.key;
        let Some((room, ask)) = self.ask_context(ns, room, since.clone(), wanted) else {
            return;
        };
        let Some(supervisor) = self.directory.rooms.of(room.as_str()).cloned() else {
            return;
        };
        let (joined, later) = (ns.clone(), reply.clone());
        let outcome = cx.session().ask(&supervisor, ask, move |layer, session, outcome| {
            layer.with_handler(session, |broker, cx| {
                if broker.still(&joined, key) {
                    broker.answer_context(cx, &joined, (key, &later), &room, outcome, (wanted, since));
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
        let page = wanted.page.unwrap_or(1);
        let command = RoomCommand::Run(Command::Context { since, page_size, page });
        Some((room.clone(), InRoom { room, caller, command }))
    }

    fn answer_context(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ns: &WireNamespace,
        (key, reply): (SocketKey, &Reply),
        room: &RoomName,
        outcome: Result<Result<RoomReply, RoomRefusal>, NoAnswer>,
        (wanted, since): (Wanted, Option<ByteString>),
    ) {
        let (pages, first) = match outcome {
            Ok(Ok(RoomReply::Pages(pages, first))) => (pages, first),
            Ok(Err(refusal)) => return self.refuse(cx, ns, reply, &refusal.to_string()),
            Ok(Ok(_)) | Err(_) => return self.refuse(cx, ns, reply, BUSY),
        };
        let id = uuid::Uuid::new_v4().to_string();
        let ack = payloads::status_ok([("updateId", id.as_str().into()), ("totalPages", pages.len().into())]);
        self.ack_value(cx, ns, reply.ack, &ack);
        let (ns, room, pages) = (ns.clone(), room.clone(), pages.into());
        let update = Update { id, ns, key, room, pages, sent: 0, alone: wanted.page.is_some() };
        self.send_first(cx, update, first, (wanted, since));
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
                if let Ok(Ok(RoomReply::Pages(pages, first))) = outcome
                    && broker.still(&ns, key)
                    && !(own && first.as_deref() == Some("[]"))
                {
                    let id = uuid::Uuid::new_v4().to_string();
                    let update = Update { id, ns, key, room, pages: pages.into(), sent: 0, alone: false };
                    broker.send_first(cx, update, first, (wanted, None));
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

    /// Sends the page that was wanted first, and sees to the others.
    fn send_first(
        &mut self,
        cx: &mut Cx<'_, '_>,
        mut update: Update,
        first: Option<String>,
        (wanted, since): (Wanted, Option<ByteString>),
    ) {
        let Some(first) = first else {
            return;
        };
        if wanted.whole {
            if !has_room_for(cx, &first) {
                return ask_whole_later(cx, update, since);
            }
            let payload = format!("{{\"roomName\":{},\"context\":{first}}}", quoted(update.room.as_str()));
            return self.push(cx, &update.ns, MsgType::UpdateContext, &payload);
        }
        update.sent =
            wanted.page.map_or(0, |page| usize::try_from(page).unwrap_or(usize::MAX).saturating_sub(1));
        self.send_asked(cx, update, &first);
    }

    /// Asks anew for a whole history that had no room, rather than keep it for every reader.
    fn ask_whole(&self, cx: &mut Cx<'_, '_>, update: Update, since: Option<ByteString>) {
        if !self.still(&update.ns, update.key) {
            return;
        }
        let wanted = Wanted { whole: true, page: None };
        let asks = self.ask_context(&update.ns, update.room.clone(), since.clone(), wanted);
        let (Some((room, ask)), again) = (asks, (update.clone(), since.clone())) else {
            return;
        };
        let Some(supervisor) = self.directory.rooms.of(room.as_str()) else {
            return;
        };
        let asked = cx.session().ask(supervisor, ask, move |layer, session, outcome| {
            layer.with_handler(session, |broker, cx| match outcome {
                Ok(Ok(RoomReply::Pages(_, first))) if broker.still(&update.ns, update.key) => {
                    broker.send_first(cx, update, first, (wanted, since));
                }
                Err(_) | Ok(Err(RoomRefusal::Busy)) => ask_whole_later(cx, update, since),
                Ok(_) => (),
            });
            Ok(())
        });
        if asked.is_err() {
            ask_whole_later(cx, again.0, again.1);
        }
    }

    /// Sends a page, or asks for it again when there is room: a reader that was not told to read more slowly is not
    /// thrown out for it.
    fn send_asked(&self, cx: &mut Cx<'_, '_>, mut update: Update, page: &str) {
        if !has_room_for(cx, page) {
            return ask_page_after(cx, PATIENCE, update);
        }
        self.send_page(cx, &mut update, page);
        if !update.alone {
            self.send_later(cx, update);
        }
    }

    fn send_page(&self, cx: &mut Cx<'_, '_>, update: &mut Update, page: &str) {
        update.sent += 1;
        let (number, total) = (update.sent, update.pages.len());
        let payload = format!(
            "{{\"updateId\":{},\"roomName\":{},\"pageNumber\":{number},\"totalPages\":{total},\
             \"isLastPage\":{},\"contextPage\":{page}}}",
            quoted(&update.id),
            quoted(update.room.as_str()),
            number == total,
        );
        self.push(cx, &update.ns, MsgType::UpdateContextPage, &payload);
    }

    /// The next page after a pause (spec §2.1 `contextSendDelay`), so that a long history does not crowd out what is
    /// happening. It is asked for when it is due: a history that is on its way is not kept for each of its readers.
    fn send_later(&self, cx: &mut Cx<'_, '_>, update: Update) {
        if update.sent >= update.pages.len() {
            return;
        }
        let delay = self.directory.settings.load().context_send_delay;
        match delay.is_zero() {
            true => self.ask_page(cx, update),
            false => ask_page_after(cx, delay, update),
        }
    }

    fn ask_page(&self, cx: &mut Cx<'_, '_>, update: Update) {
        let Some(socket) = self.sockets.get(&update.ns).filter(|_| self.still(&update.ns, update.key)) else {
            return;
        };
        let page = update.pages.get(update.sent).copied();
        let (Some(page), Some(supervisor)) = (page, self.directory.rooms.of(update.room.as_str())) else {
            return;
        };
        let command = RoomCommand::Run(Command::Page(page));
        let ask = InRoom { room: update.room.clone(), caller: socket.room_caller(true), command };
        let again = update.clone();
        let asked = cx.session().ask(supervisor, ask, move |layer, session, outcome| {
            layer.with_handler(session, |broker, cx| match outcome {
                Ok(Ok(RoomReply::Page(page))) if broker.still(&update.ns, update.key) => {
                    broker.send_asked(cx, update, &page);
                }
                Err(_) | Ok(Err(RoomRefusal::Busy)) => ask_page_after(cx, PATIENCE, update),
                // It is in that room no longer, or there is none.
                Ok(_) => (),
            });
            Ok(())
        });
        if asked.is_err() {
            ask_page_after(cx, PATIENCE, again);
        }
    }
}

/// Whether a history fits behind what waits for the socket; the envelope is its name and numbers.
fn has_room_for(cx: &mut Cx<'_, '_>, history: &str) -> bool {
    const ENVELOPE: usize = 1024;
    cx.session().outbox().has_room_for(history.len() + ENVELOPE)
}

fn ask_whole_later(cx: &mut Cx<'_, '_>, update: Update, since: Option<ByteString>) {
    cx.session().later(PATIENCE, move |layer, session| {
        layer.with_handler(session, |broker, cx| broker.ask_whole(cx, update, since));
        Ok(())
    });
}

fn ask_page_after(cx: &mut Cx<'_, '_>, pause: Duration, update: Update) {
    cx.session().later(pause, move |layer, session| {
        layer.with_handler(session, |broker, cx| broker.ask_page(cx, update));
        Ok(())
    });
}
