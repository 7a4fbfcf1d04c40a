//! Which of the two dialects a socket speaks (spec §1.4).

use serde_json::Value;

use super::msg_type::{MsgType, WireName};

/// A dialect of the application protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Dialect 1: events are numbers.
    Numeric,
    /// Dialect 2: events are names.
    Named,
}

impl Dialect {
    /// Reads the handshake field `auth.dialect`; anything else than `1`, `2`, `numeric`, `named` declares nothing.
    pub fn declared(field: Option<&Value>) -> Option<Self> {
        match field? {
            Value::Number(number) if number.as_f64() == Some(1.0) => Some(Self::Numeric),
            Value::Number(number) if number.as_f64() == Some(2.0) => Some(Self::Named),
            Value::String(text) => match text.as_str() {
                "1" | "numeric" => Some(Self::Numeric),
                "2" | "named" => Some(Self::Named),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Under which names the server emits to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// The dialect is known.
    One(Dialect),
    /// It is not: under both names, number first. Nobody listens to the other, which is harmless.
    Both,
}

impl Emit {
    /// The one or two names to emit, in order; none if the dialect lacks the message.
    pub fn names(self, msg: MsgType) -> impl Iterator<Item = WireName> {
        let (first, second) = match self {
            Self::One(dialect) => (msg.wire(dialect), None),
            Self::Both => {
                let number = msg.wire(Dialect::Numeric);
                (number, msg.wire(Dialect::Named).filter(|name| Some(*name) != number))
            }
        };
        first.into_iter().chain(second)
    }

    /// The one or two dialects to build payloads for, number first.
    pub fn dialects(self) -> impl Iterator<Item = Dialect> {
        let (first, second) = match self {
            Self::One(dialect) => (dialect, None),
            Self::Both => (Dialect::Numeric, Some(Dialect::Named)),
        };
        std::iter::once(first).chain(second)
    }
}

/// What one namespace socket has shown of its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketDialect {
    declared: Option<Dialect>,
    spoken: Option<Dialect>,
    has_identity: bool,
}

impl SocketDialect {
    /// The state at the handshake: `auth.dialect`, and whether `auth.identity` was given.
    pub fn new(declared: Option<Dialect>, has_identity: bool) -> Self {
        Self { declared, spoken: None, has_identity }
    }

    /// Notes the dialect that an event betrayed (from [`MsgType::from_wire`]); the first one counts.
    ///
    /// Returns what the socket's client should learn as its default, if this was news.
    pub fn observe(&mut self, betrayed: Option<Dialect>) -> Option<Dialect> {
        match (self.spoken, betrayed) {
            (None, Some(dialect)) => {
                self.spoken = Some(dialect);
                Some(dialect)
            }
            _ => None,
        }
    }

    /// The decision of spec §1.4: declared, spoken here, spoken by another live socket of the client
    /// (`client_default`), identity present, unknown. What this socket spoke beats the client's default (Q2).
    pub fn emit(&self, client_default: Option<Dialect>) -> Emit {
        match self.declared.or(self.spoken).or(client_default) {
            Some(dialect) => Emit::One(dialect),
            None if self.has_identity => Emit::One(Dialect::Named),
            None => Emit::Both,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn declared_by_handshake() {
        for (field, expected) in [
            (json!(1), Some(Dialect::Numeric)),
            (json!(1.0), Some(Dialect::Numeric)),
            (json!("numeric"), Some(Dialect::Numeric)),
            (json!("1"), Some(Dialect::Numeric)),
            (json!(2), Some(Dialect::Named)),
            (json!("named"), Some(Dialect::Named)),
            (json!(3), None),
            (json!(null), None),
            (json!({"a": 1}), None),
            (json!("NAMED"), None),
        ] {
            assert_eq!(Dialect::declared(Some(&field)), expected, "{field}");
        }
        assert_eq!(Dialect::declared(None), None);
    }

    #[test]
    fn the_rules_in_their_order() {
        use Dialect::{Named, Numeric};
        // declared, spoken, client's default, identity → emitted
        for (declared, spoken, client, identity, expected) in [
            (Some(Numeric), Some(Named), Some(Named), true, Emit::One(Numeric)),
            (None, Some(Numeric), Some(Named), true, Emit::One(Numeric)),
            (None, None, Some(Numeric), true, Emit::One(Numeric)),
            (None, None, None, true, Emit::One(Named)),
            (None, None, None, false, Emit::Both),
        ] {
            let mut socket = SocketDialect::new(declared, identity);
            assert_eq!(socket.observe(spoken), spoken);
            assert_eq!(socket.observe(Some(Named)).is_some(), spoken.is_none());
            let mut fresh = SocketDialect::new(declared, identity);
            fresh.observe(spoken);
            assert_eq!(fresh.emit(client), expected);
        }
    }

    #[test]
    fn unknown_dialect_emits_both_number_first() {
        let names = |emit: Emit, msg| emit.names(msg).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(names(Emit::Both, MsgType::LlmRequest), ["9", "\"LLM_REQUEST\""]);
        assert_eq!(names(Emit::Both, MsgType::ClientKey), ["20"]);
        assert_eq!(names(Emit::Both, MsgType::NewMessage), ["\"NEW_MESSAGE\""]);
        assert_eq!(names(Emit::One(Dialect::Named), MsgType::ClientKey), [""; 0]);
        assert_eq!(names(Emit::One(Dialect::Named), MsgType::Error), ["\"ERROR\""]);
    }
}
