//! `settings/server_settings.json` (spec §2.1): every key, its default, and how it is read.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::json_text::RawObject;
use super::password::Stored;

/// The file's name inside `settings/`.
pub const FILE: &str = "server_settings.json";

/// Keys that the file may hold and that are never written by us (spec §2.1: legacy, runtime state, secrets).
pub const NEVER_WRITTEN: [&str; 4] = ["Rooms", "extensionRooms", "clientKeys", "staticResouce"];

/// The mode of new rooms, of which the spec says what an unusable value comes to.
const MODE: &str = "defaultRoomMessageRequestMode";
const NETWORK_SAFE: &str = "networkSafe";

/// The server settings in memory. A key that is absent or `null` has its default.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// `serverPort`, number or text; effective at the next start.
    pub server_port: u16,
    /// `serverAddress`, shown to clients.
    pub server_address: String,
    /// `networkSafe`: keys of peers in scope are not checked.
    pub network_safe: bool,
    /// `reconnectAttempts`, at most 1000.
    pub reconnect_attempts: u32,
    /// `reconnectDelay`, at most one hour.
    pub reconnect_delay: Duration,
    /// `timeout`, at most one hour: a hint for clients. It is meant for internal waits too, where nothing else
    /// is given, and none is left: each has a setting of its own in `config.toml`.
    pub timeout: Duration,
    /// `autoConnect`, a hint for clients.
    pub auto_connect: bool,
    /// `socketIOPath`, starts with `/`, without trailing `/`; effective at the next start.
    pub socket_io_path: String,
    /// `queryParameters`, a hint for clients.
    pub query_parameters: Map<String, Value>,
    /// `transport`, a hint for clients.
    pub transport: String,
    /// `debugMode`.
    pub debug_mode: bool,
    /// `contextPageSize`, 1 to 1000 messages.
    pub context_page_size: usize,
    /// `contextSendDelay`, at most one minute; zero means none.
    pub context_send_delay: Duration,
    /// `defaultRoomMessageRequestMode`: one of the four modes.
    pub default_room_message_request_mode: String,
    /// `conversationalCheckInterval`.
    pub conversational_check_interval: Duration,
    /// `conversationalThinkProbability`, 0 to 1.
    pub conversational_think_probability: f64,
    /// `conversationalThinkIntervalMin`.
    pub conversational_think_interval_min: Duration,
    /// `conversationalThinkIntervalMax`, not below the minimum.
    pub conversational_think_interval_max: Duration,
    /// `conversationalInstruction`.
    pub conversational_instruction: String,
    /// `postUnmuteInstruction`.
    pub post_unmute_instruction: String,
    /// `postUnmuteThinkDelay`.
    pub post_unmute_think_delay: Duration,
    /// `restrictedFiles`: relative paths that file functions refuse.
    pub restricted_files: Vec<String>,
    /// Hashes of the legacy map `sillyTavernPassword`, by client id.
    pub(super) legacy_passwords: HashMap<String, String>,
}

/// The modes of spec §4.9.4.
const MODES: [&str; 4] = ["Immediate", "HostSubmit", "MasterOnly", "Conversational"];
const HOUR_MS: u64 = 3_600_000;

/// The defaults in the file's own form and order.
pub fn defaults() -> Value {
    json!({
        "serverPort": 4000,
        "serverAddress": "http://localhost",
        "networkSafe": true,
        "reconnectAttempts": 5,
        "reconnectDelay": 1000,
        "timeout": 5000,
        "autoConnect": true,
        "socketIOPath": "/socket.io",
        "queryParameters": {},
        "transport": "websocket",
        "debugMode": false,
        "contextPageSize": 50,
        "contextSendDelay": 100,
        "defaultRoomMessageRequestMode": "Immediate",
        "conversationalCheckInterval": 5000,
        "conversationalThinkProbability": 0.3,
        "conversationalThinkIntervalMin": 15000,
        "conversationalThinkIntervalMax": 60000,
        "conversationalInstruction": "Read the conversation and decide whether you want to say something. If so, reply in character; if not, reply with nothing.",
        "postUnmuteInstruction": "You may speak again. Read what was said in the meantime before you reply.",
        "postUnmuteThinkDelay": 2000
    })
}

/// Whether a key is one of spec §2.1 that may be written.
pub fn is_known(key: &str) -> bool {
    key == "restrictedFiles" || defaults().get(key).is_some()
}

/// Whether a file that cannot be parsed, for a comma too many, says all the same that keys need not be checked.
pub(super) fn says_network_safe(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let values = text.split("\"networkSafe\"").skip(1).map(|value| value.trim_start().strip_prefix(':'));
    values.last().flatten().is_some_and(|value| value.trim_start().starts_with("true"))
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self::read(&RawObject::default()).0
    }
}

