//! What is done to messages and to those who write them (spec §4.9.2 mutes, §4.9.4 edit, delete, clear).

use framing::{
    ByteString,
    json::{RawJson, quoted},
};

use super::{
    Caller, Effects, Message, RoomRefusal, RoomState, Timestamp,
    effects::{Audience, Place},
    message_log::Ids,
};
use crate::{history::Change, ids::Identity, protocol::MsgType};

impl RoomState {
    /// `EDIT_MESSAGE`: the author, and hosts.
    ///
    /// # Errors
    /// The caller may not, or there is no such message, or no text to put there.
    pub fn edit(
        &mut self,
        caller: &Caller,
        id: &str,
        updated: &RawJson,
        now: Timestamp,
    ) -> Result<Effects, RoomRefusal> {
        let message = self.log.find(id).ok_or(RoomRefusal::NotEdited)?;
        if !self.may_correct(caller, message) {
            return Err(RoomRefusal::EditDenied);
        }
        let room = self.name().clone();
        let (message, trimmed) = self.log.edit(id, updated, now).ok_or(RoomRefusal::NotEdited)?;
        let mut effects = Effects::default();
        let (seq, json) = (message.seq, message.json.text());
        let payload = format!("{{\"roomName\":{},\"message\":{json}}}", quoted(room.as_str()));
        effects.changes.push(Change::MessageUpdated { room: room.clone(), seq, json });
        effects.changes.extend(trimmed.map(|through_seq| Change::MessagesTrimmed { room, through_seq }));
        effects.push(Audience::MembersAndExtensions, Place::Llm, MsgType::MessageUpdated, payload);
        Ok(effects)
    }

    /// Whether the caller may change a message.
    fn may_correct(&self, caller: &Caller, message: &Message) -> bool {
        let member = || self.members().role(caller.identity.as_str()).is_some();
        self.is_host(caller) || (*message.author == *caller.identity.as_str() && member())
    }

    /// `DELETE_MESSAGE`: the author of all of them, and hosts. The effects are empty if there was none.
    ///
    /// # Errors
    /// The caller may not.
    pub fn delete_messages(&mut self, caller: &Caller, ids: &[ByteString]) -> Result<Effects, RoomRefusal> {
        let member = self.members().role(caller.identity.as_str()).is_some();
        let ids: Ids<'_> = ids.iter().map(|id| &**id).collect();
        let denied = self.log.called(&ids).any(|message| !self.may_correct(caller, message));
        if denied || !(member || caller.admin) {
            return Err(RoomRefusal::DeleteDenied);
        }
        let removed = self.log.remove(&ids);
        let mut effects = Effects::default();
        if !removed.is_empty() {
            let list = removed.iter().map(|message| quoted(&message.id)).collect::<Vec<_>>().join(",");
            let payload =
                format!("{{\"roomName\":{},\"messageIds\":[{list}]}}", quoted(self.name().as_str()));
            let seqs = removed.iter().map(|message| message.seq).collect();
            effects.changes.push(Change::MessagesRemoved { room: self.name().clone(), seqs });
            effects.push(Audience::MembersAndExtensions, Place::Llm, MsgType::MessagesDeleted, payload);
        }
        Ok(effects)
    }

    /// `CLEAR_MESSAGES`: hosts. The effects are empty if there was nothing to clear.
    ///
    /// # Errors
    /// The caller may not.
    pub fn clear(
        &mut self,
        caller: &Caller,
        requests: bool,
        responses: bool,
    ) -> Result<Effects, RoomRefusal> {
        if !self.is_host(caller) {
            return Err(RoomRefusal::ClearDenied);
        }
        let mut effects = Effects::default();
        if !self.log.clear(requests, responses).is_empty() {
            let room = self.name().clone();
            let payload = format!(
                "{{\"roomName\":{},\"clearedRequests\":{requests},\"clearedResponses\":{responses}}}",
                quoted(room.as_str())
            );
            effects.changes.push(Change::MessagesCleared { room, requests, responses });
            effects.push(Audience::MembersAndExtensions, Place::Llm, MsgType::MessagesCleared, payload);
        }
        Ok(effects)
    }

