//! What extensions answer in a room: their texts, put together until they are complete.

use std::collections::BTreeMap;

use framing::{ByteString, json::quoted};

use super::{Effects, RoomState, Timestamp};
use crate::{
    ids::ClientId,
    llm_router::{Delivery, RouteId},
};

/// The answers that are under way to one room.
#[derive(Debug, Default)]
pub(super) struct Answers {
    routes: BTreeMap<RouteId, Answer>,
    /// Bytes of text that are kept.
    bytes: usize,
}

#[derive(Debug)]
struct Answer {
    request_id: ByteString,
    responder: ByteString,
    /// Text of each output, in the order begun.
    outputs: Vec<(ByteString, String)>,
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
                self.routes.insert(route, Answer::new(request_id.as_str(), &target));
            }
            Delivery::Text(part) => {
                if let Some(answer) = self.routes.get_mut(&route) {
                    let text = String::from_utf8_lossy(&part.text);
                    let room_left = max_bytes.saturating_sub(self.bytes);
                    let fits = cut(&text, room_left);
                    self.bytes += fits.len();
                    answer.append(&part.info.output_id, fits);
                }
            }
            Delivery::Message { payload, .. } => {
                if let Some(answer) = self.routes.get(&route)
                    && let Ok(payload) = framing::json::RawJson::parse(payload, 64)
                {
                    let [data, output] = payload.fields(["data", "outputId"]);
                    let text = data.map_or_else(|| quoted(""), |data| data.as_str().to_owned());
                    let output = output.and_then(|id| Some(id.as_js_string()?.to_text())).unwrap_or_default();
                    return room.answered(&answer.request_id, &answer.responder, &output, &text, now);
                }
            }
            Delivery::Finished(_) => {
                let Some(answer) = self.close(route) else {
                    return Effects::default();
                };
                let mut effects = Effects::default();
                for (output, text) in &answer.outputs {
                    let text = quoted(text);
                    effects.join(room.answered(&answer.request_id, &answer.responder, output, &text, now));
                }
                return effects;
            }
            Delivery::Failed(failure) => room.failed(failure.request_id.as_str()),
            // What was read of it stays: it becomes part of the answer.
            Delivery::StreamFailed { .. } => (),
        }
        Effects::default()
    }

    fn close(&mut self, route: RouteId) -> Option<Answer> {
        let answer = self.routes.remove(&route)?;
        self.bytes -= answer.outputs.iter().map(|(_, text)| text.len()).sum::<usize>();
        Some(answer)
    }
}

impl Answer {
    fn new(request_id: &str, responder: &ClientId) -> Self {
        Self { request_id: request_id.into(), responder: responder.as_str().into(), outputs: Vec::new() }
    }

    fn append(&mut self, output: &ByteString, text: &str) {
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
