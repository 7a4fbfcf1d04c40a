//! The broker's program: reads the configuration, starts, waits for a signal, stops. Other commands
//! are in `cli`.

use std::process::ExitCode;

use clap::Parser;
use log::error;
use newage_broker::{cli::Cli, config::Config, server, telemetry};

/// A request is dozens of small allocations, many of them freed out of order: the system's allocator costs more
/// for each, and keeps what a crowd that has left had needed. This one gives that back within seconds.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
