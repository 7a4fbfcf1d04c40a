//! The command line.

use std::{path::PathBuf, time::Duration};

use crate::{
    Outcome,
    scenario::{Length, SCENARIOS, Scenario, Size},
    server::{Kind, Servers},
};

const HELP: &str = "\
bench-load: drives brokers, verifies what they answer, and compares what it costs them

  --only ours,socketioxide,held,node,raw   these servers alone
  --scenario NAME,…    these scenarios; the beginning of a name means all that begin so
  --runs N             runs of each (5); idle connections are held in one run alone
  --ms N               how long a run counts (800)
  --ours FILE          another build of our broker
  --tiny               a few clients for a moment: shows that it works, measures nothing
  --write              also writes bench/results/ and docs/performance.*
  --list               the scenarios
";

pub struct Options {
    pub servers: Servers,
    pub kinds: Vec<Kind>,
    pub scenarios: Vec<&'static Scenario>,
    pub runs: usize,
    pub length: Length,
    pub size: Size,
    pub write: bool,
}

impl Options {
    /// Nothing, if only a question was to be answered.
    pub fn read(arguments: impl Iterator<Item = String>) -> Outcome<Option<Self>> {
        let mut options = Self {
            servers: Servers::of_this_repository()?,
            kinds: Kind::ALL.to_vec(),
            scenarios: SCENARIOS.iter().collect(),
            runs: 5,
            length: Length::default(),
            size: Size::Full,
            write: false,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--only" => {
                    let names = value()?;
                    options.kinds.retain(|kind| names.split(',').any(|name| name == kind.name()));
                }
                "--scenario" => {
                    let names = value()?;
                    options
                        .scenarios
                        .retain(|scenario| names.split(',').any(|name| is_meant(name, scenario.name)));
                }
                "--runs" => options.runs = value()?.parse()?,
                "--ms" => options.length.time = Duration::from_millis(value()?.parse()?),
                "--ours" => options.servers.ours = PathBuf::from(value()?).canonicalize()?,
                "--tiny" => {
                    options.size = Size::Tiny;
                    options.runs = 1;
                    options.length = Length::tiny();
                }
                "--write" => options.write = true,
                "--list" => {
                    for scenario in SCENARIOS {
                        println!("{:<18}{}, per {}", scenario.name, scenario.title, scenario.unit);
                    }
                    return Ok(None);
                }
                "--help" => {
                    print!("{HELP}");
                    return Ok(None);
                }
                _ => return Err(format!("unknown: {argument}\n\n{HELP}").into()),
            }
        }
        if options.kinds.is_empty() || options.scenarios.is_empty() || options.runs == 0 {
            return Err("nothing to measure; --list and --help say what there is".into());
        }
        if options.write && (options.size == Size::Tiny || options.scenarios.len() < SCENARIOS.len()) {
            return Err("--write takes all scenarios, in full size".into());
        }
        Ok(Some(options))
    }
}

fn is_meant(name: &str, scenario: &str) -> bool {
    scenario.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
