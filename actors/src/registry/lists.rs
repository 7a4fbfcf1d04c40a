//! The lists of spec §3.7, §4.2 and §4.3, as JSON.

use actix::prelude::*;
use framing::{ByteString, json::quoted};

use super::{Registry, SocketEntry};
use crate::{ids::ClientId, protocol::Namespace};

/// Asks for the connected-client list: trusted clients with a live `/auth` socket, as a JSON array.
#[derive(Message)]
#[rtype(result = "String")]
pub struct ListConnected;

/// Asks for every live member, extensions included, as dialect 2 shows them: a JSON array.
#[derive(Message)]
#[rtype(result = "String")]
pub struct ListMembers;

/// One client of the connected-client list.
pub(super) struct Connected {
    id: ClientId,
    description: Option<ByteString>,
}

impl Registry {
    pub(super) fn connected(&self) -> Vec<Connected> {
        let sockets = self.of(Namespace::Auth).filter(|entry| !entry.extension);
        let mut clients = one_per_party(sockets, |entry| entry.client.as_str());
        clients.sort_by_key(|entry| self.clients.get(&entry.client).and_then(|client| client.listed));
        clients
            .into_iter()
            .map(|entry| Connected {
                id: entry.client.clone(),
                // Only these sockets make the list change, and be sent again.
                description: self.description(&entry.client, |entry| entry.ns == Namespace::Auth),
            })
            .collect()
    }

    pub(super) fn members(&self) -> Vec<&SocketEntry> {
        let sockets = self.sockets.values().map(|socket| &socket.entry);
        let mut members = one_per_party(sockets, |entry| entry.identity.as_str());
        members.sort_by_key(|entry| {
            Some(self.clients.get(&entry.client)?.instances.get(&entry.identity)?.place)
        });
        members
    }

    /// What a client says of itself, by the oldest of its live sockets that says it.
    pub(super) fn description(
        &self,
        client: &ClientId,
        counts: impl Fn(&SocketEntry) -> bool,
    ) -> Option<ByteString> {
        let sockets = self.clients.get(client)?.sockets.iter();
        let mut entries = sockets.filter_map(|(key, _)| Some(&self.sockets.get(key)?.entry));
        entries.find_map(|entry| entry.desc.clone().filter(|_| counts(entry)))
    }
}

/// The oldest socket of each party.
fn one_per_party<'a>(
    entries: impl Iterator<Item = &'a SocketEntry>,
    party: impl Fn(&'a SocketEntry) -> &'a str,
) -> Vec<&'a SocketEntry> {
    let mut seen = std::collections::HashSet::new();
    entries.filter(|entry| seen.insert(party(entry))).collect()
}

pub(super) fn id_json(id: &str, description: Option<&str>) -> String {
    match description {
        Some(description) => format!("{{\"id\":{},\"description\":{}}}", quoted(id), quoted(description)),
        None => format!("{{\"id\":{}}}", quoted(id)),
    }
}

pub(super) fn connected_json(clients: &[Connected]) -> String {
    array(clients.iter().map(|client| id_json(client.id.as_str(), client.description.as_deref())))
}

/// Both field spellings of dialect 2's two documents; never a key (spec §4.3).
pub(super) fn members_json(members: &[&SocketEntry]) -> String {
    array(members.iter().map(|member| {
        let (id, kind) = (quoted(member.identity.as_str()), quoted(&member.client_type));
        let mut json = format!("{{\"clientId\":{id},\"clientType\":{kind}");
        let fields = [(&member.desc, ["desc", "clientDesc"]), (&member.html, ["html", "clientHTML"])];
        for (value, names) in fields {
            for name in names {
                if let Some(value) = value {
                    json.push_str(&format!(",\"{name}\":{}", quoted(value)));
                }
            }
        }
        json.push('}');
        json
    }))
}

pub(super) fn array(items: impl Iterator<Item = String>) -> String {
    let mut json = String::from("[");
    for (at, item) in items.enumerate() {
        if at > 0 {
            json.push(',');
        }
        json.push_str(&item);
    }
    json.push(']');
    json
}

impl Handler<ListConnected> for Registry {
    type Result = String;

    fn handle(&mut self, _: ListConnected, _: &mut Self::Context) -> String {
        connected_json(&self.connected())
    }
}

impl Handler<ListMembers> for Registry {
    type Result = String;

    fn handle(&mut self, _: ListMembers, _: &mut Self::Context) -> String {
        members_json(&self.members())
    }
}
