//! Log lines, signals, and the end of a process whose shared actors have panicked.
//!
//! ```text
//!   error!(…) ──► logger ──► env_logger ──► standard error
//!                   └──────► files ──(bounded)──► a thread ──► rotation ──► logs/*.log
//! ```

mod files;
mod logger;
mod rotation;

use std::{
    path::Path,
    process,
    sync::{Arc, OnceLock},
};

use actors::{logs::FOLDER, metrics::Metrics};
use log::{error, info};
use serde::Deserialize;

use files::Files;
use logger::Logger;

/// How the broker logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or env_logger directives. `RUST_LOG` takes precedence.
    pub level: String,
    /// Whether log files are written, too.
    pub files: bool,
    /// Bytes of a log file. A full one is kept under another name.
    pub file_bytes: u64,
    /// Full files of each log that are kept.
    pub old_files: usize,
    /// Bytes of entries that wait to be written.
    pub waiting_bytes: usize,
    /// `READ_LOG`s that are served at once.
    pub max_reads: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            files: true,
            file_bytes: 8 * 1024 * 1024,
            old_files: 4,
            waiting_bytes: 1024 * 1024,
            max_reads: 2,
        }
    }
}

/// Exit code of a process whose shared actors have panicked (`EX_SOFTWARE`).
const CONTROL_PANIC: i32 = 70;

/// The logger of this process, if it is ours.
static LOGGER: OnceLock<&'static Logger> = OnceLock::new();

/// Starts logging to standard error and into the files of that data directory. A second call changes nothing.
pub fn init(config: &LogConfig, data: &Path) {
    let (files, failure) = match config.files.then(|| Files::create(&data.join(FOLDER), config)) {
        Some(Ok(files)) => (Some(files), None),
        Some(Err(failure)) => (None, Some(failure)),
        None => (None, None),
    };
    let logger: &'static Logger = Box::leak(Box::new(Logger::new(&config.level, files)));
    // Fails only if a logger is there already.
    if log::set_logger(logger).is_ok() {
        let _ = LOGGER.set(logger);
        set_debug_mode(false);
        if let Some(error) = failure {
            error!(error:%; "no log files: logs/ cannot be written");
        }
    }
}

/// Logs what is for debugging, or what the configuration says again (spec §4.8).
pub fn set_debug_mode(on: bool) {
    if let Some(logger) = LOGGER.get() {
        log::set_max_level(logger.set_debug_mode(on));
    }
}

/// From here on, what the log loses is counted there.
pub fn count_in(metrics: &Arc<Metrics>) {
    if let Some(files) = LOGGER.get().and_then(|logger| logger.files()) {
        files.count_in(metrics);
    }
}

/// Waits until what was logged stands in the files; not for ever.
pub fn flush() {
    if let Some(logger) = LOGGER.get() {
        log::Log::flush(*logger);
    }
}

/// The time as the log writes it: `YYYY-MM-DD HH:mm:ss`, on the clock of this machine.
pub fn timestamp() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A panic in a session costs one socket. A panic in a shared actor takes its state with it, so the
/// process ends with a clear code and whoever supervises it starts it again (facts §3.4).
pub fn end_process_on_control_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        // Where, and not what: the words of a panic may quote what was being read.
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        if actors::launch::is_control_thread() {
            error!(at:%; "a shared actor has panicked; the process ends");
            flush();
            process::exit(CONTROL_PANIC);
        }
        error!(at:%; "a session has panicked; its socket is closed");
    }));
}

/// Waits for SIGINT or SIGTERM.
pub async fn until_stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = tokio::signal::ctrl_c() => (),
            }
            info!("stopping");
            return;
        }
    }
    // Without a handler the default action of the signal ends the process anyway.
    let _ = tokio::signal::ctrl_c().await;
    info!("stopping");
}
