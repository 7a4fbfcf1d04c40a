//! Log lines, signals, and the end of a process whose shared actors have panicked.

use std::{io::Write, process};

use log::{error, info};
use serde::Deserialize;

/// How the broker logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or env_logger directives. `RUST_LOG` takes precedence.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

/// Exit code of a process whose shared actors have panicked (`EX_SOFTWARE`).
const CONTROL_PANIC: i32 = 70;

/// Starts logging to standard error. A second call changes nothing, so that tests may share a process.
pub fn init(config: &LogConfig) {
    let env = env_logger::Env::default().default_filter_or(&config.level);
    // Fails only if a logger is there already.
    let _ = env_logger::Builder::from_env(env).format_timestamp_millis().try_init();
}

/// A panic in a session costs one socket. A panic in a shared actor takes its state with it, so the
/// process ends with a clear code and whoever supervises it starts it again (facts §3.4).
pub fn end_process_on_control_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        if actors::launch::is_control_thread() {
            error!("a shared actor has panicked; the process ends");
            let _ = std::io::stderr().flush();
            process::exit(CONTROL_PANIC);
        }
        error!("a session has panicked; its socket is closed");
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
