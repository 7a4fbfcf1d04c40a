//! Drives brokers, verifies what they answer, and compares what it costs them.
//!
//! Reading order: `scenario.rs` says what is measured, `measure.rs` how, `server.rs` what runs. `answers.rs` (over
//! `script.rs`), `requests.rs`, `rpc.rs`, `room.rs` and `idle.rs` are the loads, over `world.rs`, `packet.rs`,
//! `net.rs` and `websocket.rs`. What comes out is in `results.rs`, `targets.rs`, `document.rs` and `chart.rs`.

mod answers;
mod chart;
mod document;
mod idle;
mod machine;
mod measure;
mod net;
mod options;
mod packet;
mod requests;
mod results;
mod room;
mod rpc;
mod scenario;
mod script;
mod server;
mod targets;
mod websocket;
mod world;

use std::{error::Error, fs, process::ExitCode, time::Instant};

use machine::Machine;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use options::Options;
use results::{Result as Measured, short};
use scenario::{Scenario, Size};

pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = Options::read(std::env::args().skip(1)).and_then(|options| match options {
        Some(options) => run(&options),
        None => Ok(()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome {
    // Ten thousand connections, here and in the server.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let begun = Instant::now();
    let mut results = vec![];
    let mut failures = vec![];
    for scenario in &options.scenarios {
        println!("\n{}: {}, per {}", scenario.name, scenario.title, scenario.unit);
        results.push(take_turns(options, scenario, &mut failures));
    }
    if options.size == Size::Full {
        println!("\n{}\n{}", document::targets(&results), document::figures(&results));
    }
    println!("{} s", begun.elapsed().as_secs());
    if !failures.is_empty() {
        return Err(format!("failed:\n  {}", failures.join("\n  ")).into());
    }
    if options.write {
        write(options, &results)?;
    }
    Ok(())
}

/// A B C A B C …
fn take_turns(options: &Options, scenario: &'static Scenario, failures: &mut Vec<String>) -> Measured {
    let mut result = Measured::new(scenario);
    let runs = if scenario.is_long() { 1 } else { options.runs };
    for run in 1..=runs {
        for kind in options.kinds.iter().copied().filter(|kind| scenario.takes(*kind)) {
            match scenario.run(&options.servers, kind, options.length, options.size) {
                Ok(sample) => {
                    let shown: Vec<_> =
                        sample.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
                    println!("  {run} {:<13}{}", kind.name(), shown.join("  "));
                    result.runs.entry(kind).or_default().push(sample);
                }
                Err(error) => {
                    println!("  {run} {:<13}FAILED: {error}", kind.name());
                    failures.push(format!("{} with {}: {error}", scenario.name, kind.name()));
                }
            }
        }
    }
    result
}

fn write(options: &Options, results: &[Measured]) -> Outcome {
    let bench = &options.servers.bench;
    for result in results {
        result.write(&bench.join("results"))?;
    }
    let docs = bench.join("../docs");
    let machine = Machine::look(bench);
    fs::write(docs.join("performance.md"), document::write(results, &machine, options.runs))?;
    fs::write(docs.join("performance.svg"), chart::draw(results))?;
    println!("written: bench/results/, docs/performance.md, docs/performance.svg");
    Ok(())
}