impl ServerSettings {
    /// Reads the keys over those that were in force: a value that cannot be used changes nothing. Returns what is in
    /// force now, and what was wrong.
    pub fn read_over(mut object: RawObject, before: Option<&RawObject>) -> (Self, RawObject, Vec<String>) {
        let unusable = Self::read(&object).1;
        for key in &unusable {
            match before.map(|before| before.raw(key)) {
                Some(Some(raw)) if *key != MODE => object.set_raw(key, raw.to_owned()),
                // Whoever writes that means something by it, and the default would be to check no keys.
                None if *key == NETWORK_SAFE => object.set(key, &false.into()),
                _ => object.retain(|other| other != *key),
            }
        }
        let settings = Self::read(&object).0;
        let name = |key| match key {
            NETWORK_SAFE if settings.network_safe => format!("{key} (keys are not checked)"),
            NETWORK_SAFE => format!("{key} (keys are checked)"),
            MODE => format!("{key} (it is {})", settings.default_room_message_request_mode),
            _ => String::from(key),
        };
        let problems = unusable.into_iter().map(name).collect();
        (settings, object, problems)
    }

    /// The keys of an object whose values could not be read back. What a mode that is none comes to is known.
    pub fn unusable(object: &RawObject) -> impl Iterator<Item = &'static str> {
        Self::read(object).1.into_iter().filter(|key| *key != MODE)
    }

    /// Reads the keys, and names those whose value cannot be used; they have their defaults here.
    pub fn read(object: &RawObject) -> (Self, Vec<&'static str>) {
        let mut r = Reader { object, unusable: Vec::new() };
        let min = r.millis("conversationalThinkIntervalMin", 15_000, 24 * HOUR_MS);
        let max = r.millis("conversationalThinkIntervalMax", 60_000, 24 * HOUR_MS);
        let default_text =
            |key: &str| defaults().get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let settings = Self {
            server_port: r
                .get("serverPort", 4000, |v| u16::try_from(integer(v)?).ok().filter(|port| *port > 0)),
            server_address: r.text("serverAddress", default_text("serverAddress")),
            network_safe: r.flag(NETWORK_SAFE, true),
            reconnect_attempts: r.get("reconnectAttempts", 5, |v| u32::try_from(integer(v)?.min(1000)).ok()),
            reconnect_delay: r.millis("reconnectDelay", 1000, HOUR_MS),
            timeout: r.millis("timeout", 5000, HOUR_MS),
            auto_connect: r.flag("autoConnect", true),
            socket_io_path: r.get("socketIOPath", "/socket.io".to_owned(), |v| {
                let path = v.as_str()?.trim_end_matches('/');
                // The server's routes are patterns, in which braces have a meaning.
                let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
                (path.len() > 1 && path.starts_with('/') && path.chars().all(plain)).then(|| path.to_owned())
            }),
            query_parameters: r.get("queryParameters", Map::new(), |v| v.as_object().cloned()),
            transport: r.text("transport", default_text("transport")),
            debug_mode: r.flag("debugMode", false),
            context_page_size: r.get("contextPageSize", 50, |v| {
                usize::try_from(integer(v)?.min(1000)).ok().filter(|size| *size > 0)
            }),
            context_send_delay: r.millis("contextSendDelay", 100, 60_000),
            default_room_message_request_mode: r.get(MODE, "Immediate".to_owned(), |v| {
                MODES.iter().find(|mode| v.as_str() == Some(mode)).map(|m| (*m).to_owned())
            }),
            conversational_check_interval: r
                .millis("conversationalCheckInterval", 5000, HOUR_MS)
                .max(Duration::from_millis(100)),
            conversational_think_probability: r.get("conversationalThinkProbability", 0.3, |v| {
                v.as_f64().filter(|p| (0.0..=1.0).contains(p))
            }),
            conversational_think_interval_min: min,
            conversational_think_interval_max: max.max(min),
            conversational_instruction: r
                .text("conversationalInstruction", default_text("conversationalInstruction")),
            post_unmute_instruction: r.text("postUnmuteInstruction", default_text("postUnmuteInstruction")),
            post_unmute_think_delay: r.millis("postUnmuteThinkDelay", 2000, HOUR_MS),
            restricted_files: r.get("restrictedFiles", Vec::new(), |v| {
                let items = v.as_array()?.iter();
                items.map(|item| item.as_str().map(str::to_owned)).collect()
            }),
            legacy_passwords: r.get("sillyTavernPassword", HashMap::new(), |v| {
                let hash = |(id, entry): (&String, &Value)| match Stored::read(entry) {
                    Some(Stored::Hash(hash)) => Some((id.clone(), hash)),
                    _ => None,
                };
                Some(v.as_object()?.iter().filter_map(hash).collect())
            }),
        };
        (settings, r.unusable)
    }

    /// How long a client that is gone is kept (spec §3.8): attempts × delay.
    pub fn reconnect_grace(&self) -> Duration {
        self.reconnect_delay.saturating_mul(self.reconnect_attempts)
    }
}

