//! What extensions answer in a room: their texts, put together until they are complete.

use std::{collections::BTreeMap, sync::Arc};

use framing::{ByteString, json::quoted};

use super::{Effects, RoomState, Timestamp, chat::Answered};
use crate::{
    ids::{ClientId, RequestId},
    llm_router::{Delivery, RouteId},
};

/// The answers that are under way to one room.
#[derive(Debug, Default)]
pub(super) struct Answers {
    routes: BTreeMap<RouteId, Answer>,
    /// Bytes of text that are kept, and of the ids of outputs.
    bytes: usize,
    /// The bound for which text was left out since somebody looked.
    cut: Option<&'static str>,
}

/// What is kept of the answers that are under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerLimits {
    /// Bytes, of all answers to a room.
    pub(super) bytes: usize,
    /// Outputs of one answer; each becomes a message.
    pub(super) outputs: usize,
}

#[derive(Debug)]
struct Answer {
    request_id: RequestId,
    responder: ByteString,
    /// The room knows that it has begun.
    begun: bool,
    /// It has been counted: as an answer, or as a failure.
    counted: bool,
    /// Text of it was left out.
    cut: bool,
    /// Text of each output, in the order begun.
    outputs: Vec<(Arc<str>, String)>,
    /// Bytes of these.
    bytes: usize,
}

impl Answers {
    /// Takes a part of an answer. `limits` bound what is kept of it for history; the readers have had it all the
    /// same.
    pub(super) fn take(
        &mut self,
        room: &mut RoomState,
        route: RouteId,
        delivery: Delivery,
        limits: AnswerLimits,
        now: Timestamp,
    ) -> Effects {
        match delivery {
            Delivery::Opened { request_id, target } => {
                room.opened(request_id.as_str());
                self.routes.insert(route, Answer::new(request_id, &target));
            }
            Delivery::Text(part) => {
                if let Some(answer) =
                    self.routes.get_mut(&route).filter(|answer| !(answer.begun || answer.counted))
                {
                    answer.begun = true;
                    room.begun(answer.request_id.as_str());
                }
                // What comes behind a gap is no part of what is kept.
                if let Some(answer) = self.routes.get_mut(&route).filter(|answer| !answer.cut) {
                    let text = String::from_utf8_lossy(&part.text);
                    let before = answer.bytes;
                    let reached = answer.append(&part.info.output_id, &text, limits, self.bytes);
                    self.bytes += answer.bytes - before;
                    answer.cut = reached.is_some();
                    self.cut = reached.or(self.cut);
                }
            }
            Delivery::Message { payload, .. } => {
                if let Some(answer) = self.routes.get_mut(&route)
                    && let Ok(payload) = framing::json::RawJson::parse(payload, 64)
                {
                    let [data, output] = payload.fields(["data", "outputId"]);
                    let text = data.map_or_else(|| quoted(""), |data| data.as_str().to_owned());
                    let output = output.and_then(|id| id.as_text()).unwrap_or_default();
                    let counts = !std::mem::replace(&mut answer.counted, true);
                    return room.answered(&answer.of(&output, counts), &text, now);
                }
            }
            Delivery::Finished(_) => {
                let Some(answer) = self.close(route) else {
                    return Effects::default();
                };
                if !answer.counted {
                    room.begun(answer.request_id.as_str());
                }
                let mut effects = Effects::default();
                // However many outputs it had, it is one answer.
                let last = answer.outputs.len().checked_sub(1).filter(|_| !answer.counted);
                for (at, (output, text)) in answer.outputs.iter().enumerate() {
                    effects.join(room.answered(&answer.of(output, Some(at) == last), &quoted(text), now));
                }
                if last.is_none() && !answer.counted {
                    room.unanswered(answer.request_id.as_str());
                }
                return effects;
            }
            Delivery::Failed(_) => {
                if let Some(answer) = self.routes.get_mut(&route)
                    && !std::mem::replace(&mut answer.counted, true)
                {
                    room.unanswered(answer.request_id.as_str());
                }
            }
            // What was read of it stays: it becomes part of the answer.
            Delivery::StreamFailed { .. } => (),
            // Of requesters alone.
            Delivery::Fence => (),
        }
        Effects::default()
    }

    /// The bound for which text was left out of what is kept since this was asked last.
    pub(super) fn was_cut(&mut self) -> Option<&'static str> {
        std::mem::take(&mut self.cut)
    }

    /// The requests that are being answered; one of several targets, several times.
    pub(super) fn requests(&self) -> impl Iterator<Item = &RequestId> {
        self.routes.values().map(|answer| &answer.request_id)
    }

    fn close(&mut self, route: RouteId) -> Option<Answer> {
        let answer = self.routes.remove(&route)?;
        self.bytes -= answer.bytes;
        Some(answer)
    }
}

impl Answer {
    fn new(request_id: RequestId, responder: &ClientId) -> Self {
        Self {
            request_id,
            responder: responder.as_str().into(),
            begun: false,
            counted: false,
            cut: false,
            outputs: Vec::new(),
            bytes: 0,
        }
    }

    fn of<'a>(&'a self, output_id: &'a str, counts: bool) -> Answered<'a> {
        Answered { request_id: self.request_id.as_str(), responder: &self.responder, output_id, counts }
    }

