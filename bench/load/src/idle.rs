//! Ten thousand connections: what it costs to make them, to keep them, and to answer their pings.

use std::time::{Duration, Instant};

use crate::{
    Outcome,
    measure::Sample,
    net::Net,
    server::{Kind, Server},
    world::{self, Peer},
};

/// Connections one after another, 64 at once; their time, and their memory once all is quiet.
pub fn connect(net: &mut Net, server: &Server, count: usize) -> Outcome<Sample> {
    // Whatever is made once, for the first.
    world::join(net, server, vec![peer(server, 0)])?;
    let (cpu, resident) = (server.cpu_at_rest()?, server.resident()?);
    let begun = Instant::now();
    world::join(net, server, (1..=count).map(|index| peer(server, index)).collect())?;
    let wall = begun.elapsed();
    let cpu = server.cpu_at_rest()? - cpu;
    world::listen(net, Duration::from_millis(200))?;
    let count = count as f64;
    let mut sample = Sample::new();
    sample.insert("cpu_us".into(), cpu.as_secs_f64() * 1e6 / count);
    sample.insert("units".into(), count);
    sample.insert("units_per_s".into(), count / wall.as_secs_f64());
    sample.insert("rss_bytes".into(), (server.resident()? as f64 - resident as f64) / count);
    Ok(sample)
}

/// The same connections, held: the server pings each every 25 seconds.
pub fn hold(net: &mut Net, server: &Server, count: usize, time: Duration) -> Outcome<Sample> {
    let connected = connect(net, server, count)?;
    let (cpu, pings) = (server.cpu()?, net.pings);
    world::listen(net, time)?;
    let cpu = server.cpu()? - cpu;
    let pings = (net.pings - pings) as f64;
    // Each has been pinged twice in a minute; a moment may pass without.
    if pings < (time.as_secs() / 30 * count as u64) as f64 {
        return Err(format!("only {pings} pings have come").into());
    }
    let mut sample = Sample::new();
    sample.insert("cpu_us".into(), cpu.as_secs_f64() * 1e6 / pings.max(1.0));
    sample.insert("units".into(), pings);
    sample.insert("rss_bytes".into(), connected["rss_bytes"]);
    Ok(sample)
}

/// Connections of one client. As many clients as connections would be more than settings files are read.
pub const PER_CLIENT: usize = 2;

fn peer(server: &Server, index: usize) -> Peer {
    let namespaces: &[&str] = if server.kind == Kind::Raw { &[""] } else { &["/llm"] };
    Peer::client(index / PER_CLIENT, namespaces)
}
