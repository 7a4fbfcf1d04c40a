//! The broker's program: reads the configuration, starts, waits for a signal, stops. Other commands
//! are in `cli`.

use std::process::ExitCode;

use clap::Parser;
use log::error;
use newage_broker::{cli::Cli, config::Config, server, telemetry};

#[actix_web::main]
async fn main() -> ExitCode {
    let Cli { flags, command } = Cli::parse();
    if let Some(command) = command {
        return command.run(&flags);
    }
    let config = match Config::load(&flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("newage-broker: {error}");
            return ExitCode::from(2);
        }
    };
    telemetry::init(&config.log, &config.data);
    telemetry::end_process_on_control_panic();
    let code = match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    };
    telemetry::flush();
    code
}

async fn run(config: Config) -> Result<(), server::StartError> {
    let running = server::start(config)?;
    println!("listening on http://{}", running.address());
    telemetry::until_stopped().await;
    running.stop().await;
    Ok(())
}
