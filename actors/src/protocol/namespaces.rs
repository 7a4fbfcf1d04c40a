//! The eight namespaces (spec §1.7), served in both dialects.

/// A namespace of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespace {
    /// `/`
    Default,
    /// `/auth`
    Auth,
    /// `/clients`
    Clients,
    /// `/llm`
    Llm,
    /// `/rooms`
    Rooms,
    /// `/sillytavern`
    SillyTavern,
    /// `/function_call`
    FunctionCall,
    /// `/debug`
    Debug,
}

impl Namespace {
    /// Every namespace, in the order of the specification's table.
    pub const ALL: &'static [Self] = &[
        Self::Default,
        Self::Auth,
        Self::Clients,
        Self::Llm,
        Self::Rooms,
        Self::SillyTavern,
        Self::FunctionCall,
        Self::Debug,
    ];

    /// The name on the wire.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Default => "/",
            Self::Auth => "/auth",
            Self::Clients => "/clients",
            Self::Llm => "/llm",
            Self::Rooms => "/rooms",
            Self::SillyTavern => "/sillytavern",
            Self::FunctionCall => "/function_call",
            Self::Debug => "/debug",
        }
    }

    /// The name of the constant that clients import.
    pub const fn constant(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::Auth => "AUTH",
            Self::Clients => "CLIENTS",
            Self::Llm => "LLM",
            Self::Rooms => "ROOMS",
            Self::SillyTavern => "SILLY_TAVERN",
            Self::FunctionCall => "FUNCTION_CALL",
            Self::Debug => "DEBUG",
        }
    }

    /// Reads a name; `None` is answered "Invalid namespace" (spec §1.2).
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|namespace| namespace.wire() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_eight_read_back() {
        assert_eq!(Namespace::ALL.len(), 8);
        for namespace in Namespace::ALL {
            assert_eq!(Namespace::from_wire(namespace.wire()), Some(*namespace));
        }
        for unknown in ["", "/general", "/LLM", "llm", "/llm/"] {
            assert_eq!(Namespace::from_wire(unknown), None);
        }
    }
}
