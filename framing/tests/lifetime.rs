//! An Engine.IO session's life: heartbeat, frames, upgrade, and why it ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::time::{Duration, Instant};

use framing::Bytes;
use framing::close::{CloseReason, Initiator};
use framing::engine::{EngineSession, Grid, Packet, Probe, ProbeError, ProbeStep, Received};
use framing::error::{PacketError, PayloadError};
use framing::frame::Frame;

fn text(text: &str) -> Frame {
    Frame::Text(text.into())
}

fn binary(data: &[u8]) -> Frame {
    Frame::Binary(Bytes::copy_from_slice(data))
}

const OPEN: &str = r#"0{"sid":"TOY1qTTymaxOa0FUAAAB","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

const INTERVAL: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_millis(200);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn heartbeat() {
    let start = Instant::now();
    let mut session = EngineSession::new(INTERVAL, TIMEOUT, start);
    assert_eq!(session.deadline(), start + INTERVAL);
    assert_eq!(session.poll(start + ms(299)), Ok(None));
    for round in 0..3 {
        let begin = start + round * ms(350);
        assert_eq!(session.poll(begin + INTERVAL), Ok(Some(Packet::Ping { probe: false })));
        assert_eq!(session.poll(begin + INTERVAL), Ok(None), "a ping is sent once");
        assert_eq!(session.deadline(), begin + INTERVAL + TIMEOUT);
        assert_eq!(session.receive(text("3"), begin + ms(350)), Ok(Received::Nothing));
        assert_eq!(session.deadline(), begin + ms(650));
    }
    let begin = start + ms(3 * 350);
    assert!(session.poll(begin + INTERVAL).unwrap().is_some());
    assert_eq!(session.poll(begin + ms(499)), Ok(None));
    assert_eq!(session.poll(begin + ms(500)), Err(CloseReason::PingTimeout));
    assert!(session.is_closed());
    assert_eq!(session.poll(begin + ms(999)), Ok(None), "it ends once");
    assert_eq!(session.receive(text("4late"), begin + ms(999)), Ok(Received::Nothing));
}

#[test]
fn pings_of_many_sessions_leave_together() {
    let epoch = Instant::now();
    let grid = Grid { epoch, mesh: ms(20) };
    for (opened, ping, answered, next) in [(0, 300, 300, 600), (19, 300, 301, 600), (20, 320, 339, 620)] {
        let mut session = EngineSession::new(INTERVAL, TIMEOUT, epoch + ms(opened)).on(grid);
        assert_eq!(session.deadline(), epoch + ms(ping), "opened at {opened}");
        assert!(session.poll(epoch + ms(ping)).unwrap().is_some());
        assert_eq!(session.deadline(), epoch + ms(ping) + TIMEOUT, "a pong has all of its time");
        session.receive(text("3"), epoch + ms(answered)).unwrap();
        assert_eq!(session.deadline(), epoch + ms(next), "answered at {answered}");
    }
    // No finer than time is counted: as if there were none.
    let session =
        EngineSession::new(INTERVAL, TIMEOUT, epoch + ms(7)).on(Grid { epoch, mesh: Duration::ZERO });
    assert_eq!(session.deadline(), epoch + ms(307));
}

