//! One measurement: a load that is warm, from quiet to quiet, and what the server spent meanwhile.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use nix::time::ClockId;

use crate::{
    Outcome,
    net::{Driver, Net},
    server::Server,
    world::PATIENCE,
};

/// Work of one scenario. It knows what must come back, and refuses anything else.
pub trait Load: Driver {
    /// Begins to work, for about so long.
    fn begin(&mut self, net: &mut Net, time: Duration) -> Outcome;

    /// Work that must follow and is not measured; whether there is any.
    fn tidy(&mut self, _net: &mut Net) -> Outcome<bool> {
        Ok(false)
    }

    /// What was done since the last time.
    fn take(&mut self) -> Done;
}

#[derive(Default)]
pub struct Done {
    pub units: u64,
    /// Microseconds.
    pub latencies: Vec<f32>,
}

/// What one run has shown: names and numbers, as the results have them.
pub type Sample = BTreeMap<String, f64>;

pub fn measure(
    net: &mut Net,
    server: &Server,
    load: &mut impl Load,
    warm_up: Duration,
    time: Duration,
) -> Outcome<Sample> {
    load.begin(net, warm_up)?;
    settle(net, load)?;
    load.take();

    let mut done = Done::default();
    let (mut cpu, mut wall, mut own) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let clock = ClockId::CLOCK_PROCESS_CPUTIME_ID;
    let split = server.split()?;
    while wall < time.mul_f32(0.9) {
        let before = server.cpu_at_rest()?;
        let (begun, own_before) = (Instant::now(), Duration::from(clock.now()?));
        load.begin(net, time - wall.min(time))?;
        net.run(load, PATIENCE)?;
        wall += begun.elapsed();
        own += Duration::from(clock.now()?) - own_before;
        cpu += server.cpu_at_rest()? - before;
        let more = load.take();
        done.units += more.units;
        done.latencies.extend(more.latencies);
        settle(net, load)?;
        load.take();
    }
    // Nothing more than was asked for.
    net.run_for(load, Duration::from_millis(10))?;
    let after = server.split()?;
    let (user, system) = (after.0 - split.0, after.1 - split.1);

    let units = done.units as f64;
    let mut sample = Sample::new();
    sample.insert("cpu_us".into(), cpu.as_secs_f64() * 1e6 / units);
    sample.insert("units".into(), units);
    sample.insert("units_per_s".into(), units / wall.as_secs_f64());
    sample.insert("system_share".into(), system / (user + system).max(0.01));
    sample.insert("busy".into(), cpu.as_secs_f64() / wall.as_secs_f64());
    // Near 1, it is the generator that does not go faster.
    sample.insert("load_busy".into(), own.as_secs_f64() / wall.as_secs_f64());
    latencies(&mut sample, done.latencies);
    Ok(sample)
}

fn settle(net: &mut Net, load: &mut impl Load) -> Outcome {
    net.run(load, PATIENCE)?;
    if load.tidy(net)? {
        net.run(load, PATIENCE)?;
    }
    Ok(())
}

fn latencies(sample: &mut Sample, mut latencies: Vec<f32>) {
    if latencies.is_empty() {
        return;
    }
    latencies.sort_by(f32::total_cmp);
    let at = |share: f64| f64::from(latencies[((latencies.len() - 1) as f64 * share) as usize]);
    sample.insert("p50_us".into(), at(0.5));
    sample.insert("p99_us".into(), at(0.99));
}

pub fn micros(since: Instant, now: Instant) -> f32 {
    now.saturating_duration_since(since).as_secs_f32() * 1e6
}
