//! The command line: without a command it is the broker, with one it does that and ends.

mod check_config;
mod client;

use std::{path::PathBuf, process::ExitCode};

use actors::trust::roster::Roster;
use clap::{Args, Parser, Subcommand};

use client::ClientCommand;

use crate::{
    config::{Config, Flags},
    extension_files::{self, Files, Place},
};

/// What the program is started with.
#[derive(Debug, Parser)]
#[command(
    name = "newage-broker",
    version,
    about = "A message broker between apps and SillyTavern, over Socket.IO v4"
)]
pub struct Cli {
    /// Of the broker itself.
    #[command(flatten)]
    pub flags: Flags,
    /// Something else to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The extension for SillyTavern: put it there, or take it away.
    #[command(subcommand)]
    Extension(ExtensionCommand),
    /// Who may connect: add, list, revoke. A broker that runs notices.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Reads config.toml, the settings and the client files, and names everything that is wrong with them.
    CheckConfig,
}

/// `extension …`
#[derive(Debug, Subcommand)]
pub enum ExtensionCommand {
    /// Copies the extension to a SillyTavern; a newer one replaces an older one.
    Install(ExtensionArgs),
    /// Removes the files that `install` has copied, and nothing else.
    Uninstall(ExtensionArgs),
}

/// Which SillyTavern, and for whom.
#[derive(Debug, Args)]
pub struct ExtensionArgs {
    /// SillyTavern's folder: the one with its server.js.
    #[arg(long, value_name = "DIR")]
    pub sillytavern: PathBuf,
    /// Only for this user. Without it: for all of them.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Where SillyTavern keeps its users' data. Default: what its config.yaml says, or DIR/data.
    #[arg(long, value_name = "DIR", requires = "user")]
    pub data_root: Option<PathBuf>,
}

/// What a command has to say.
#[derive(Debug, Default)]
struct Said {
    /// The result, to standard output.
    result: String,
    /// What goes with it, to standard error, so that a script gets the result alone.
    notes: Vec<String>,
    /// It found something wrong.
    failed: bool,
}

impl Said {
    fn result(result: impl Into<String>) -> Self {
        Self { result: result.into(), ..Self::default() }
    }
}

impl Command {
    /// Does it, and says what was done.
    pub fn run(self, flags: &Flags) -> ExitCode {
        let outcome = match self {
            Self::Extension(command) => extension(command).map(Said::result),
            Self::Client(command) => roster(flags).and_then(|roster| client::run(command, &roster)),
            Self::CheckConfig => check_config::run(flags),
        };
        match outcome {
            Ok(said) => {
                for note in said.notes {
                    eprintln!("{note}");
                }
                if !said.result.is_empty() {
                    println!("{}", said.result);
                }
                if said.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            }
            Err(text) => {
                eprintln!("newage-broker: {text}");
                ExitCode::FAILURE
            }
        }
    }
}

/// The clients of the data directory that the flags name.
fn roster(flags: &Flags) -> Result<Roster, String> {
    Config::load(flags).map(|config| roster_of(&config)).map_err(|error| error.to_string())
}

fn roster_of(config: &Config) -> Roster {
    let mut trust = config.trust_config();
    // Also without --demo today: with it, that client could not connect tomorrow.
    trust.reserved_ids = actors::launch::reserved_ids(true, &config.history_config());
    // Shown to people, who need not read "./" before each file.
    if trust.root == std::path::Path::new(".") {
        trust.root = PathBuf::new();
    }
    Roster::new(trust)
}

fn extension(command: ExtensionCommand) -> Result<String, String> {
    let place = |args: &ExtensionArgs| {
        let data_root = args.data_root.as_deref();
        Place::find(&args.sillytavern, args.user.as_deref(), data_root).map_err(|error| error.to_string())
    };
    match command {
        ExtensionCommand::Install(args) => {
            let place = place(&args)?;
            extension_files::install(&place, &Files::embedded()).map_err(|error| error.to_string())?;
            Ok(format!(
                "installed in {}\nReload the SillyTavern page; its extensions drawer has a panel \"NewAge Broker\".",
                place.folder().display()
            ))
        }
        ExtensionCommand::Uninstall(args) => {
            let place = place(&args)?;
            let removed = extension_files::uninstall(&place).map_err(|error| error.to_string())?;
            Ok(match removed {
                0 => format!("nothing is installed in {}", place.folder().display()),
                _ => format!("removed from {}", place.folder().display()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_is_the_broker() {
        let cli = Cli::parse_from(["newage-broker", "--port", "0", "--demo"]);
        assert!(cli.command.is_none());
        assert_eq!((cli.flags.port, cli.flags.demo), (Some(0), Some(true)));
    }

    #[test]
    fn a_data_root_is_somebodys() {
        let words = ["newage-broker", "extension", "install", "--sillytavern", "st", "--data-root", "d"];
        assert!(Cli::try_parse_from(words).is_err());
        let cli = Cli::parse_from([&words[..], &["--user", "me"]].concat());
        assert!(matches!(cli.command, Some(Command::Extension(ExtensionCommand::Install(_)))));
    }
}