#[test]
fn a_sign_of_life_out_of_turn() {
    let start = Instant::now();
    let at = |millis| start + ms(millis);
    let mut session = EngineSession::new(INTERVAL, TIMEOUT, start);
    session.prove(ms(50), 1, at(10));
    assert!(session.awaits_pong());
    assert_eq!(session.deadline(), at(60));
    // Whoever asks later gives it no more time. The first pong may have been on its way by then.
    session.prove(ms(50), 1, at(20));
    assert_eq!(session.deadline(), at(60));
    assert_eq!(session.receive(text("3"), at(25)), Ok(Received::Nothing));
    assert!(session.awaits_pong());
    assert_eq!(session.deadline(), at(60));
    assert_eq!(session.receive(text("3"), at(30)), Ok(Received::Nothing));
    assert!(!session.awaits_pong());
    assert_eq!(session.deadline(), at(330), "the next ping comes an interval later");
    // A ping that is on its way has less time from then on, and its pong is none for what was asked later.
    assert!(session.poll(at(330)).unwrap().is_some());
    session.prove(ms(50), 1, at(340));
    assert_eq!(session.deadline(), at(390));
    assert_eq!(session.receive(text("3"), at(345)), Ok(Received::Nothing));
    assert!(session.awaits_pong());
    assert_eq!(session.receive(text("3"), at(350)), Ok(Received::Nothing));
    assert!(!session.awaits_pong());
    // More than were asked for are none.
    assert_eq!(session.receive(text("3"), at(351)), Ok(Received::Nothing));
    // Never more than any pong has.
    session.prove(ms(9999), 1, at(400));
    assert_eq!(session.deadline(), at(400) + TIMEOUT);
    assert_eq!(session.poll(at(600)), Err(CloseReason::PingTimeout));
    session.prove(ms(50), 1, at(700));
    assert!(session.is_closed());
}

#[test]
fn a_ping_that_has_not_left_is_asked_for_once() {
    let start = Instant::now();
    let at = |millis| start + ms(millis);
    let mut session = EngineSession::new(INTERVAL, TIMEOUT, start);
    session.prove(ms(50), 1, at(10));
    session.prove(ms(50), 0, at(20));
    assert_eq!(session.deadline(), at(60));
    session.receive(text("3"), at(30)).unwrap();
    assert!(!session.awaits_pong());
    // It hurries all the same.
    assert!(session.poll(at(330)).unwrap().is_some());
    session.prove(ms(50), 0, at(340));
    assert_eq!(session.deadline(), at(390));
    session.receive(text("3"), at(350)).unwrap();
    assert!(!session.awaits_pong());
}

#[test]
fn a_pong_that_is_put_off() {
    let start = Instant::now();
    let at = |millis| start + ms(millis);
    let mut session = EngineSession::new(INTERVAL, TIMEOUT, start);
    session.put_off(ms(50), at(10));
    assert_eq!(session.deadline(), at(300), "none is awaited");
    assert!(session.poll(at(300)).unwrap().is_some());
    session.put_off(ms(150), at(490));
    assert_eq!(session.deadline(), at(640));
    assert_eq!(session.poll(at(639)), Ok(None));
    assert!(session.awaits_pong());
    assert_eq!(session.poll(at(640)), Err(CloseReason::PingTimeout));
    session.put_off(ms(150), at(650));
    assert!(session.is_closed());
}

#[test]
fn other_frames_are_no_sign_of_life() {
    let start = Instant::now();
    let mut session = EngineSession::new(INTERVAL, TIMEOUT, start);
    session.poll(start + INTERVAL).unwrap();
    assert_eq!(session.receive(text("4x"), start + ms(400)), Ok(Received::Message("x".into())));
    assert_eq!(session.poll(start + ms(500)), Err(CloseReason::PingTimeout));
}

#[test]
fn frames_of_a_session() {
    let bad = |error| Err(CloseReason::BadPacket(error));
    let table = [
        (text("4hello"), Ok(Received::Message("hello".into()))),
        (binary(&[1]), Ok(Received::Binary(Bytes::from_static(&[1])))),
        (text("bAQ=="), Ok(Received::Binary(Bytes::from_static(&[1])))),
        (text("3"), Ok(Received::Nothing)),
        (text("3probe"), Ok(Received::Nothing)),
        (text("1"), Ok(Received::Closed)),
        (text("5"), Ok(Received::Nothing)),
        (text("6"), Ok(Received::Nothing)),
        (text("0"), Ok(Received::Nothing)),
        (text(OPEN), Ok(Received::Nothing)),
        (text("2"), Err(CloseReason::HeartbeatDirection)),
        (text("2probe"), Err(CloseReason::HeartbeatDirection)),
        (text(""), bad(PacketError::Empty)),
        (text("abc"), bad(PacketError::UnknownType { byte: b'a' })),
        (text("é"), bad(PacketError::UnknownType { byte: 0xc3 })),
        (text("b?"), bad(PacketError::Base64)),
    ];
    let now = Instant::now();
    for (frame, expected) in table {
        let mut session = EngineSession::new(INTERVAL, TIMEOUT, now);
        assert_eq!(session.receive(frame.clone(), now), expected, "{frame:?}");
        let ends = matches!(expected, Ok(Received::Closed) | Err(_));
        assert_eq!(session.is_closed(), ends, "{frame:?}");
    }
}

