//! What is logged, and where it goes: to env_logger, and to the files.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use actors::logs::{Entry, SERVICE};
use env_logger::{Builder, Env};
use log::{
    Level, LevelFilter, Log, Metadata, Record,
    kv::{self, VisitSource, VisitValue},
};
use serde_json::{Map, Value};

use super::{Files, timestamp};

/// Crates that log more in debug mode. What others have to say then is of no use to whoever switches it on.
const OURS: [&str; 3] = ["newage_broker", "actors", "framing"];

/// See the module's documentation.
pub(super) struct Logger {
    /// Decides, and writes nothing.
    configured: env_logger::Logger,
    /// Writes everything that it is given.
    console: env_logger::Logger,
    debug_mode: AtomicBool,
    files: Option<Files>,
}

impl Logger {
    /// `level` holds env_logger's directives; `RUST_LOG` takes precedence.
    pub(super) fn new(level: &str, files: Option<Files>) -> Self {
        let configured = Builder::from_env(Env::default().default_filter_or(level)).build();
        let style = std::env::var("RUST_LOG_STYLE").unwrap_or_default();
        let console = Builder::new()
            .filter_level(LevelFilter::Trace)
            .parse_write_style(&style)
            .format_timestamp_millis()
            .build();
        Self { configured, console, debug_mode: AtomicBool::new(false), files }
    }

    pub(super) fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    /// Returns the least severe level that anything is logged at.
    pub(super) fn set_debug_mode(&self, on: bool) -> LevelFilter {
        self.debug_mode.store(on, Relaxed);
        let least = if on { LevelFilter::Debug } else { LevelFilter::Off };
        self.configured.filter().max(least)
    }

    fn debugs(&self, metadata: &Metadata<'_>) -> bool {
        self.debug_mode.load(Relaxed) && metadata.level() <= Level::Debug && is_ours(metadata.target())
    }
}

fn is_ours(target: &str) -> bool {
    OURS.contains(&target.split("::").next().unwrap_or_default())
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.configured.enabled(metadata) || self.debugs(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.configured.matches(record) && !self.debugs(record.metadata()) {
            return;
        }
        self.console.log(record);
        if let Some(files) = &self.files {
            files.push(record.level(), text(record, &timestamp()));
        }
    }

    fn flush(&self) {
        self.console.flush();
        if let Some(files) = &self.files {
            files.flush();
        }
    }
}

/// A record as an entry. `code` and `event` have places of their own, if they are what belongs there.
fn text(record: &Record<'_>, time: &str) -> String {
    let mut fields = Fields(Map::new());
    // Nothing of ours fails to be visited.
    let _ = record.key_values().visit(&mut fields);
    let mut fields = fields.0;
    let code = fields.get("code").and_then(Value::as_i64);
    if code.is_some() {
        fields.shift_remove("code");
    }
    let event = fields.get("event").and_then(Value::as_str).filter(|name| is_constant(name));
    let event = event.map(str::to_owned);
    if event.is_some() {
        fields.shift_remove("event");
    }
    let service = if is_ours(record.target()) { SERVICE } else { record.target() };
    let message = record.args().to_string();
    let event = event.as_deref();
    Entry { time, level: record.level(), service, code, event, message: &message, fields }.to_text()
}

fn is_constant(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A record's fields as JSON.
struct Fields(Map<String, Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let mut json = Json(Value::Null);
        value.visit(&mut json)?;
        self.0.insert(key.as_str().to_owned(), json.0);
        Ok(())
    }
}

struct Json(Value);

impl<'v> VisitValue<'v> for Json {
    fn visit_any(&mut self, value: kv::Value<'_>) -> Result<(), kv::Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: &str, level: Level, fields: &[(&str, kv::Value<'_>)]) -> String {
        let args = format_args!("m");
        let record = Record::builder().args(args).target(target).level(level).key_values(&fields).build();
        text(&record, "2026-01-31 23:59:59")
    }

    #[test]
    fn fields_become_json_and_columns() {
        let id = String::from("r\n1");
        let text = entry(
            "actors::registry",
            Level::Info,
            &[
                ("request", kv::Value::from_display(&id)),
                ("n", 7.into()),
                ("ok", true.into()),
                ("seconds", 0.5.into()),
                ("code", 401.into()),
                ("event", "CLIENT_LEFT".into()),
            ],
        );
        assert_eq!(
            text,
            "2026-01-31 23:59:59 [info] [llm-server] [401] [CLIENT_LEFT]: m\n  {\n    \"request\": \"r\\n1\",\n    \"n\": 7,\n    \"ok\": true,\n    \"seconds\": 0.5\n  }\n"
        );
        // What does not belong into a column stays a field.
        let text = entry(
            "actix_server::builder",
            Level::Error,
            &[("code", "x".into()), ("event", "] [forged".into())],
        );
        assert_eq!(
            text,
            "2026-01-31 23:59:59 [error] [actix_server::builder]: m\n  {\n    \"code\": \"x\",\n    \"event\": \"] [forged\"\n  }\n"
        );
    }

    #[test]
    fn debug_mode_is_about_our_own_crates() {
        let logger = Logger::new("warn", None);
        let enabled =
            |target, level| logger.enabled(&Metadata::builder().target(target).level(level).build());
        let ours = ["newage_broker::server", "actors", "framing::session"];
        assert_eq!(logger.set_debug_mode(true), LevelFilter::Debug);
        assert!(ours.iter().all(|target| enabled(target, Level::Debug)));
        assert!(!ours.iter().any(|target| enabled(target, Level::Trace)));
        assert!(!enabled("actix_http::h1", Level::Info) && enabled("actix_http::h1", Level::Warn));
        assert!(!enabled("actors_of_others", Level::Debug));
        assert_eq!(logger.set_debug_mode(false), LevelFilter::Warn);
        assert!(!ours.iter().any(|target| enabled(target, Level::Info)));
        // It never says less.
        assert_eq!(Logger::new("trace", None).set_debug_mode(true), LevelFilter::Trace);
    }
}