    /// Keeps as much of a text as may be kept beside `kept` bytes. Returns the bound that the rest is beyond.
    fn append(
        &mut self,
        output: &Arc<str>,
        text: &str,
        limits: AnswerLimits,
        kept: usize,
    ) -> Option<&'static str> {
        let mut room_left = limits.bytes.saturating_sub(kept);
        let at = match self.outputs.iter().rposition(|(known, _)| known == output) {
            Some(at) => at,
            None if self.outputs.len() >= limits.outputs => return Some("limits.max_outputs"),
            None if output.len() > room_left => return Some(TOO_LONG),
            None => {
                self.outputs.push((output.clone(), String::new()));
                self.bytes += output.len();
                room_left -= output.len();
                self.outputs.len() - 1
            }
        };
        let fits = cut(text, room_left);
        if let Some((_, known)) = self.outputs.get_mut(at) {
            known.push_str(fits);
            self.bytes += fits.len();
        }
        (fits.len() < text.len()).then_some(TOO_LONG)
    }
}

const TOO_LONG: &str = "streams.max_output_bytes";

/// As much of a text as fits, whole characters only.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        llm_router::Failure,
        protocol::{MsgType, RequestMode, Role},
        rooms::{
            ChatRequest, Extensions,
            fixture::{caller, empty_room, room_limits},
        },
        stream::{StreamInfo, StreamText},
    };

    fn text(output: &str, text: &'static str) -> Delivery {
        let info = Arc::new(StreamInfo::new("s".into(), output.into(), "r".into()));
        Delivery::Text(StreamText {
            info,
            at: 0,
            text: bytes::Bytes::from_static(text.as_bytes()),
            end: true,
        })
    }

    const LIMITS: AnswerLimits = AnswerLimits { bytes: 1 << 20, outputs: 8 };

    #[test]
    fn an_answer_has_only_so_many_outputs() {
        let (mut answers, mut room) = (Answers::default(), empty_room(room_limits(100)));
        let route = RouteId(1);
        let mut take =
            |answers: &mut Answers, delivery| answers.take(&mut room, route, delivery, LIMITS, Timestamp(0));
        let (request_id, target) = (RequestId::new("r").unwrap(), ClientId::new("SillyTavern-1").unwrap());
        take(&mut answers, Delivery::Opened { request_id: request_id.clone(), target });
        for at in 0..10_000 {
            take(&mut answers, text(&format!("o{at}"), "x"));
            assert_eq!(answers.was_cut(), (at == 8).then_some("limits.max_outputs"));
        }
        assert_eq!(answers.bytes, 8 * 3, "ids are kept, too");
        let effects = take(&mut answers, Delivery::Finished(request_id));
        let said = effects.pushes.iter().filter(|push| push.event == MsgType::NewMessage).count();
        assert_eq!((said, answers.bytes), (8, 0));
    }

    /// Its socket may refuse what the router has sent there: too large, too many. Then nobody has read what guests had
    /// asked.
    #[test]
    fn what_guests_have_asked_waits_until_it_is_answered() {
        let target = ClientId::new("SillyTavern-1").unwrap();
        let failure =
            || Failure { request_id: RequestId::new("h").unwrap(), message: "too large".into(), error: None };
        let finished = || Delivery::Finished(RequestId::new("h").unwrap());
        for (heard, waits) in [
            (vec![Delivery::Failed(failure())], true),
            (vec![text("o", "x"), Delivery::Failed(failure())], false),
            (vec![finished()], false),
            (vec![text("o", "x"), finished()], false),
        ] {
            let (mut answers, mut room) = (Answers::default(), empty_room(room_limits(100)));
            let (host, guest) = (caller("app-a", true), caller("app-b", true));
            for (who, role) in [(&host, Role::Master), (&guest, Role::Guest)] {
                room.join(&who.identity, role, Timestamp(0), &mut Effects::default());
            }
            room.set_mode(&host, RequestMode::HostSubmit).unwrap();
            let extensions = Extensions { assigned: vec![target.clone()], ..Extensions::default() };
            for (who, id) in [(&guest, "g"), (&host, "h")] {
                let request = ChatRequest {
                    request_id: RequestId::new(id).unwrap(),
                    targets: Vec::new(),
                    payload: framing::json::RawJson::from_static("{\"message\":\"hi\"}"),
                };
                room.request(who, Some(request), &extensions, false, Timestamp(0)).unwrap();
            }
            assert!(room.queue.is_empty());
            let mut take = |delivery| answers.take(&mut room, RouteId(1), delivery, LIMITS, Timestamp(0));
            take(Delivery::Opened { request_id: RequestId::new("h").unwrap(), target: target.clone() });
            let described = format!("{heard:?}");
            heard.into_iter().for_each(|delivery| _ = take(delivery));
            assert_eq!((room.queue.len(), room.is_busy()), (usize::from(waits), false), "{described}");
        }
    }

    #[test]
    fn an_id_that_does_not_fit_is_not_kept() {
        let (mut answers, mut room) = (Answers::default(), empty_room(room_limits(100)));
        let mut take = |answers: &mut Answers, delivery| {
            let limits = AnswerLimits { bytes: 5, ..LIMITS };
            answers.take(&mut room, RouteId(1), delivery, limits, Timestamp(0))
        };
        let (request_id, target) = (RequestId::new("r").unwrap(), ClientId::new("SillyTavern-1").unwrap());
        take(&mut answers, Delivery::Opened { request_id, target });
        take(&mut answers, text("o1", "ab"));
        assert_eq!((answers.was_cut(), answers.bytes), (None, 4));
        take(&mut answers, text("o2", "c"));
        assert_eq!((answers.was_cut(), answers.bytes), (Some(TOO_LONG), 4));
    }
}
