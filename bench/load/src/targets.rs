//! What the broker is held to: its figure divided by another server's in the same run.

use crate::{
    results::{Result, Spread},
    server::Kind,
};

pub struct Target {
    pub title: &'static str,
    pub scenario: &'static str,
    pub metric: Metric,
    /// Divided by whom, and how much it may be at most.
    pub against: Kind,
    pub limit: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    Cpu,
    Resident,
    Latency,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_us",
            Self::Resident => "rss_bytes",
            Self::Latency => "p50_us",
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::Cpu | Self::Latency => "µs",
            Self::Resident => "KB",
        }
    }

    pub fn show(self, spread: Spread) -> String {
        match self {
            Self::Cpu | Self::Latency => spread.show(),
            Self::Resident => spread.scaled(1e-3).show(),
        }
    }
}

const fn cpu(title: &'static str, scenario: &'static str, limit: f64) -> Target {
    Target { title, scenario, metric: Metric::Cpu, against: Kind::Socketioxide, limit }
}

const fn raw(title: &'static str, scenario: &'static str) -> Target {
    Target { title, scenario, metric: Metric::Cpu, against: Kind::Raw, limit: 1.2 }
}

const fn held(title: &'static str, scenario: &'static str, limit: f64) -> Target {
    Target { title, scenario, metric: Metric::Cpu, against: Kind::Held, limit }
}

const fn latency(title: &'static str, scenario: &'static str) -> Target {
    Target { title, scenario, metric: Metric::Latency, against: Kind::Socketioxide, limit: 1.0 }
}

pub const TARGETS: &[Target] = &[
    cpu("stream, as fast as it goes, 8 bytes", "stream-burst-8", 0.33),
    cpu("stream, as fast as it goes, 64 bytes", "stream-burst-64", 0.33),
    cpu("stream, paced, 8 bytes", "stream-paced-8", 0.85),
    cpu("stream, paced, 64 bytes", "stream-paced-64", 0.85),
    cpu("per token, as fast as it goes", "per-token-burst", 0.5),
    cpu("per token, paced", "per-token-paced", 0.65),
    held("per token, as fast as it goes, to held", "per-token-burst", 0.5),
    held("per token, paced, to held", "per-token-paced", 0.65),
    cpu("event with ack, 64 bytes", "rpc-64", 0.8),
    cpu("event with ack, 1 024 bytes", "rpc-1024", 0.8),
    raw("event with ack, 64 bytes, to an echo", "rpc-64"),
    raw("event with ack, 1 024 bytes, to an echo", "rpc-1024"),
    cpu("request forwarded and acked", "request", 0.75),
    cpu("round trip through the extension", "round-trip", 0.7),
    cpu("fan-out to 100", "fan-out-100", 0.9),
    cpu("fan-out to 1 000", "fan-out-1000", 0.75),
    Target {
        title: "memory of a connection",
        scenario: "connect",
        metric: Metric::Resident,
        against: Kind::Socketioxide,
        limit: 0.55,
    },
    cpu("connect", "connect", 0.8),
    cpu("ping", "idle", 0.77),
    latency("latency p50, stream, paced, 8 bytes", "stream-paced-8"),
    latency("latency p50, stream, paced, 64 bytes", "stream-paced-64"),
];

impl Target {
    pub fn result<'a>(&self, results: &'a [Result]) -> Option<&'a Result> {
        results.iter().find(|result| result.scenario.name == self.scenario)
    }

    pub fn ratio(&self, results: &[Result]) -> Option<f64> {
        self.result(results)?.ratio(self.metric.name(), Kind::Ours, self.against)
    }
}

/// Growth may cost so much more per chunk, whatever the number of clients.
pub const GROWTH_LIMIT: f64 = 1.2;

/// The same work for more and more clients.
pub struct Growth {
    pub title: &'static str,
    /// What the names of its scenarios begin with.
    scenarios: &'static str,
}

pub const GROWTHS: &[Growth] = &[
    Growth { title: "growth: dearest ÷ cheapest chunk", scenarios: "growth-" },
    Growth { title: "growth of answers of 20 chunks", scenarios: "short-" },
];

impl Growth {
    /// The dearest chunk of all numbers of clients, divided by the cheapest.
    pub fn ratio(&self, results: &[Result], kind: Kind) -> Option<f64> {
        let costs = results
            .iter()
            .filter(|result| result.scenario.name.starts_with(self.scenarios))
            .map(|result| result.median(kind, "cpu_us"));
        let costs: Vec<f64> = costs.collect::<Option<_>>()?;
        let (least, most) =
            (costs.iter().copied().reduce(f64::min)?, costs.iter().copied().reduce(f64::max)?);
        (costs.len() > 1).then(|| most / least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn targets_name_scenarios() {
        for target in TARGETS {
            assert!(SCENARIOS.iter().any(|scenario| scenario.name == target.scenario), "{}", target.scenario);
        }
        for growth in GROWTHS {
            let counts = SCENARIOS.iter().filter(|scenario| scenario.name.starts_with(growth.scenarios));
            assert!(counts.count() > 1, "{}", growth.title);
        }
    }
}
