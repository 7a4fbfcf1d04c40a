//! Connections in one thread over epoll: whole frames in, frames out, one write per connection and wake.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use crate::{
    Outcome,
    websocket::{self, Frame, Opcode},
};

pub type ConnId = usize;

/// What happens on the connections.
pub trait Driver {
    /// A frame has come. Pings of both layers are answered before.
    fn frame(&mut self, net: &mut Net, at: ConnId, frame: Frame<'_>) -> Outcome;

    /// The clock has ticked so often since the last time.
    fn ticks(&mut self, _net: &mut Net, _count: u64) -> Outcome {
        Ok(())
    }

    /// Nothing is on its way any more.
    fn is_done(&self) -> bool;

    /// What it waits for, if it waits too long.
    fn waits_for(&self) -> String;
}

struct Conn {
    stream: TcpStream,
    /// Where the server's answer to the upgrade has ended.
    open: bool,
    /// The beginning of a frame whose rest has not come.
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// The system takes no more; epoll tells when it does.
    full: bool,
    /// It stands in `Net::dirty`.
    dirty: bool,
}

pub struct Net {
    epoll: Epoll,
    timer: TimerFd,
    conns: Vec<Conn>,
    dirty: Vec<ConnId>,
    scratch: Vec<u8>,
    pub pings: u64,
    /// When the current wake began.
    pub now: Instant,
}

const TIMER: u64 = u64::MAX;
const READ_SIZE: usize = 256 * 1024;

impl Net {
    pub fn new() -> Outcome<Self> {
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self {
            epoll,
            timer,
            conns: vec![],
            dirty: vec![],
            scratch: vec![0; READ_SIZE],
            pings: 0,
            now: Instant::now(),
        })
    }

