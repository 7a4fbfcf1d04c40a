//! `docs/performance.md`, and the table that every run prints.

use std::fmt::Write;

use crate::{
    machine::Machine,
    results::{Result, Spread, short},
    server::Kind,
    targets::{GROWTH_LIMIT, GROWTHS, Metric, TARGETS},
};

const HEAD: &str = "\
# Performance

Written by `make bench`; the runs behind it are in [bench/results](../bench/results). The figure to compare is \
the server's CPU time for a unit of work, user and system. Absolute figures drift with the machine: compare \
within this page alone.

![What a unit of work costs, relative to socketioxide](performance.svg)
";

const HOW: &str = "
What stands in the way of the targets that are missed: [where-time-goes.md](where-time-goes.md).

## How it is measured

- Each server runs on one core, the load generator on another. Every run has a fresh server and a fresh data \
folder. Servers take turns (A B C A B C …), so that whatever the machine does meanwhile falls on all.
- A run is warm first, then works for 0.8 s, and is counted from quiet to quiet: the server's time until it has \
nothing more to do, divided by what came back. Connecting is not counted, except where it is the subject.
- The generator checks every byte, every ack, every id and the order of everything, and fails on anything that is \
missing, different or too much.
- **ours** is the release build with [bench/config.toml](../bench/config.toml), which changes nothing that users \
have: authentication against settings files, limits, log files and history are on. Each client has a settings file \
of its own; idle clients have two connections each. It brings its allocator, jemalloc; the others use the system's, \
as users of those libraries have it.
- **socketioxide** and **node** are brokers on those libraries, written for this comparison \
([bench/servers](../bench/servers)): they do the same work for the scenarios, in order and without loss, and have no \
authentication, limits, log or history. They relay an extension's pieces as `node-socketio-stream` does, one write for \
each that is not empty, after its `$stream-read` and the ack of the one before. Our broker writes what waits at once, \
which the protocol permits and clients read the same; much of its lead in streams comes from that.
- **held** is the socketioxide broker with the same idea for tokens: it gathers a token until its END and writes it \
once, without waiting for the acks of the tokens before. It takes part where that makes a difference.
- **raw** is an echo on actix-ws, the WebSocket library under our broker: the ceiling of that stack.
- An extension serves 200 clients at most. Clients read streams as `node-socketio-stream` does: a `$stream-read` for \
a stream and after each chunk, an ack for each chunk, an end for an end. Per token is what the published extension \
sends: a stream of five pieces, some of them empty, for each token.
- \"As fast as it goes\" has 100 clients that ask again when they have their answer of 200 chunks or tokens. Growth \
is the same with 10 to 5 000 clients; beside it are answers of 20 chunks, of which asking is a large part. Node and \
socketioxide take no part where a million chunks would be minutes of theirs. Paced is one chunk every 200 µs, or one token every millisecond, over 100 clients in turn.
- A request that is \"forwarded and acked\" is answered later, outside of what is counted.
- Memory is what 10 000 connections in `/llm` add to the process, divided by their number, right after they are made. \
The `idle` run holds them for 60 s, once, and divides the time spent by the pings answered.
- Latency is from the extension's write to the client's read (paced), from a question to the first text (as fast as it \
goes), or from a question to its answer. The p99 at a slow pace is mostly the machine's.
";

const SHOWN: [Kind; 5] = Kind::ALL;

pub fn write(results: &[Result], machine: &Machine, runs: usize) -> String {
    let mut text = HEAD.to_owned();
    let _ = write!(text, "\n{}, medians of {runs} runs, least and most in brackets.\n", machine.describe());
    text.push_str("\n## Targets\n\n");
    text.push_str(&targets(results));
    text.push_str("\n## All figures\n\n");
    text.push_str(&figures(results));
    text.push_str(HOW);
    text
}

fn cell(result: &Result, kind: Kind, metric: Metric) -> String {
    result.spread(kind, metric.name()).map_or("–".into(), |spread| metric.show(spread))
}

/// Ours divided by another's, and the figures behind it.
pub fn targets(results: &[Result]) -> String {
    let mut text = "| | target | ours ÷ socketioxide | met | | ours | socketioxide | held | node | raw |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for target in TARGETS {
        let (Some(result), Some(ratio)) = (target.result(results), target.ratio(results)) else { continue };
        let by = match target.against {
            Kind::Raw => " of raw",
            Kind::Held => " of held",
            _ => "",
        };
        let met = if ratio <= target.limit { "yes" } else { "**no**" };
        let (title, limit, unit) = (target.title, target.limit, target.metric.unit());
        let _ = write!(text, "| {title} | ≤ {limit:.2}{by} | **{ratio:.2}**{by} | {met} | {unit} |");
        for kind in SHOWN {
            let _ = write!(text, " {} |", cell(result, kind, target.metric));
        }
        text.push('\n');
    }
    for growth in GROWTHS {
        let Some(ours) = growth.ratio(results, Kind::Ours) else { continue };
        let met = if ours <= GROWTH_LIMIT { "yes" } else { "**no**" };
        let _ = write!(text, "| {} | ≤ {GROWTH_LIMIT:.2} | | {met} | × |", growth.title);
        for kind in SHOWN {
            let _ = write!(text, " {} |", growth.ratio(results, kind).map_or("–".into(), short));
        }
        text.push('\n');
    }
    text
}

/// CPU, throughput and latency of every scenario.
pub fn figures(results: &[Result]) -> String {
    let mut text = "| | | server CPU, µs | units/s | p50, µs | p99, µs | server's core in use |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for result in results {
        let mut title = format!("{}, per {}", result.scenario.title, result.scenario.unit);
        for kind in SHOWN.into_iter().filter(|kind| result.runs.contains_key(kind)) {
            let show = |metric: &str| result.spread(kind, metric).map_or("–".into(), Spread::show);
            let median = |metric: &str| result.median(kind, metric).map_or("–".into(), short);
            let busy =
                result.median(kind, "busy").map_or("–".into(), |busy| format!("{:.0} %", busy * 100.0));
            let _ = writeln!(
                text,
                "| {title} | {} | {} | {} | {} | {} | {busy} |",
                kind.name(),
                show("cpu_us"),
                show("units_per_s"),
                median("p50_us"),
                median("p99_us"),
            );
            title.clear();
        }
    }
    text
}
