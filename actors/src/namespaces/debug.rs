//! `/debug`: the switch for debugging, the server's state, its log (spec §4.8). Whoever is not an extension or an
//! administrator was turned away at the handshake.

use framing::{
    json::{Kind, RawJson, quoted},
    socket::{Event, Namespace as WireNamespace},
};
use serde_json::Value;

use super::{Broker, Cx, Directory, payload};
use crate::{
    llm_router::CountPending,
    logs::{LevelFilter, LogFile, LogPage, ReadLog},
    metrics::Metrics,
    protocol::{MsgType, payload as payloads},
    trust::ToggleDebugMode,
};

/// Entries of a page, if the event does not say, and at most.
const PAGE_SIZE: u64 = 10;
const MAX_PAGE_SIZE: u64 = 100;

/// The greatest whole number that JavaScript counts to.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Whether an event belongs to this namespace.
pub(super) fn is_served(message: MsgType) -> bool {
    matches!(message, MsgType::ToggleDebugMode | MsgType::ServerStatus | MsgType::ReadLog)
}

impl Broker {
    /// Every socket of the namespace is told by the registry, whoever changes the setting.
    pub(super) fn toggle_debug_mode(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let Some(client_id) = self.sockets.get(ns).map(|socket| socket.client.clone()) else {
            return;
        };
        let trust = self.directory.trust.clone();
        self.ask_for(cx, ns, event, &trust, ToggleDebugMode { client_id }, |outcome| match outcome {
            Ok(on) => Ok(payloads::status_ok([("debugMode", on.into())]).to_string()),
            Err(error) => Err(error.to_string()),
        });
    }

    pub(super) fn server_status(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let (directory, metrics) = (self.directory.clone(), cx.session().metrics_handle());
        let router = directory.router.clone();
        self.ask_for(cx, ns, event, &router, CountPending, move |pending| {
            let status = status(&directory, &metrics, pending);
            Ok(payloads::status_ok([("serverStatus", status)]).to_string())
        });
    }

    pub(super) fn read_log(&mut self, cx: &mut Cx<'_, '_>, ns: &WireNamespace, event: &Event) {
        let question = match question(event) {
            Ok(question) => question,
            Err(message) => return self.fail(cx, ns, event, message),
        };
        let logs = self.directory.logs.clone();
        self.ask_for(cx, ns, event, &logs, question, move |outcome| match outcome {
            Ok(found) => Ok(page_json(&question, &found)),
            Err(error) => Err(error.to_string()),
        });
    }
}

/// Everything as it is now; the port is the one that is listened on.
fn status(directory: &Directory, metrics: &Metrics, pending: usize) -> Value {
    let (settings, server) = (directory.settings.load(), &directory.server);
    payloads::object([
        ("serverPort", server.port.get().copied().unwrap_or(settings.server_port).into()),
        ("serverAddress", settings.server_address.as_str().into()),
        ("networkSafe", settings.network_safe.into()),
        ("debugMode", settings.debug_mode.into()),
        ("startTime", server.start_time.as_str().into()),
        ("uptimeSeconds", server.since.elapsed().as_secs().into()),
        ("connections", metrics.open_sessions().into()),
        ("clients", metrics.clients.get().into()),
        ("extensions", metrics.extensions.get().into()),
        ("pendingRequests", pending.into()),
        ("openStreams", metrics.open_streams.get().into()),
        ("version", server.version.into()),
    ])
}

fn page_json(question: &ReadLog, found: &LogPage) -> String {
    let lines: Vec<String> = found.lines.iter().map(|entry| quoted(entry)).collect();
    let (lines, total) = (lines.join(","), found.total);
    let ReadLog { page, page_size, filter, .. } = question;
    let level = filter.wire();
    let place = format!("\"total\":{total},\"page\":{page},\"pageSize\":{page_size},\"level\":\"{level}\"");
    format!("{{\"status\":\"ok\",\"success\":true,\"lines\":[{lines}],{place}}}")
}

/// Reads the fields of `READ_LOG`; the error is the first of them that is wrong.
fn question(event: &Event) -> Result<ReadLog, &'static str> {
    let [filename, level, page, page_size] =
        payload::object(event).fields(["filename", "level", "page", "pageSize"]);
    let file = payload::text(filename.as_ref()).and_then(|name| LogFile::from_name(&name));
    let file = file.ok_or("Invalid filename")?;
    let filter = match payload::present(level) {
        None => Some(LevelFilter::All),
        Some(level) => payload::text(Some(&level)).and_then(|level| LevelFilter::from_wire(&level)),
    };
    let filter = filter.ok_or("Invalid level Options")?;
    let page = whole(page, 1).filter(|page| *page >= 1).ok_or("Invalid page number")?;
    let page_size = whole(page_size, PAGE_SIZE)
        .filter(|size| (1..=MAX_PAGE_SIZE).contains(size))
        .and_then(|size| usize::try_from(size).ok())
        .ok_or("Invalid page size (must be between 1 and 100)")?;
    Ok(ReadLog { file, filter, page, page_size })
}

/// A whole number that JavaScript can count to, or the default of a field that is missing.
fn whole(field: Option<RawJson>, default: u64) -> Option<u64> {
    let Some(field) = payload::present(field) else {
        return Some(default);
    };
    let number = field.as_f64().filter(|_| field.kind() == Kind::Number)?;
    // Up to there a float holds every whole number, so the cast is exact.
    (number.fract() == 0.0 && (0.0..=MAX_SAFE_INTEGER as f64).contains(&number)).then_some(number as u64)
}