    /// `MUTE_MEMBER`: hosts. The mute itself holds in every room (Q15); this one announces it. None as
    /// `until`: for ever.
    ///
    /// # Errors
    /// The caller may not, or there is no such member.
    pub fn mute(
        &mut self,
        caller: &Caller,
        target: &Identity,
        until: Option<Timestamp>,
        seconds: Option<u64>,
        now: Timestamp,
    ) -> Result<Effects, RoomRefusal> {
        self.may_mute(caller, target)?;
        let mut effects = Effects::default();
        effects.changes.push(Change::Muted {
            identity: target.clone(),
            until_ms: until.map(|until| until.0),
            by: caller.identity.to_string(),
        });
        let duration = seconds.map_or_else(|| "\"permanent\"".to_owned(), |seconds| seconds.to_string());
        let payload = format!(
            "{{\"identity\":{},\"mutedBy\":{},\"mutedUntil\":{},\"duration\":{duration},\"roomName\":{}}}",
            quoted(target.as_str()),
            quoted(caller.identity.as_str()),
            quoted(&until.unwrap_or(Timestamp::NEVER).to_string()),
            quoted(self.name().as_str())
        );
        effects.push(Audience::Only(vec![target.clone()]), Place::Both, MsgType::MemberMuted, payload);
        let how_long = seconds.map_or_else(String::new, |seconds| format!(" for {seconds} seconds"));
        self.note(&format!("{target} was muted by {}{how_long}.", caller.identity), now, &mut effects);
        effects.status(self.name().as_str(), target.as_str(), "muted", now);
        Ok(effects)
    }

    /// `UNMUTE_MEMBER`: hosts; also of somebody who is not muted.
    ///
    /// # Errors
    /// The caller may not, or there is no such member.
    pub fn unmute(
        &mut self,
        caller: &Caller,
        target: &Identity,
        now: Timestamp,
    ) -> Result<Effects, RoomRefusal> {
        self.may_mute(caller, target)?;
        let mut effects = Effects::default();
        effects.changes.push(Change::Unmuted { identity: target.clone() });
        let payload = format!(
            "{{\"identity\":{},\"unmutedBy\":{},\"roomName\":{}}}",
            quoted(target.as_str()),
            quoted(caller.identity.as_str()),
            quoted(self.name().as_str())
        );
        effects.push(Audience::Only(vec![target.clone()]), Place::Both, MsgType::MemberUnmuted, payload);
        self.note(&format!("{target} was unmuted by {}.", caller.identity), now, &mut effects);
        effects.status(self.name().as_str(), target.as_str(), "idle", now);
        Ok(effects)
    }

    /// Hosts, of members of a lower rank and of extensions, which are no members.
    pub(super) fn may_mute(&self, caller: &Caller, target: &Identity) -> Result<(), RoomRefusal> {
        if !self.is_host(caller) {
            return Err(RoomRefusal::PermissionDenied);
        }
        let theirs = self.members().role(target.as_str());
        if theirs.is_none() && !target.as_str().starts_with(crate::ids::EXTENSION_PREFIX) {
            return Err(RoomRefusal::MemberNotFound);
        }
        let mine = self.members().role(caller.identity.as_str());
        if caller.admin || theirs < mine { Ok(()) } else { Err(RoomRefusal::PermissionDenied) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::{
        chat::Answered,
        fixture::{caller, empty_room, room_limits},
    };

    /// One that looked at each message for each id would take minutes.
    #[test]
    fn many_ids_are_looked_up_in_one_pass() {
        let mut room = empty_room(room_limits(2000));
        for _ in 0..2000 {
            let answered =
                Answered { request_id: "r", responder: "SillyTavern-1", output_id: "o", counts: true };
            room.answered(&answered, "\"text\"", Timestamp(0));
        }
        let known: Vec<Message> = room.messages().iter().cloned().collect();
        let unknown = (0..200_000).map(|at| ByteString::from(format!("none-{at}")));
        // Each of those that are there, by one name or both.
        let by_answer = known.iter().filter_map(|message| message.response_id.clone());
        let by_id = known.iter().step_by(2).map(|message| message.id.clone());
        let ids: Vec<ByteString> = unknown.chain(by_answer).chain(by_id).collect();
        assert_eq!(
            room.delete_messages(&caller("app-a", true), &ids),
            Err(RoomRefusal::DeleteDenied),
            "not one of them is its own"
        );
        let effects = room.delete_messages(&caller("monitor", true), &ids).unwrap();
        let seqs = known.iter().map(|message| message.seq).collect();
        assert_eq!(effects.changes, [Change::MessagesRemoved { room: room.name().clone(), seqs }]);
        assert!(room.messages().is_empty());
    }
}
