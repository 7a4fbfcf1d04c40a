//! Drives brokers, verifies what they answer, and compares what it costs them.
//!
//! Reading order: `scenario.rs` says what is measured, `measure.rs` how, `server.rs` what runs; `answers.rs`,
//! `requests.rs` and `rpc.rs` are the loads, over `world.rs`, `packet.rs`, `net.rs` and `websocket.rs`.

mod answers;
mod idle;
mod measure;
mod net;
mod packet;
mod requests;
mod room;
mod rpc;
mod scenario;
mod script;
mod server;
mod websocket;
mod world;

use std::{error::Error, process::ExitCode, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use scenario::{Length, SCENARIOS, Scenario};
use server::{Cores, Kind};

pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

struct Options {
    kinds: Vec<Kind>,
    scenarios: Vec<&'static Scenario>,
    runs: usize,
    length: Length,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Outcome<Options> {
    let mut options = Options {
        kinds: Kind::ALL.to_vec(),
        scenarios: SCENARIOS.iter().collect(),
        runs: 5,
        length: Length {
            warm_up: Duration::from_millis(300),
            time: Duration::from_millis(800),
            hold: Duration::from_secs(60),
        },
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--only" => {
                let names = value()?;
                options.kinds.retain(|kind| names.split(',').any(|name| name == kind.name()));
            }
            "--scenario" => {
                let names = value()?;
                options.scenarios.retain(|scenario| {
                    names
                        .split(',')
                        .any(|name| scenario.name == name || scenario.name.starts_with(&format!("{name}-")))
                });
            }
            "--runs" => options.runs = value()?.parse()?,
            "--ms" => options.length.time = Duration::from_millis(value()?.parse()?),
            _ => return Err(format!("unknown: {argument}").into()),
        }
    }
    if options.kinds.is_empty() || options.scenarios.is_empty() {
        return Err("nothing to measure".into());
    }
    Ok(options)
}

fn run(options: &Options) -> Outcome {
    let cores = Cores::of_this_process()?;
    // Ten thousand connections, here and in the server.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    for scenario in &options.scenarios {
        for _ in 0..options.runs {
            for kind in options.kinds.iter().filter(|kind| scenario.takes(**kind)) {
                let sample = scenario
                    .run(*kind, cores, options.length)
                    .map_err(|error| format!("{} with {}: {error}", scenario.name, kind.name()))?;
                println!("{:<16} {:<13} {sample:.2?}", scenario.name, kind.name());
            }
        }
    }
    Ok(())
}
