//! What `/debug` is told (spec §4.8).

use actix::prelude::*;

use super::Registry;
use crate::{
    emit,
    protocol::{MsgType, Namespace},
};

/// `debugMode` is something else now, whoever changed it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct DebugModeChanged(pub bool);

impl Handler<DebugModeChanged> for Registry {
    type Result = ();

    fn handle(&mut self, DebugModeChanged(on): DebugModeChanged, _: &mut Self::Context) {
        let payload = format!("{{\"debugMode\":{on}}}");
        for entry in self.of(Namespace::Debug) {
            emit::event(entry, MsgType::DebugModeChanged, &payload);
        }
    }
}
