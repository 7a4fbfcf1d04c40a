//! The words of dialect 2's rooms: what a member may be (spec §4.9.1), and what becomes of a request
//! (spec §4.9.4).

use std::fmt;

/// What a member is in a room. Ordered by rank: a higher role may act on a lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The role of those who are added without one.
    #[default]
    Guest,
    /// Acts for the master.
    Manager,
    /// One per room at most.
    Master,
}

impl Role {
    /// Every role, lowest first.
    pub const ALL: [Self; 3] = [Self::Guest, Self::Manager, Self::Master];

    /// The role as it is on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Manager => "manager",
            Self::Master => "master",
        }
    }

    /// Reads a role from the wire; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.wire() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire())
    }
}

/// What becomes of a request in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestMode {
    /// It is forwarded at once.
    #[default]
    Immediate,
    /// It waits for the host, who sends what has come together.
    HostSubmit,
    /// It is forwarded if the master or a manager sent it.
    MasterOnly,
    /// It is forwarded if it names a target; extensions join the talk by themselves.
    Conversational,
}

impl RequestMode {
    /// Every mode, in the order in which the specification's error lists them.
    pub const ALL: [Self; 4] = [Self::Immediate, Self::HostSubmit, Self::MasterOnly, Self::Conversational];

    /// The mode as it is on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Immediate => "Immediate",
            Self::HostSubmit => "HostSubmit",
            Self::MasterOnly => "MasterOnly",
            Self::Conversational => "Conversational",
        }
    }

    /// Reads a mode from the wire; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.wire() == text)
    }

    /// The same, and the names that the former global mode had (`SET_MESSAGE_REQUEST_MODE`, spec §4.9.2).
    pub fn parse_with_old_names(text: &str) -> Option<Self> {
        match text {
            "Default" => Some(Self::HostSubmit),
            "Separate" => Some(Self::Immediate),
            _ => Self::parse(text),
        }
    }
}

impl fmt::Display for RequestMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(Role::parse(&role.to_string()), Some(role));
        }
        for mode in RequestMode::ALL {
            assert_eq!(RequestMode::parse(&mode.to_string()), Some(mode));
            assert_eq!(RequestMode::parse_with_old_names(mode.wire()), Some(mode));
        }
        for text in ["", "Master", "moderator", "special", "immediate", "Default", "Separate"] {
            assert_eq!((Role::parse(text), RequestMode::parse(text)), (None, None), "{text}");
        }
        assert_eq!(RequestMode::parse_with_old_names("Default"), Some(RequestMode::HostSubmit));
        assert_eq!(RequestMode::parse_with_old_names("Separate"), Some(RequestMode::Immediate));
    }

    #[test]
    fn roles_have_ranks() {
        assert!(Role::Guest < Role::Manager && Role::Manager < Role::Master);
    }
}