/// A whole number, also where it is written as text or with a zero fraction.
fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            // Up to 2^53 a float holds every whole number, so the cast is exact.
            (float.fract() == 0.0 && (0.0..9e15).contains(&float)).then_some(float as u64)
        }),
        _ => None,
    }
}

struct Reader<'a> {
    object: &'a RawObject,
    unusable: Vec<&'static str>,
}

impl Reader<'_> {
    fn get<T>(&mut self, key: &'static str, default: T, read: impl Fn(&Value) -> Option<T>) -> T {
        let Some(raw) = self.object.raw(key).filter(|raw| raw.get() != "null") else {
            return default;
        };
        // Of a text that is none, too, nobody knows what it means.
        let value = serde_json::from_str(raw.get()).ok();
        value.as_ref().and_then(read).unwrap_or_else(|| {
            self.unusable.push(key);
            default
        })
    }

    fn text(&mut self, key: &'static str, default: String) -> String {
        self.get(key, default, |value| value.as_str().map(str::to_owned))
    }

    fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.get(key, default, Value::as_bool)
    }

    fn millis(&mut self, key: &'static str, default: u64, max: u64) -> Duration {
        Duration::from_millis(self.get(key, default, integer).min(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> (ServerSettings, Vec<&'static str>) {
        ServerSettings::read(&RawObject::parse(&value.to_string(), 64).unwrap())
    }

    #[test]
    fn the_defaults_of_the_file_are_the_defaults_of_the_code() {
        assert_eq!(read(&defaults()), (ServerSettings::default(), Vec::new()));
        assert_eq!(ServerSettings::default().reconnect_grace(), Duration::from_secs(5));
    }

    #[test]
    fn every_key_overrides_and_null_does_not() {
        for key in defaults().as_object().unwrap().keys() {
            assert_eq!(read(&json!({ key: null })), (ServerSettings::default(), Vec::new()), "{key}");
            assert!(is_known(key));
        }
        let (settings, unusable) = read(&json!({
            "serverPort": "4001", "serverAddress": "http://example.org", "networkSafe": false,
            "reconnectAttempts": 10, "reconnectDelay": 200, "timeout": 1, "autoConnect": false,
            "socketIOPath": "/io/", "queryParameters": {"a": 1}, "transport": "polling",
            "debugMode": true, "contextPageSize": 7, "contextSendDelay": 0,
            "defaultRoomMessageRequestMode": "MasterOnly", "conversationalCheckInterval": 1000,
            "conversationalThinkProbability": 1, "conversationalThinkIntervalMin": 70000,
            "conversationalThinkIntervalMax": 1, "conversationalInstruction": "i",
            "postUnmuteInstruction": "u", "postUnmuteThinkDelay": 3, "restrictedFiles": ["data/x.json"],
            "sillyTavernPassword": {"SillyTavern-8000": "$2b$10$x", "other": "plain"}
        }));
        assert_eq!(unusable, [""; 0]);
        assert_eq!(settings.server_port, 4001);
        assert!(!settings.network_safe && settings.debug_mode && !settings.auto_connect);
        assert_eq!(settings.reconnect_grace(), Duration::from_secs(2));
        assert_eq!(settings.socket_io_path, "/io");
        assert_eq!(settings.context_send_delay, Duration::ZERO);
        assert_eq!(settings.default_room_message_request_mode, "MasterOnly");
        assert_eq!(settings.conversational_think_interval_max, Duration::from_secs(70));
        assert_eq!(settings.restricted_files, ["data/x.json"]);
        assert_eq!(settings.legacy_passwords.len(), 1);
    }

    #[test]
    fn unusable_values_are_named_and_have_no_effect() {
        for (key, bad) in [
            ("serverPort", json!(0)),
            ("serverPort", json!(70000)),
            ("serverPort", json!("http")),
            ("networkSafe", json!("false")),
            ("reconnectDelay", json!(-1)),
            ("contextPageSize", json!(0)),
            ("defaultRoomMessageRequestMode", json!("Loud")),
            ("conversationalThinkProbability", json!(2)),
            ("socketIOPath", json!("")),
            ("socketIOPath", json!("/{x")),
            ("socketIOPath", json!("/a\"b")),
            ("restrictedFiles", json!([1])),
            ("sillyTavernPassword", json!("x")),
        ] {
            assert_eq!(read(&json!({ key: bad })), (ServerSettings::default(), vec![key]), "{bad}");
        }
        let (settings, _) = read(&json!({"reconnectAttempts": 1e15, "reconnectDelay": 1e15}));
        assert_eq!(settings.reconnect_grace(), Duration::from_secs(3600 * 1000));
    }

    #[test]
    fn defect_8_02_start_tolerates_any_json_and_ignores_runtime_state() {
        for value in [json!({}), json!({"sillyTavernPassword": {}}), json!({"Rooms": ["a"]})] {
            assert_eq!(read(&value), (ServerSettings::default(), Vec::new()), "{value}");
        }
        for key in NEVER_WRITTEN {
            assert!(!is_known(key));
        }
    }
}
