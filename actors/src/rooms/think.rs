//! In a conversation extensions speak by themselves (spec §4.9.4): now and then one of them is invited
//! to think. A model may cost money, so there are limits (spec §8.2 D2-17): off unless a room selects it,
//! so many invitations an hour, none while one is under way or nobody is there.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use actix::prelude::*;
use framing::{ByteString, json::RawJson};
use log::debug;

use super::{Outgoing, RoomState, Timestamp, room::Room};
use crate::{
    ids::{ClientId, Identity, RequestId},
    launch::expendable,
    llm_router::Requester,
    protocol::RequestMode,
};

/// When a room invites next, and how often it did.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    next: Option<Instant>,
    /// The next check is set; only a conversation has one.
    checked: bool,
    /// Of the last hour.
    invited: VecDeque<Instant>,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Thinking {
    /// Whether the room's time has come; another one is set.
    fn is_due(&mut self, now: Instant, between: (Duration, Duration), chance: f64) -> bool {
        let (min, max) = between;
        let wait = min + max.saturating_sub(min).mul_f64(chance);
        match self.next {
            Some(next) if next > now => false,
            Some(_) => {
                self.next = Some(now + wait);
                true
            }
            None => {
                self.next = Some(now + wait);
                false
            }
        }
    }

    /// Counts an invitation, if there may be another one this hour.
    fn spend(&mut self, now: Instant, per_hour: usize) -> bool {
        while self.invited.front().is_some_and(|at| now.duration_since(*at) >= HOUR) {
            self.invited.pop_front();
        }
        let may = self.invited.len() < per_hour;
        if may {
            self.invited.push_back(now);
        }
        may
    }
}

impl Room {
    /// The room has a mode: if that is a conversation, it is looked after.
    pub(super) fn begin_thinking(&mut self, ctx: &mut Context<Self>) {
        if !self.thinking.checked && self.state.head().mode == RequestMode::Conversational {
            self.thinking.checked = true;
            self.check_thinking(ctx);
        }
    }

    /// Every check interval (spec §2.1 `conversationalCheckInterval`).
    fn check_thinking(&mut self, ctx: &mut Context<Self>) {
        let _room = expendable();
        if self.state.head().mode != RequestMode::Conversational {
            (self.thinking.next, self.thinking.checked) = (None, false);
            return;
        }
        let settings = self.shared.settings.load_full();
        ctx.run_later(settings.conversational_check_interval.max(MIN_CHECK), Self::check_thinking);
        let between =
            (settings.conversational_think_interval_min, settings.conversational_think_interval_max);
        if !self.thinking.is_due(Instant::now(), between, chance()) {
            return;
        }
        let now = Timestamp::now();
        let able: Vec<ClientId> =
            self.available().iter().filter(|id| !self.is_muted(id, now)).cloned().collect();
        let at = (chance() * able.len() as f64) as usize;
        if chance() < settings.conversational_think_probability
            && let Some(extension) = able.get(at)
        {
            let instruction = settings.conversational_instruction.clone();
            self.invite(&extension.clone(), instruction.into(), ctx);
        }
    }

    fn is_muted(&self, extension: &ClientId, now: Timestamp) -> bool {
        self.shared.mutes.is_muted(extension.as_str(), now)
    }

    /// An extension that is not muted any more is asked what it makes of what it missed.
    pub(super) fn thinks_again(&mut self, who: &Identity, ctx: &mut Context<Self>) {
        let known = self.available().iter().find(|id| id.as_str() == who.as_str()).cloned();
        let (Some(extension), RequestMode::Conversational) = (known, self.state.head().mode) else {
            return;
        };
        let settings = self.shared.settings.load_full();
        ctx.run_later(settings.post_unmute_think_delay, move |room, ctx| {
            let instruction =
                format!("{}\n\n{}", settings.post_unmute_instruction, settings.conversational_instruction);
            if !room.is_muted(&extension, Timestamp::now()) {
                room.invite(&extension, instruction.into(), ctx);
            }
        });
    }

    fn invite(&mut self, extension: &ClientId, instruction: ByteString, ctx: &mut Context<Self>) {
        if self.has_open_requests() || !self.somebody_is_here() {
            return;
        }
        if !self.thinking.spend(Instant::now(), self.shared.limits.think_per_hour) {
            self.shared.metrics.limit_reached("rooms.think_per_hour");
            return;
        }
        let Ok(request_id) = RequestId::new(format!("think_{}", uuid::Uuid::new_v4())) else {
            return;
        };
        debug!(room:% = self.state.name(), extension:%; "an extension is invited to think");
        let outgoing = invitation(&self.state, request_id.clone(), extension, instruction);
        let from = Requester { client: extension.clone(), identity: Identity::from(extension.clone()) };
        let mut question = self.open_request(from, outgoing, Vec::new(), ctx);
        question.audience.nobody_asked = true;
        let opened = self.shared.router.send(question).into_actor(self);
        ctx.spawn(opened.map(move |_, room, _| room.request_settled(&request_id)));
    }
}

/// The shortest check interval: a setting of zero must not spin.
const MIN_CHECK: Duration = Duration::from_millis(50);

fn invitation(
    room: &RoomState,
    request_id: RequestId,
    extension: &ClientId,
    instruction: ByteString,
) -> Outgoing {
    let message = framing::json::quoted(&instruction);
    let payload = RawJson::from_static("{}")
        .replacing(&[("requestId", &framing::json::quoted(request_id.as_str())), ("message", &message)]);
    let targets = vec![extension.as_str().into()];
    room.outgoing(request_id, targets, payload, Some("THINK_REQUEST"), None, Some(instruction))
}

/// A number of [0, 1), good enough for manners.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rooms_time_comes_between_the_two_and_not_at_once() {
        let (mut thinking, start) = (Thinking::default(), Instant::now());
        let between = (Duration::from_secs(10), Duration::from_secs(20));
        assert!(!thinking.is_due(start, between, 0.5), "it begins to wait");
        assert!(!thinking.is_due(start + Duration::from_secs(14), between, 0.0));
        assert!(thinking.is_due(start + Duration::from_secs(15), between, 0.0));
        assert!(!thinking.is_due(start + Duration::from_secs(24), between, 0.0));
        assert!(thinking.is_due(start + Duration::from_secs(25), between, 0.0));
    }

    #[test]
    fn so_many_an_hour() {
        let (mut thinking, start) = (Thinking::default(), Instant::now());
        let minute = |minute: u64| start + Duration::from_secs(60 * minute);
        assert!(thinking.spend(minute(0), 2) && thinking.spend(minute(30), 2));
        assert!(!thinking.spend(minute(59), 2));
        assert!(thinking.spend(minute(60), 2));
        assert!(!thinking.spend(minute(89), 2));
        assert!(thinking.spend(minute(90), 2));
        assert!(!thinking.spend(minute(90), 0));
    }

    #[test]
    fn chance_is_below_one() {
        assert!((0..1000).map(|_| chance()).all(|chance| (0.0..1.0).contains(&chance)));
    }
}
