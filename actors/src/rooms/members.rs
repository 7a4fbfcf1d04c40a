//! Who is in one room, and with which role (spec §4.9.1, Q16).

use crate::{ids::Identity, maps::FastMap, protocol::Role};

/// The members of one room. There is one master, or none while the room is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    members: FastMap<Identity, Member>,
    joined: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    role: Role,
    /// Rises: the lowest is the oldest.
    joined: u64,
}

/// Who has another role now, besides whom a change was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The member.
    pub identity: Identity,
    /// Its new role.
    pub role: Role,
}

impl Members {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The role of a member; none: it is no member.
    pub fn role(&self, identity: &str) -> Option<Role> {
        self.members.get(identity).map(|member| member.role)
    }

    /// Everybody, oldest first.
    pub fn list(&self) -> Vec<(&Identity, Role)> {
        let mut list: Vec<_> = self.members.iter().collect();
        list.sort_by_key(|(_, member)| member.joined);
        list.into_iter().map(|(identity, member)| (identity, member.role)).collect()
    }

    /// Everybody, in no order.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.members.keys()
    }

    /// Master and managers, in no order.
    pub fn hosts(&self) -> impl Iterator<Item = &Identity> {
        let host = |(_, member): &(&Identity, &Member)| member.role != Role::Guest;
        self.members.iter().filter(host).map(|(identity, _)| identity)
    }

    /// Adds a member, or gives one another role. A new master makes the old one a manager, which is
    /// returned.
    pub fn set(&mut self, identity: &Identity, role: Role) -> Option<RoleChange> {
        let demoted = (role == Role::Master).then(|| self.demote_master(identity)).flatten();
        self.joined += 1;
        let joined = self.joined;
        self.members
            .entry(identity.clone())
            .and_modify(|member| member.role = role)
            .or_insert(Member { role, joined });
        demoted
    }

    fn demote_master(&mut self, heir: &Identity) -> Option<RoleChange> {
        let mut members = self.members.iter_mut();
        let (identity, master) = members.find(|(_, member)| member.role == Role::Master)?;
        if identity == heir {
            return None;
        }
        master.role = Role::Manager;
        Some(RoleChange { identity: identity.clone(), role: Role::Manager })
    }

    /// Removes a member. Where it was the master, the oldest manager takes its place, or else the
    /// oldest guest (Q16), which is returned. None: it was no member.
    pub fn remove(&mut self, identity: &str) -> Option<Option<RoleChange>> {
        let removed = self.members.remove(identity)?;
        if removed.role != Role::Master {
            return Some(None);
        }
        let heir =
            self.members.iter_mut().min_by_key(|(_, member)| (member.role == Role::Guest, member.joined));
        Some(heir.map(|(identity, member)| {
            member.role = Role::Master;
            RoleChange { identity: identity.clone(), role: Role::Master }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Identity {
        Identity::new(text).unwrap()
    }

    #[test]
    fn there_is_one_master() {
        let mut members = Members::default();
        assert_eq!(members.set(&id("a"), Role::Master), None);
        assert_eq!(members.set(&id("b"), Role::Guest), None);
        let demoted = RoleChange { identity: id("a"), role: Role::Manager };
        assert_eq!(members.set(&id("b"), Role::Master), Some(demoted));
        assert_eq!(members.set(&id("b"), Role::Master), None);
        let roles = members.list().into_iter().map(|(who, role)| (who.as_str(), role)).collect::<Vec<_>>();
        assert_eq!(roles, [("a", Role::Manager), ("b", Role::Master)]);
    }

    #[test]
    fn the_oldest_manager_inherits_or_else_the_oldest_guest() {
        let mut members = Members::default();
        for (who, role) in
            [("m", Role::Master), ("g1", Role::Guest), ("g2", Role::Guest), ("x", Role::Manager)]
        {
            members.set(&id(who), role);
        }
        for (leaves, heir) in [("m", Some("x")), ("x", Some("g1")), ("g1", Some("g2")), ("g2", None)] {
            let change = members.remove(leaves).unwrap();
            assert_eq!(change.map(|change| change.identity), heir.map(id), "{leaves}");
        }
        assert_eq!(members.remove("m"), None);
        assert!(members.is_empty());
    }

    #[test]
    fn a_guest_that_leaves_changes_nothing() {
        let mut members = Members::default();
        members.set(&id("m"), Role::Master);
        members.set(&id("g"), Role::Guest);
        assert_eq!(members.remove("g"), Some(None));
        assert_eq!(members.role("m"), Some(Role::Master));
    }
}
