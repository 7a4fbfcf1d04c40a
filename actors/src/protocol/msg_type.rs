//! The table of every `MSG_TYPE` (spec §1.5), for both dialects.

use std::{fmt, sync::LazyLock};

use super::dialect::Dialect;
use crate::maps::FastMap;

/// How a message is written in a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// The same number in both dialects; used as `type`, not as an event.
    Shared(u8),
    /// A number in dialect 1, a name in dialect 2.
    Both(u8, &'static str),
    /// A number in dialect 1, absent from dialect 2.
    NumericOnly(u8),
    /// Absent from dialect 1's constants; the same name for whoever asks.
    NamedOnly(&'static str),
    /// A string in both dialects.
    Literal(&'static str),
}

/// A name as it stands in a packet, as first element of the event's array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireName {
    /// A JSON number.
    Number(u8),
    /// A JSON string; none of ours needs an escape.
    Name(&'static str),
}

impl fmt::Display for WireName {
    /// Writes the JSON text of the name, ready to be put into a packet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

/// An event name as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventName<'a> {
    /// The text of a JSON number, as sent: `9`, but also `9.0` or `9e0`, which are the same to JavaScript.
    Number(&'a str),
    /// A string, unescaped.
    Name(&'a str),
}

macro_rules! msg_types {
    ($($(#[$doc:meta])* $variant:ident $constant:literal $row:expr;)*) => {
        /// A message of the application protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum MsgType { $(#[doc = concat!("`", $constant, "`.")] $(#[$doc])* $variant,)* }

        impl MsgType {
            /// Every message, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name of the constant that clients import.
            pub const fn constant(self) -> &'static str {
                match self { $(Self::$variant => $constant,)* }
            }

            const fn row(self) -> Row {
                match self { $(Self::$variant => $row,)* }
            }
        }
    };
}

use Row::{Both, Literal, NamedOnly, NumericOnly, Shared};

msg_types! {
    NonStream "NON_STREAM" Shared(0);
    StreamStart "STREAM_START" Shared(1);
    /// Deprecated.
    StreamData "STREAM_DATA" Shared(2);
    StreamEnd "STREAM_END" Shared(3);
    StreamDataFirst "STREAM_DATA_FIRST" Shared(4);
    StreamDataMiddle "STREAM_DATA_MIDDLE" Shared(5);
    StreamDataLast "STREAM_DATA_LAST" Shared(6);
    StreamDataRetry "STREAM_DATA_RETRY" Shared(7);
    StreamDataFailed "STREAM_DATA_FAILED" Shared(8);
    LlmRequest "LLM_REQUEST" Both(9, "LLM_REQUEST");
    LlmResponse "LLM_RESPONSE" Both(10, "LLM_RESPONSE");
    IdentifySillyTavern "IDENTIFY_SILLYTAVERN" Both(11, "IDENTIFY_SILLYTAVERN");
    ClientSettings "CLIENT_SETTINGS" Both(12, "CLIENT_SETTINGS");
    CreateRoom "CREATE_ROOM" Both(13, "CREATE_ROOM");
    DeleteRoom "DELETE_ROOM" Both(14, "DELETE_ROOM");
    AddClientToRoom "ADD_CLIENT_TO_ROOM" Both(15, "ADD_CLIENT_TO_ROOM");
    RemoveClientFromRoom "REMOVE_CLIENT_FROM_ROOM" Both(16, "REMOVE_CLIENT_FROM_ROOM");
    GenerateClientKey "GENERATE_CLIENT_KEY" Both(17, "GENERATE_CLIENT_KEY");
    RemoveClientKey "REMOVE_CLIENT_KEY" Both(18, "REMOVE_CLIENT_KEY");
    GetRooms "GET_ROOMS" Both(19, "GET_ROOMS");
    /// Its field is `Key`, with a capital.
    ClientKey "CLIENT_KEY" NumericOnly(20);
    Error "ERROR" Both(21, "ERROR");
    FunctionCall "FUNCTION_CALL" Both(22, "FUNCTION_CALL");
    Login "LOGIN" Both(23, "LOGIN");
    GetClientList "GET_CLIENT_LIST" Both(24, "GET_CLIENT_LIST");
    GetClientsInRoom "GET_CLIENTS_IN_ROOM" Both(25, "GET_CLIENTS_IN_ROOM");
    GetClientKey "GET_CLIENT_KEY" Both(26, "GET_CLIENT_KEY");
    /// The constant is misspelt, and clients import it so (spec §1.9).
    ClientDisconnected "CLIENT_DISCONNETED" Both(27, "CLIENT_DISCONNECTED");
    ClientKeyAssigned "CLIENT_KEY_ASSIGNED" Both(28, "CLIENT_KEY_ASSIGNED");
    GetAllClientKeys "GET_ALL_CLIENT_KEYS" Both(29, "GET_ALL_CLIENT_KEYS");
    Warning "WARNING" Both(30, "WARNING");
    ConnectedClientsUpdate "CONNECTED_CLIENTS_UPDATE" Both(31, "CONNECTED_CLIENTS_UPDATE");
    UpdateConnectedClients "UPDATE_CONNECTED_CLIENTS" Both(32, "UPDATE_CONNECTED_CLIENTS");
    GetSillyTavernExtension "GET_SILLYTAVERN_EXTENSION" Both(33, "GET_SILLYTAVERN_EXTENSION");
    TempRoomAssigned "TEMP_ROOM_ASSIGNED" Literal("TEMP_ROOM_ASSIGNED");

    AssignExtensionToClient "ASSIGN_EXTENSION_TO_CLIENT" NamedOnly("ASSIGN_EXTENSION_TO_CLIENT");
    AvailableExtensions "AVAILABLE_EXTENSIONS" NamedOnly("AVAILABLE_EXTENSIONS");
    GetAssignments "GET_ASSIGNMENTS" NamedOnly("GET_ASSIGNMENTS");
    GetAssignmentsForRoom "GET_ASSIGNMENTS_FOR_ROOM" NamedOnly("GET_ASSIGNMENTS_FOR_ROOM");
    GetConnectionPolicy "GET_CONNECTION_POLICY" NamedOnly("GET_CONNECTION_POLICY");
    SetConnectionPolicy "SET_CONNECTION_POLICY" NamedOnly("SET_CONNECTION_POLICY");
    GetConnectedClientRooms "GET_CONNECTED_CLIENT_ROOMS" NamedOnly("GET_CONNECTED_CLIENT_ROOMS");
    GetConnectedExtensions "GET_CONNECTED_EXTENSIONS" NamedOnly("GET_CONNECTED_EXTENSIONS");
    MemberJoined "MEMBER_JOINED" NamedOnly("MEMBER_JOINED");
    MemberLeft "MEMBER_LEFT" NamedOnly("MEMBER_LEFT");
    KickMember "KICK_MEMBER" NamedOnly("KICK_MEMBER");
    SetMemberRole "SET_MEMBER_ROLE" NamedOnly("SET_MEMBER_ROLE");
    MemberRoleChanged "MEMBER_ROLE_CHANGED" NamedOnly("MEMBER_ROLE_CHANGED");
    SetRoomMessageRequestMode "SET_ROOM_MESSAGE_REQUEST_MODE" NamedOnly("SET_ROOM_MESSAGE_REQUEST_MODE");
    RoomModeChanged "ROOM_MODE_CHANGED" NamedOnly("ROOM_MODE_CHANGED");

    GetOfflineMessages "GET_OFFLINE_MESSAGES" NamedOnly("GET_OFFLINE_MESSAGES");
    OfflineMessages "OFFLINE_MESSAGES" NamedOnly("OFFLINE_MESSAGES");
    RequestStatusUpdate "REQUEST_STATUS_UPDATE" NamedOnly("REQUEST_STATUS_UPDATE");
    NewMessage "NEW_MESSAGE" NamedOnly("NEW_MESSAGE");
    SetMessageRequestMode "SET_MESSAGE_REQUEST_MODE" NamedOnly("SET_MESSAGE_REQUEST_MODE");
    EditMessage "EDIT_MESSAGE" NamedOnly("EDIT_MESSAGE");
    DeleteMessage "DELETE_MESSAGE" NamedOnly("DELETE_MESSAGE");
    ClearMessages "CLEAR_MESSAGES" NamedOnly("CLEAR_MESSAGES");
    MessageUpdated "MESSAGE_UPDATED" NamedOnly("MESSAGE_UPDATED");
    MessagesCleared "MESSAGES_CLEARED" NamedOnly("MESSAGES_CLEARED");
    UpdateContext "UPDATE_CONTEXT" NamedOnly("UPDATE_CONTEXT");
    UpdateContextPage "UPDATE_CONTEXT_PAGE" NamedOnly("UPDATE_CONTEXT_PAGE");

    MemberStatusUpdate "MEMBER_STATUS_UPDATE" NamedOnly("MEMBER_STATUS_UPDATE");
    StartTyping "START_TYPING" NamedOnly("START_TYPING");
    StopTyping "STOP_TYPING" NamedOnly("STOP_TYPING");
    StartProcessing "START_PROCESSING" NamedOnly("START_PROCESSING");
    StopProcessing "STOP_PROCESSING" NamedOnly("STOP_PROCESSING");
    MuteMember "MUTE_MEMBER" NamedOnly("MUTE_MEMBER");
    UnmuteMember "UNMUTE_MEMBER" NamedOnly("UNMUTE_MEMBER");
    MemberMuted "MEMBER_MUTED" NamedOnly("MEMBER_MUTED");
    MemberUnmuted "MEMBER_UNMUTED" NamedOnly("MEMBER_UNMUTED");

    DebugModeChanged "DEBUG_MODE_CHANGED" NamedOnly("DEBUG_MODE_CHANGED");
    ReadLog "READ_LOG" NamedOnly("READ_LOG");
    ServerStatus "SERVER_STATUS" NamedOnly("SERVER_STATUS");
    ToggleDebugMode "TOGGLE_DEBUG_MODE" NamedOnly("TOGGLE_DEBUG_MODE");

    MessagesDeleted "MESSAGES_DELETED" NamedOnly("MESSAGES_DELETED");
    GetFullContext "GET_FULL_CONTEXT" NamedOnly("GET_FULL_CONTEXT");
}

/// Spellings that are read but never written (spec §1.5 end, §1.8, §1.9). They say nothing about the dialect.
const ALIASES: &[(&str, MsgType)] = &[
    ("update_connected_clients", MsgType::UpdateConnectedClients),
    ("new_message", MsgType::NewMessage),
    ("member_role_changed", MsgType::MemberRoleChanged),
    ("getRooms", MsgType::GetRooms),
    ("getClientList", MsgType::GetClientList),
    ("getClientsInRoom", MsgType::GetClientsInRoom),
];

/// Constants that a client's code may name beside the table's own, because one of the two spellings is
/// undefined in the copies that are in circulation (spec §1.9).
pub(super) const EXTRA_CONSTANTS: &[(&str, MsgType)] =
    &[("CLIENT_DISCONNECTED", MsgType::ClientDisconnected)];

impl MsgType {
    /// The number of dialect 1, also used as `type` (spec §1.3).
    pub const fn number(self) -> Option<u8> {
        match self.row() {
            Shared(number) | Both(number, _) | NumericOnly(number) => Some(number),
            NamedOnly(_) | Literal(_) => None,
        }
    }

    /// The name on the wire for a socket of this dialect; `None` where the dialect lacks the message
    /// (`CLIENT_KEY` in dialect 2).
    ///
    /// Messages of dialect 2 that have no number keep their name for numeric sockets (spec §4.8).
    pub const fn wire(self, dialect: Dialect) -> Option<WireName> {
        match (self.row(), dialect) {
            (Shared(number), _) => Some(WireName::Number(number)),
            (Both(number, _) | NumericOnly(number), Dialect::Numeric) => Some(WireName::Number(number)),
            (Both(_, name), Dialect::Named) | (NamedOnly(name) | Literal(name), _) => {
                Some(WireName::Name(name))
            }
            (NumericOnly(_), Dialect::Named) => None,
        }
    }

    /// Whether dialect 1's constants contain this message.
    pub(super) const fn is_constant_of(self, dialect: Dialect) -> bool {
        match (self.row(), dialect) {
            (NamedOnly(_), Dialect::Numeric) | (NumericOnly(_), Dialect::Named) => false,
            (Shared(_) | Both(..) | NumericOnly(_) | NamedOnly(_) | Literal(_), _) => true,
        }
    }

    /// Reads an event's name: which message it is, and which dialect it betrays (spec §1.4 rule 2).
    ///
    /// A number means dialect 1, an upper-case name dialect 2, an alias or shared literal neither.
    /// `None` for names that are no message: stream events, `message`, and whatever a peer invents.
    pub fn from_wire(name: EventName<'_>) -> Option<(Self, Option<Dialect>)> {
        match name {
            EventName::Number(text) => {
                let message = NUMBERED.get(usize::from(number(text)?)).copied().flatten()?;
                Some((message, Some(Dialect::Numeric)))
            }
            EventName::Name(name) => NAMED.get(name).copied(),
        }
    }
}

/// The number that a JSON number is to JavaScript, if a message may have it.
fn number(text: &str) -> Option<u8> {
    text.parse().ok().or_else(|| {
        let number = text.parse::<f64>().ok()?;
        // What does not fit becomes something else on the way.
        let small = number as u8;
        (f64::from(small) == number).then_some(small)
    })
}

/// Every message that has a number, at that place.
static NUMBERED: [Option<MsgType>; 1 + u8::MAX as usize] = {
    let (mut numbered, mut at) = ([None; 1 + u8::MAX as usize], 0);
    while at < MsgType::ALL.len() {
        if let Some(number) = MsgType::ALL[at].number() {
            numbered[number as usize] = Some(MsgType::ALL[at]);
        }
        at += 1;
    }
    numbered
};

/// Every name that is read, with the dialect that it betrays.
static NAMED: LazyLock<FastMap<&str, (MsgType, Option<Dialect>)>> = LazyLock::new(|| {
    let own = MsgType::ALL.iter().filter_map(|message| match message.row() {
        Both(_, name) | NamedOnly(name) => Some((name, (*message, Some(Dialect::Named)))),
        Literal(name) => Some((name, (*message, None))),
        Shared(_) | NumericOnly(_) => None,
    });
    let aliases = ALIASES.iter().map(|(alias, message)| (*alias, (*message, None)));
    let misspelt = ("CLIENT_DISCONNETED", (MsgType::ClientDisconnected, Some(Dialect::Named)));
    own.chain(aliases).chain([misspelt]).collect()
});

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn number(text: &str) -> Option<MsgType> {
        MsgType::from_wire(EventName::Number(text)).map(|(msg, dialect)| {
            assert_eq!(dialect, Some(Dialect::Numeric));
            msg
        })
    }

    #[test]
    fn numbers_are_dense_and_unique() {
        let numbers: Vec<u8> = MsgType::ALL.iter().filter_map(|msg| msg.number()).collect();
        assert_eq!(numbers, (0..=33).collect::<Vec<u8>>());
        let names: HashSet<_> = MsgType::ALL.iter().map(|msg| msg.constant()).collect();
        assert_eq!(names.len(), MsgType::ALL.len());
    }

    #[test]
    fn any_json_number_may_name_an_event() {
        for text in ["9", "9.0", "9e0", "0.9E1", "90e-1"] {
            assert_eq!(number(text), Some(MsgType::LlmRequest), "{text}");
        }
        assert_eq!(number("-0"), Some(MsgType::NonStream));
        for text in ["34", "-1", "9.5", "1e99", "1e999", "256", "265", "nan", "inf", ""] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn every_row_reads_back_in_both_dialects() {
        for msg in MsgType::ALL {
            for dialect in [Dialect::Numeric, Dialect::Named] {
                match msg.wire(dialect) {
                    Some(WireName::Number(n)) => {
                        assert_eq!(number(&n.to_string()), Some(*msg));
                    }
                    Some(WireName::Name(name)) => {
                        let (read, _) = MsgType::from_wire(EventName::Name(name)).unwrap();
                        assert_eq!(read, *msg);
                    }
                    None => assert_eq!((*msg, dialect), (MsgType::ClientKey, Dialect::Named)),
                }
            }
        }
    }

    #[test]
    fn names_and_aliases() {
        use Dialect::Named;
        for (name, expected) in [
            ("LLM_REQUEST", Some((MsgType::LlmRequest, Some(Named)))),
            ("CLIENT_DISCONNECTED", Some((MsgType::ClientDisconnected, Some(Named)))),
            ("CLIENT_DISCONNETED", Some((MsgType::ClientDisconnected, Some(Named)))),
            ("READ_LOG", Some((MsgType::ReadLog, Some(Named)))),
            ("TEMP_ROOM_ASSIGNED", Some((MsgType::TempRoomAssigned, None))),
            ("getRooms", Some((MsgType::GetRooms, None))),
            ("getClientList", Some((MsgType::GetClientList, None))),
            ("getClientsInRoom", Some((MsgType::GetClientsInRoom, None))),
            ("update_connected_clients", Some((MsgType::UpdateConnectedClients, None))),
            ("new_message", Some((MsgType::NewMessage, None))),
            ("member_role_changed", Some((MsgType::MemberRoleChanged, None))),
            ("message", None),
            ("$stream", None),
            ("CLIENT_STREAM_START", None),
            ("CLIENT_KEY", None),
            ("NON_STREAM", None),
            ("9", None),
            ("constructor", None),
            ("", None),
        ] {
            assert_eq!(MsgType::from_wire(EventName::Name(name)), expected, "{name}");
        }
    }

    #[test]
    fn wire_names_are_json() {
        let text = |msg: MsgType, dialect| msg.wire(dialect).unwrap().to_string();
        assert_eq!(text(MsgType::Error, Dialect::Numeric), "21");
        assert_eq!(text(MsgType::Error, Dialect::Named), "\"ERROR\"");
        assert_eq!(text(MsgType::ServerStatus, Dialect::Numeric), "\"SERVER_STATUS\"");
        assert_eq!(text(MsgType::TempRoomAssigned, Dialect::Numeric), "\"TEMP_ROOM_ASSIGNED\"");
    }
}
