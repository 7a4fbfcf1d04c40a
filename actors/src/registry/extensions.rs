//! Which extensions are there: ids with a live `/llm` socket, oldest first (spec §4.2 33). Every session reads
//! the list; none has to ask for it.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use framing::json::quoted;

use super::SocketKey;
use crate::ids::ClientId;

/// The list as it is now. It changes before the CONNECT of an extension is answered.
pub type LiveExtensions = Arc<ArcSwap<ExtensionList>>;

/// See the module's documentation.
#[derive(Debug)]
pub struct ExtensionList {
    ids: Vec<ClientId>,
    answer: String,
}

impl ExtensionList {
    fn new(ids: Vec<ClientId>) -> Self {
        let list = ids.iter().map(|id| quoted(id.as_str())).collect::<Vec<_>>().join(",");
        let answer = format!(r#"{{"status":"ok","allTheSTSocket":[{list}],"extensions":[{list}]}}"#);
        Self { ids, answer }
    }

    /// Whether that one is there.
    pub fn has(&self, id: &ClientId) -> bool {
        self.ids.contains(id)
    }

    /// What whoever asks for the list is acked, as JSON text: all of them, under the field's two names.
    pub fn answer(&self) -> &str {
        &self.answer
    }
}

/// The registry's side of the list.
pub struct Extensions {
    /// `/llm` sockets of extensions, the oldest first.
    sockets: BTreeMap<SocketKey, ClientId>,
    /// Targets that live in this process.
    built_in: Vec<ClientId>,
    live: LiveExtensions,
}

impl Extensions {
    /// Those that live in this process, and nobody else yet.
    pub fn new(built_in: Vec<ClientId>) -> Self {
        let live = Arc::new(ArcSwap::from_pointee(ExtensionList::new(built_in.clone())));
        Self { sockets: BTreeMap::new(), built_in, live }
    }

    /// For sessions.
    pub fn live(&self) -> LiveExtensions {
        self.live.clone()
    }

    /// A socket of an extension came.
    pub(super) fn opened(&mut self, socket: SocketKey, client: ClientId) {
        self.sockets.insert(socket, client);
        self.publish();
    }

    /// A socket of an extension is gone.
    pub(super) fn closed(&mut self, socket: SocketKey) {
        self.sockets.remove(&socket);
        self.publish();
    }

    /// Their ids, each once.
    pub(super) fn ids(&self) -> Vec<ClientId> {
        let mut ids = self.built_in.clone();
        for id in self.sockets.values() {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        ids
    }

    fn publish(&self) {
        self.live.store(Arc::new(ExtensionList::new(self.ids())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_listed_once_and_the_oldest_first() {
        let id = |text: &str| ClientId::new(text).unwrap();
        let mut extensions = Extensions::new(vec![id("demo")]);
        let live = extensions.live();
        let answer = |list: &str| format!(r#"{{"status":"ok","allTheSTSocket":{list},"extensions":{list}}}"#);
        let [first, second, third] = [SocketKey::next(), SocketKey::next(), SocketKey::next()];
        for (socket, name, list) in [
            (first, "b", r#"["demo","b"]"#),
            (second, "a", r#"["demo","b","a"]"#),
            (third, "b", r#"["demo","b","a"]"#),
        ] {
            extensions.opened(socket, id(name));
            assert_eq!(live.load().answer(), answer(list));
        }
        // Another socket of it is still there, the younger one.
        extensions.closed(first);
        assert_eq!(live.load().answer(), answer(r#"["demo","a","b"]"#));
        extensions.closed(second);
        assert!(live.load().has(&id("b")) && !live.load().has(&id("a")));
    }
}