    /// Begins a connection; its first frame is the server's.
    pub fn connect(&mut self, server: SocketAddr, path: &str) -> Outcome<ConnId> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        let id = self.conns.len();
        self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, id as u64))?;
        self.conns.push(Conn {
            stream,
            open: false,
            input: vec![],
            output: vec![],
            written: 0,
            full: false,
            dirty: false,
        });
        Ok(id)
    }

    pub fn send(&mut self, at: ConnId, text: &[u8]) {
        self.put(at, Opcode::Text, text);
    }

    fn put(&mut self, at: ConnId, opcode: Opcode, payload: &[u8]) {
        let conn = &mut self.conns[at];
        websocket::write(&mut conn.output, opcode, payload);
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(at);
        }
    }

    /// Ticks from now on, or never again.
    pub fn tick_every(&mut self, every: Option<Duration>) -> Outcome {
        match every {
            Some(every) => {
                let expiration = Expiration::Interval(TimeSpec::from_duration(every));
                self.timer.set(expiration, TimerSetTimeFlags::empty())?;
            }
            None => self.timer.unset()?,
        }
        Ok(())
    }

    /// Until the driver is done. Whoever is not `patience` after nothing more has come has lost something.
    pub fn run(&mut self, driver: &mut impl Driver, patience: Duration) -> Outcome {
        let mut heard = Instant::now();
        self.flush()?;
        while !driver.is_done() {
            if self.wait(driver, 100)? {
                heard = self.now;
            } else if heard.elapsed() > patience {
                return Err(format!("nothing more comes; {}", driver.waits_for()).into());
            }
        }
        self.flush()
    }

    /// For so long, done or not.
    pub fn run_for(&mut self, driver: &mut impl Driver, time: Duration) -> Outcome {
        let end = Instant::now() + time;
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            self.wait(driver, rest.as_millis().clamp(1, 100) as u16)?;
        }
        Ok(())
    }

    /// One wake; whether any frame came.
    fn wait(&mut self, driver: &mut impl Driver, timeout: u16) -> Outcome<bool> {
        let mut events = [EpollEvent::empty(); 256];
        let count = self.epoll.wait(&mut events, EpollTimeout::from(timeout))?;
        self.now = Instant::now();
        let mut heard = false;
        for event in &events[..count] {
            if event.data() == TIMER {
                self.tick(driver)?;
                continue;
            }
            let at = event.data() as ConnId;
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.conns[at].full = false;
                self.write(at)?;
                if !self.conns[at].full {
                    self.watch(at, EpollFlags::EPOLLIN)?;
                }
            }
            if event.events().intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP) {
                self.read(at, driver)?;
                heard = true;
            }
        }
        self.flush()?;
        Ok(heard)
    }

    fn tick(&mut self, driver: &mut impl Driver) -> Outcome {
        let mut count = [0; 8];
        match nix::unistd::read(&self.timer, &mut count) {
            Ok(_) => driver.ticks(self, u64::from_ne_bytes(count)),
            Err(nix::errno::Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, at: ConnId, driver: &mut impl Driver) -> Outcome {
        let conn = &mut self.conns[at];
        // Frames are read where the system put them; only what is left of one is copied.
        let mut buffer = std::mem::take(&mut self.scratch);
        let waiting = conn.input.len();
        if buffer.len() < waiting + READ_SIZE {
            buffer.resize(waiting + READ_SIZE, 0);
        }
        buffer[..waiting].copy_from_slice(&conn.input);
        let count = match conn.stream.read(&mut buffer[waiting..]) {
            Ok(0) => return Err(format!("the server has closed connection {at}").into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.scratch = buffer;
                return Ok(());
            }
            Err(error) => return Err(format!("connection {at}: {error}").into()),
        };
        let input = &buffer[..waiting + count];
        let mut from = 0;
        if !conn.open {
            from = upgraded(input)?.unwrap_or_default();
            conn.open = from > 0;
        }
        if self.conns[at].open {
            while let Some((frame, length)) = websocket::read(&input[from..])? {
                from += length;
                self.frame(at, frame, driver)?;
            }
        }
        let conn = &mut self.conns[at];
        conn.input.clear();
        conn.input.extend_from_slice(&input[from..]);
        self.scratch = buffer;
        self.write(at)
    }

    fn frame(&mut self, at: ConnId, frame: Frame<'_>, driver: &mut impl Driver) -> Outcome {
        match frame {
            Frame::Text(b"2") => {
                self.pings += 1;
                self.put(at, Opcode::Text, b"3");
                Ok(())
            }
            Frame::Ping(payload) => {
                self.put(at, Opcode::Pong, payload);
                Ok(())
            }
            Frame::Pong => Ok(()),
            Frame::Close(reason) => {
                let reason = String::from_utf8_lossy(reason.get(2..).unwrap_or_default());
                Err(format!("the server closes connection {at}: {reason:?}").into())
            }
            frame => driver.frame(self, at, frame),
        }
    }

    fn flush(&mut self) -> Outcome {
        while let Some(at) = self.dirty.pop() {
            self.conns[at].dirty = false;
            self.write(at)?;
        }
        Ok(())
    }

    fn write(&mut self, at: ConnId) -> Outcome {
        let conn = &mut self.conns[at];
        while conn.written < conn.output.len() && !conn.full {
            match conn.stream.write(&conn.output[conn.written..]) {
                Ok(count) => conn.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    conn.full = true;
                    return self.watch(at, EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT);
                }
                Err(error) => return Err(format!("connection {at}: {error}").into()),
            }
        }
        if conn.written == conn.output.len() {
            conn.output.clear();
            conn.written = 0;
        }
        Ok(())
    }

    fn watch(&self, at: ConnId, what: EpollFlags) -> Outcome {
        let mut event = EpollEvent::new(what, at as u64);
        Ok(self.epoll.modify(&self.conns[at].stream, &mut event)?)
    }
}

/// Where the answer to the upgrade ends, once it is there.
fn upgraded(input: &[u8]) -> Outcome<Option<usize>> {
    let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    if !input.starts_with(b"HTTP/1.1 101") {
        return Err(format!("no upgrade: {}", String::from_utf8_lossy(&input[..end])).into());
    }
    Ok(Some(end + 4))
}