#[test]
fn probes() {
    let pong = || Ok(ProbeStep::ReplyPong);
    let upgrade = || Ok(ProbeStep::Upgrade);
    let unexpected = || Err(ProbeError::Unexpected);
    let table: [(&[&str], _); 11] = [
        (&["2probe"], pong()),
        (&["2probe", "2probe"], pong()),
        (&["2probe", "5"], upgrade()),
        (&["5"], upgrade()),
        (&["5", "4x"], unexpected()),
        (&["2"], unexpected()),
        (&["2probe", "4x"], unexpected()),
        (&["2probe", "4x", "5"], unexpected()),
        (&["3probe"], unexpected()),
        (&["éabcd"], Err(ProbeError::Packet(PacketError::UnknownType { byte: 0xc3 }))),
        (&[""], Err(ProbeError::Packet(PacketError::Empty))),
    ];
    for (frames, expected) in table {
        let mut probe = Probe::default();
        let last = frames.iter().map(|frame| probe.receive(text(frame))).last();
        assert_eq!(last.unwrap(), expected, "{frames:?}");
    }
    assert_eq!(Probe::default().receive(binary(b"5")), unexpected());
}

#[test]
fn reasons() {
    let table = [
        (CloseReason::PingTimeout, "ping timeout", Initiator::Network, true, 1000),
        (CloseReason::ClientClosed, "transport close", Initiator::Client, true, 1000),
        (CloseReason::TransportClosed, "transport close", Initiator::Network, true, 1000),
        (CloseReason::TransportError, "transport error", Initiator::Network, true, 1011),
        (CloseReason::HeartbeatDirection, "transport error", Initiator::Client, false, 1002),
        (PacketError::Empty.into(), "parse error", Initiator::Client, false, 1002),
        (PayloadError::TooManyPackets { limit: 1 }.into(), "parse error", Initiator::Client, false, 1002),
        (framing::error::ProtocolError::Empty.into(), "forced close", Initiator::Client, false, 1002),
        (
            CloseReason::NotConnected(framing::socket::Namespace::root()),
            "forced server close",
            Initiator::Client,
            false,
            1002,
        ),
        (CloseReason::TooManyNamespaces { limit: 1 }, "forced server close", Initiator::Client, false, 1008),
        (CloseReason::ConnectTimeout, "forced server close", Initiator::Client, true, 1008),
        (CloseReason::TooLarge { limit: 1 }, "transport error", Initiator::Client, false, 1009),
        (CloseReason::TooManyFragments { limit: 1 }, "transport error", Initiator::Client, false, 1009),
        (CloseReason::SlowConsumer, "forced close", Initiator::Server, true, 1013),
        (CloseReason::ShuttingDown, "server shutting down", Initiator::Server, true, 1012),
        (CloseReason::ServerDisconnect, "server namespace disconnect", Initiator::Server, false, 1000),
    ];
    for (reason, text, initiator, retry, code) in table {
        let of = (reason.text(), reason.initiator(), reason.may_retry(), reason.websocket_code());
        assert_eq!(of, (text, initiator, retry, code), "{reason:?}");
        assert!(!reason.to_string().is_empty());
    }
}
