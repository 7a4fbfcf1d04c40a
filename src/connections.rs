//! Counts the connections of each worker. actix stops accepting when each of them is full; further ones wait
//! in the system's backlog.

use std::{cell::Cell, rc::Rc, sync::Arc};

use actix_rt::net::TcpStream;
use actix_web::dev::Extensions;
use actors::metrics::Metrics;
use log::warn;

thread_local! {
    /// Of this worker.
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// Lives as long as its connection, on that connection's worker.
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
}

impl Counted {
    fn new(metrics: Arc<Metrics>, max_connections: usize) -> Self {
        let open = OPEN.get() + 1;
        OPEN.set(open);
        metrics.connections.inc();
        if open == max_connections {
            metrics.limit_reached("server.max_connections");
            warn!(limit = max_connections; "a worker is full: server.max_connections reached");
        }
        Self { metrics }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.set(OPEN.get().saturating_sub(1));
        self.metrics.connections.dec();
    }
}

/// What the server calls for each connection that it accepts.
pub(crate) fn counter(
    metrics: Arc<Metrics>,
    max_connections: usize,
) -> impl Fn(&TcpStream, &mut Extensions) + Clone + Send + 'static {
    move |_, data| {
        data.insert(Rc::new(Counted::new(metrics.clone(), max_connections)));
    }
}
