//! Command line and environment.

use std::{net::IpAddr, path::PathBuf};

use clap::Parser;

/// Command line and environment.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "newage-broker",
    version,
    about = "A message broker between apps and SillyTavern, over Socket.IO v4"
)]
pub struct Flags {
    /// Configuration file. Default: config.toml in the data directory, if it is there.
    #[arg(long, env = "NEWAGE_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Root of settings/, keys/, logs/ and data/. Default: the working directory.
    #[arg(long, env = "NEWAGE_DATA", value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Address to listen on. Default: loopback, IPv4 and IPv6.
    #[arg(long, env = "NEWAGE_BIND", value_name = "ADDR")]
    pub bind: Option<IpAddr>,
    /// Port to listen on, 0 for any free one. Default: serverPort of server_settings.json, or 4000.
    #[arg(long, env = "NEWAGE_PORT", value_name = "N")]
    pub port: Option<u16>,
    /// Run the built-in demo extension, SillyTavern-demo.
    #[arg(long, env = "NEWAGE_DEMO", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub demo: Option<bool>,
    /// Log level: error, warn, info, debug, trace.
    #[arg(long, env = "NEWAGE_LOG", value_name = "LEVEL")]
    pub log: Option<String>,
}

impl Flags {
    pub(super) fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from("."))
    }

    /// The configuration file: the one that is named, or `config.toml` in the data directory if it is there.
    pub fn config_file(&self) -> Option<PathBuf> {
        let usual = || Some(self.data().join("config.toml")).filter(|file| file.exists());
        self.config.clone().or_else(usual)
    }
}
