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
    /// Bytes of text that are kept.
    bytes: usize,
    /// Text was left out since somebody looked.
    cut: bool,
}

#[derive(Debug)]
struct Answer {
    request_id: RequestId,
    responder: ByteString,
    /// It has been counted: as an answer, or as a failure.
    counted: bool,
    /// Text of it was left out.
    cut: bool,
    /// Text of each output, in the order begun.
    outputs: Vec<(Arc<str>, String)>,
}

impl Answers {
    /// Takes a part of an answer. `max_bytes` bounds the text that is kept for history; the readers have
    /// had it all the same.
    pub(super) fn take(
        &mut self,
        room: &mut RoomState,
        route: RouteId,
        delivery: Delivery,
        max_bytes: usize,
        now: Timestamp,
    ) -> Effects {
        match delivery {
            Delivery::Opened { request_id, target } => {
                room.opened(request_id.as_str());
                self.routes.insert(route, Answer::new(request_id, &target));
            }
            Delivery::Text(part) => {
                // What comes behind a gap is no part of what is kept.
                if let Some(answer) = self.routes.get_mut(&route).filter(|answer| !answer.cut) {
                    let text = String::from_utf8_lossy(&part.text);
                    let room_left = max_bytes.saturating_sub(self.bytes);
                    let fits = cut(&text, room_left);
                    answer.cut = fits.len() < text.len();
                    self.cut |= answer.cut;
                    self.bytes += fits.len();
                    answer.append(&part.info.output_id, fits);
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
        }
        Effects::default()
    }

    /// Whether text was left out of what is kept since this was asked last.
    pub(super) fn was_cut(&mut self) -> bool {
        std::mem::take(&mut self.cut)
    }

    /// The requests that are being answered; one of several targets, several times.
    pub(super) fn requests(&self) -> impl Iterator<Item = &RequestId> {
        self.routes.values().map(|answer| &answer.request_id)
    }

    fn close(&mut self, route: RouteId) -> Option<Answer> {
        let answer = self.routes.remove(&route)?;
        self.bytes -= answer.outputs.iter().map(|(_, text)| text.len()).sum::<usize>();
        Some(answer)
    }
}

impl Answer {
    fn new(request_id: RequestId, responder: &ClientId) -> Self {
        Self {
            request_id,
            responder: responder.as_str().into(),
            counted: false,
            cut: false,
            outputs: Vec::new(),
        }
    }

    fn of<'a>(&'a self, output_id: &'a str, counts: bool) -> Answered<'a> {
        Answered { request_id: self.request_id.as_str(), responder: &self.responder, output_id, counts }
    }

    fn append(&mut self, output: &Arc<str>, text: &str) {
        match self.outputs.iter_mut().rev().find(|(known, _)| known == output) {
            Some((_, known)) => known.push_str(text),
            None => self.outputs.push((output.clone(), text.to_owned())),
        }
    }
}

/// As much of a text as fits, whole characters only.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
