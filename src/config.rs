//! Configuration: flag, then environment (`NEWAGE_…`), then `config.toml`, then default. Every
//! setting of the broker that spec §2.1 does not place in `settings/server_settings.json` is here;
//! the shipped `config.toml` lists each with its default and is the manual.

mod file;
mod flags;
mod parts;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

pub(crate) use file::File;
pub use file::{
    DemoSection, Durability, Grouping, HistoryMode, HistorySection, KeyPolicy, LimitsSection, Llm,
    MetricsAccess, Policy, RoomsSection, Scope, Server, Session, Streams, TrustSection,
};
pub use flags::Flags;

use crate::telemetry::LogConfig;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named cannot be read.
    #[error("cannot read {file}: {source}")]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has a key or value that means nothing. The text names line and key.
    #[error("{file}: {source}")]
    Invalid {
        /// Which.
        file: PathBuf,
        /// What and where.
        source: toml::de::Error,
    },
    /// A value that no broker can work with.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// Why not.
        problem: &'static str,
    },
}

/// What the broker runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Root of `settings/`, `keys/`, `logs/`, `data/`.
    pub data: PathBuf,
    /// Where to listen; none for loopback of both families.
    pub bind: Option<IpAddr>,
    /// Which port; none for `serverPort` of the settings file.
    pub port: Option<u16>,
    /// `[server]`
    pub server: Server,
    /// `[session]`
    pub session: Session,
    /// `[limits]`
    pub limits: LimitsSection,
    /// `[llm]`
    pub llm: Llm,
    /// `[streams]`
    pub streams: Streams,
    /// `[trust]`
    pub trust: TrustSection,
    /// `[history]`
    pub history: HistorySection,
    /// `[rooms]`
    pub rooms: RoomsSection,
    /// `[demo]`
    pub demo: DemoSection,
    /// `[log]`
    pub log: LogConfig,
}

impl Config {
    /// Reads the file and applies flags and environment.
    ///
    /// # Errors
    /// A named file is missing, a file is not valid, or a value makes no sense.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let file = flags.config_file().map_or_else(|| Ok(File::default()), |file| read(&file))?;
        Self::with_file(flags, file)
    }

    /// What it would be without the file.
    ///
    /// # Errors
    /// A value makes no sense.
    pub(crate) fn without_file(flags: &Flags) -> Result<Self, ConfigError> {
        Self::with_file(flags, File::default())
    }

    fn with_file(flags: &Flags, file: File) -> Result<Self, ConfigError> {
        if let Some((key, problem)) = file.problems().next() {
            return Err(ConfigError::Value { key, problem });
        }
        let File { server, session, limits, llm, streams, trust, history, rooms, mut demo, mut log } = file;
        demo.enabled = flags.demo.unwrap_or(demo.enabled);
        log.level = flags.log.clone().unwrap_or(log.level);
        Ok(Self {
            data: flags.data(),
            bind: flags.bind,
            port: flags.port,
            server,
            session,
            limits,
            llm,
            streams,
            trust,
            history,
            rooms,
            demo,
            log,
        })
    }
}

fn read(file: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
    toml::from_str(&text).map_err(|source| ConfigError::Invalid { file: file.to_owned(), source })
}
