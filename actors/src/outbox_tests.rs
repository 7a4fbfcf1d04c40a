//! A model of the queue, and the rules that a model does not show: overflow, ends, turns, wakes.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    task::Wake,
};

use bytes::Bytes;
use framing::{
    engine::Packet,
    socket::{EventName, Namespace},
};
use proptest::prelude::*;

use super::turns::polling_len;
use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn wakes() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::new(Wakes::default());
    (wakes.clone(), Waker::from(wakes))
}

fn outbox(max_bytes: usize, max_packets: usize, drain: Drain) -> (Arc<Outbox>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    (Outbox::new(OutboxLimits { max_bytes, max_packets }, drain, metrics.clone()), metrics)
}

/// An event that says which it is, with attachments of that many bytes each.
fn packet(number: usize, attachments: &[usize]) -> Encoded {
    let parts: Vec<Bytes> = attachments.iter().map(|len| Bytes::from(vec![number as u8; *len])).collect();
    Encoded::event(
        &Namespace::from_static("/llm"),
        None,
        &EventName::number(9),
        &[&number.to_string()],
        &parts,
    )
}

fn batch(outbox: &Outbox) -> Option<Batch> {
    let (_, waker) = wakes();
    let mut batch = Batch::default();
    outbox.poll_batch(&mut batch, &mut Context::from_waker(&waker)).is_ready().then_some(batch)
}

fn answer(outbox: &Arc<Outbox>, max_bytes: usize) -> Option<PollAnswer> {
    let (_, waker) = wakes();
    let mut turn = outbox.begin_poll().expect("no other poll is parked");
    match turn.poll(max_bytes, &mut Context::from_waker(&waker)) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => {
            // A real poll would stay parked; this one is answered, so that it does not count as aborted.
            outbox.release_poll();
            assert!(matches!(
                turn.poll(max_bytes, &mut Context::from_waker(&waker)),
                Poll::Ready(PollAnswer::Noop)
            ));
            None
        }
    }
}

fn fault(outbox: &Outbox) -> Option<CloseReason> {
    let (_, waker) = wakes();
    outbox.poll_fault(&mut Context::from_waker(&waker))
}

fn counted(metrics: &Metrics) -> u64 {
    metrics.outbox_overflows.get()
}

#[derive(Clone, Debug)]
enum Act {
    Push(Vec<usize>),
    Batch,
    Get(usize),
    Ping,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => prop::collection::vec(0usize..60, 0..4).prop_map(Act::Push),
        2 => Just(Act::Batch),
        2 => (1usize..400).prop_map(Act::Get),
        1 => Just(Act::Ping),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    /// Whole packets, in order, within the bounds; the ping beside them.
    #[test]
    fn keeps_whole_packets_in_order_within_its_bounds(acts in acts(), max_bytes in 40usize..400, max_packets in 1usize..12) {
        let (outbox, metrics) = outbox(max_bytes, max_packets, Drain::Polling);
        let mut waiting: VecDeque<Encoded> = VecDeque::new();
        let mut ping = false;
        let mut overflowed = false;
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::Push(attachments) => {
                    let packet = packet(number, &attachments);
                    let bytes = packet.bytes() + waiting.iter().map(Encoded::bytes).sum::<usize>();
                    let packets = packet.packets() + waiting.iter().map(Encoded::packets).sum::<usize>();
                    let fits = waiting.is_empty() || (bytes <= max_bytes && packets <= max_packets);
                    let expected = match (overflowed, fits) {
                        (true, _) => Err(PushError::Closed),
                        (false, false) => Err(PushError::Full),
                        (false, true) => Ok(()),
                    };
                    prop_assert_eq!(outbox.push(packet.clone()), expected);
                    if expected.is_ok() {
                        waiting.push_back(packet);
                    }
                    overflowed |= !fits;
                }
                Act::Batch => match batch(&outbox) {
                    Some(batch) => {
                        prop_assert!(batch.end.is_none() && !batch.release);
                        prop_assert_eq!(batch.packets, std::mem::take(&mut waiting));
                        prop_assert_eq!(batch.ping, std::mem::take(&mut ping));
                    }
                    None => prop_assert!(waiting.is_empty() && !ping),
                },
                Act::Get(max) => match answer(&outbox, max) {
                    Some(PollAnswer::Packets { ping: pinged, packets }) => {
                        prop_assert_eq!(pinged, std::mem::take(&mut ping));
                        prop_assert!(pinged || !packets.is_empty());
                        let wire = |packet: &Encoded| packet.frames().map(|frame| polling_len(&frame) + 1).sum::<usize>();
                        let size = packets.iter().map(wire).sum::<usize>();
                        prop_assert!(packets.len() <= 1 || size <= max, "{} bytes for {}", size, max);
                        let taken: VecDeque<_> = waiting.drain(..packets.len()).collect();
                        prop_assert_eq!(packets, taken);
                        // As much as fits: an answer is a round trip.
                        let next = waiting.front().map(wire);
                        prop_assert!(next.is_none_or(|next| size + next > max));
                    }
                    Some(other) => prop_assert!(false, "{other:?}"),
                    None => prop_assert!(waiting.is_empty() && !ping),
                },
                Act::Ping => {
                    outbox.push_ping();
                    ping = true;
                }
            }
            prop_assert_eq!(outbox.queued_bytes(), waiting.iter().map(Encoded::bytes).sum::<usize>());
            prop_assert_eq!(fault(&outbox), overflowed.then_some(CloseReason::SlowConsumer));
        }
        prop_assert_eq!(counted(&metrics), u64::from(overflowed));
    }

    /// Pushed from several threads, each thread's packets leave in its order, none twice, none lost.
    #[test]
    fn pushes_from_threads_keep_their_order(counts in prop::collection::vec(1usize..40, 1..4)) {
        let (outbox, _) = outbox(usize::MAX, usize::MAX, Drain::WebSocket);
        let threads: Vec<_> = counts
            .iter()
            .enumerate()
            .map(|(thread, count)| {
                let (outbox, count) = (outbox.clone(), *count);
                std::thread::spawn(move || {
                    for number in 0..count {
                        outbox.push(packet(thread * 1000 + number, &[1])).unwrap();
                    }
                })
            })
            .collect();
        let all: usize = counts.iter().sum();
        let mut next = vec![0; counts.len()];
        let mut seen = 0;
        while seen < all {
            let Some(batch) = batch(&outbox) else {
                std::thread::yield_now();
                continue;
            };
            for got in batch.packets {
                let head = got.frames().next().unwrap();
                let framing::frame::Frame::Text(head) = head else { panic!("a head is text") };
                let number: usize = head.rsplit_once(',').unwrap().1.trim_end_matches(']').parse().unwrap();
                prop_assert_eq!(number % 1000, next[number / 1000]);
                next[number / 1000] += 1;
                seen += 1;
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        prop_assert!(batch(&outbox).is_none());
    }
}

#[test]
fn an_empty_queue_takes_one_packet_of_any_size() {
    let (outbox, metrics) = outbox(10, 1, Drain::WebSocket);
    assert_eq!(outbox.push(packet(1, &[1000, 1000])), Ok(()));
    assert_eq!(outbox.push(packet(2, &[])), Err(PushError::Full));
    assert_eq!(fault(&outbox), Some(CloseReason::SlowConsumer));
    assert_eq!(counted(&metrics), 1);
    // Nothing of the second packet is there, and the first is whole.
    let frames: Vec<_> = batch(&outbox).unwrap().packets.iter().map(Encoded::packets).collect();
    assert_eq!(frames, [3]);
}

#[test]
fn a_full_queue_does_not_silence_the_heartbeat() {
    let (outbox, _) = outbox(10, 1, Drain::WebSocket);
    outbox.push(packet(1, &[])).unwrap();
    assert_eq!(outbox.push(packet(2, &[])), Err(PushError::Full));
    outbox.push_ping();
    let batch = batch(&outbox).unwrap();
    assert!(batch.ping);
    assert_eq!(batch.packets.len(), 1);
}

/// What is too large is not the peer's fault; that much waits is.
#[test]
fn packets_that_belong_together_enter_all_or_none() {
    let small = packet(0, &[0]).bytes();
    let queued = |bytes: usize| {
        let (outbox, metrics) = outbox(1000, 10, Drain::WebSocket);
        if bytes > 0 {
            outbox.push(packet(0, &[bytes - small])).unwrap();
        }
        (outbox, metrics)
    };
    let two = |bytes: usize| {
        SmallVec::from_vec(vec![packet(1, &[bytes / 2 - small]), packet(2, &[bytes / 2 - small])])
    };
    for (waits, bytes, expected, waiting) in [
        (0, 1000, Ok(true), 1000),
        (0, 1002, Ok(false), 0),
        (400, 600, Ok(true), 1000),
        (400, 700, Ok(false), 400),
        (900, 1002, Ok(false), 900),
        (600, 500, Err(PushError::Full), 850),
    ] {
        let (outbox, metrics) = queued(waits);
        assert_eq!(outbox.push_together(two(bytes)), expected, "{bytes} behind {waits}");
        assert_eq!(outbox.queued_bytes(), waiting, "{bytes} behind {waits}");
        assert_eq!(fault(&outbox).is_some(), expected.is_err(), "{bytes} behind {waits}");
        let refused = metrics.text().contains("limits.outbox_bytes");
        assert_eq!(refused, expected == Ok(false), "{bytes} behind {waits}");
    }
    // One alone may have any size, as ever.
    let (outbox, _) = queued(0);
    assert_eq!(outbox.push_together(SmallVec::from_iter([packet(1, &[5000])])), Ok(true));
    outbox.end(CloseReason::ClientClosed, false);
    assert_eq!(outbox.push_together(two(5000)), Err(PushError::Closed));
}

#[test]
fn an_overflow_wakes_the_session_and_a_push_wakes_the_transport() {
    let (outbox, _) = outbox(10, 1, Drain::WebSocket);
    let (session, waker) = wakes();
    assert_eq!(outbox.poll_fault(&mut Context::from_waker(&waker)), None);
    let (transport, waker) = wakes();
    assert!(outbox.poll_batch(&mut Batch::default(), &mut Context::from_waker(&waker)).is_pending());
    outbox.push(packet(1, &[])).unwrap();
    assert_eq!(transport.0.load(SeqCst), 1);
    // One wake for all that is there by the time it looks.
    outbox.push_ping();
    assert_eq!(transport.0.load(SeqCst), 1);
    assert_eq!(outbox.push(packet(2, &[])), Err(PushError::Full));
    assert_eq!(session.0.load(SeqCst), 1);
}

#[test]
fn half_of_it_is_for_answers_and_the_session_hears_when_there_is_room() {
    let (outbox, _) = outbox(1000, 9, Drain::Polling);
    let (session, waker) = wakes();
    outbox.poll_fault(&mut Context::from_waker(&waker));
    for room in [5, 4, 3, 2, 1, 0, 0] {
        assert_eq!(outbox.room_for_answers(), room);
        outbox.push(packet(1, &[])).unwrap();
    }
    let take = |packets| {
        let mut turn = outbox.begin_poll().unwrap().at_most(packets);
        assert!(turn.poll(1000, &mut Context::from_waker(&waker)).is_ready());
    };
    let seen = || (outbox.room_for_answers(), outbox.taken(), session.0.load(SeqCst));
    take(2);
    assert_eq!(seen(), (0, 1, 0), "it has not asked");
    outbox.hold();
    take(2);
    assert_eq!(seen(), (2, 2, 1));
    take(2);
    assert_eq!(seen(), (4, 3, 1), "told once");
    // A ping alone is nothing that the peer has been waiting for.
    take(2);
    outbox.push_ping();
    take(2);
    assert_eq!(outbox.taken(), 4);
    // Bytes count as well; half of them may wait.
    let small = packet(0, &[0]).bytes();
    outbox.push(packet(0, &[500 - small])).unwrap();
    assert_eq!(outbox.room_for_answers(), 3, "an attachment is a packet");
    outbox.push(packet(0, &[])).unwrap();
    assert_eq!(outbox.room_for_answers(), 0);
}

#[test]
fn it_says_without_a_lock_that_there_is_little_room() {
    assert!(outbox(1000, 254, Drain::WebSocket).0.is_crowded(), "never much");
    let (outbox, _) = outbox(100_000, 300, Drain::Polling);
    for waiting in 0..23 {
        assert!(!outbox.is_crowded(), "{waiting}");
        outbox.push(packet(1, &[])).unwrap();
    }
    assert!(outbox.is_crowded());
    let (_, waker) = wakes();
    let mut turn = outbox.begin_poll().unwrap().at_most(2);
    assert!(turn.poll(1000, &mut Context::from_waker(&waker)).is_ready());
    assert!(!outbox.is_crowded());
    outbox.push(packet(0, &[60_000])).unwrap();
    assert!(outbox.is_crowded(), "bytes count as well");
    assert!(outbox.take_ready().is_some());
    assert!(!outbox.is_crowded());
}

#[test]
fn what_a_websocket_takes_is_counted() {
    let (outbox, _) = outbox(1000, 2, Drain::WebSocket);
    assert!(batch(&outbox).is_none());
    assert_eq!(outbox.taken(), 0);
    outbox.push(packet(1, &[])).unwrap();
    assert_eq!(outbox.room_for_answers(), 0);
    assert!(batch(&outbox).is_some());
    assert_eq!((outbox.taken(), outbox.room_for_answers()), (1, 1));
    outbox.goes_on();
    assert_eq!(outbox.taken(), 2);
    assert!(outbox.push_ping());
    assert!(!outbox.push_ping(), "one waits");
    assert!(batch(&outbox).unwrap().ping);
    assert!(outbox.push_ping());
}

#[test]
fn an_end_that_flushes_is_seen_after_what_waits() {
    for (flush, packets) in [(true, 2), (false, 0)] {
        let (outbox, _) = outbox(1000, 10, Drain::WebSocket);
        outbox.push(packet(1, &[])).unwrap();
        outbox.push(packet(2, &[])).unwrap();
        outbox.end(CloseReason::ShuttingDown, flush);
        // The first end wins.
        outbox.end(CloseReason::PingTimeout, !flush);
        assert!(outbox.is_ended());
        assert_eq!(outbox.push(packet(3, &[])), Err(PushError::Closed));
        let batch = batch(&outbox).unwrap();
        assert_eq!(batch.packets.len(), packets);
        assert_eq!(batch.end.unwrap().reason, CloseReason::ShuttingDown);
    }
}

#[test]
fn an_end_is_answered_to_every_later_poll() {
    let (outbox, _) = outbox(1000, 10, Drain::Polling);
    outbox.push(packet(1, &[])).unwrap();
    outbox.end(CloseReason::ShuttingDown, true);
    assert!(matches!(answer(&outbox, 1000), Some(PollAnswer::Packets { packets, .. }) if packets.len() == 1));
    for _ in 0..2 {
        assert!(matches!(answer(&outbox, 1000), Some(PollAnswer::Ended(CloseReason::ShuttingDown))));
    }
}

#[test]
fn two_polls_at_once_break_the_session() {
    let (outbox, _) = outbox(1000, 10, Drain::Polling);
    assert!(outbox.expects_poll());
    let _first = outbox.begin_poll().unwrap();
    assert!(!outbox.expects_poll());
    assert_eq!(outbox.begin_poll().unwrap_err(), Overlap::Concurrent);
    assert_eq!(fault(&outbox), Some(CloseReason::TransportError));
}

#[test]
fn two_posts_at_once_break_the_session_and_one_after_the_other_do_not() {
    let (outbox, _) = outbox(1000, 10, Drain::Polling);
    drop(outbox.begin_post().unwrap());
    let _turn = outbox.begin_post().unwrap();
    assert_eq!(fault(&outbox), None);
    assert_eq!(outbox.begin_post().unwrap_err(), Overlap::Concurrent);
    assert_eq!(fault(&outbox), Some(CloseReason::TransportError));
}

#[test]
fn an_aborted_poll_ends_the_session_and_an_answered_one_does_not() {
    let (outbox, _) = outbox(1000, 10, Drain::Polling);
    outbox.push_ping();
    let (_, waker) = wakes();
    let mut turn = outbox.begin_poll().unwrap();
    assert!(turn.poll(100, &mut Context::from_waker(&waker)).is_ready());
    drop(turn);
    assert_eq!(fault(&outbox), None);
    drop(outbox.begin_poll().unwrap());
    assert_eq!(fault(&outbox), Some(CloseReason::TransportError));
}

#[test]
fn a_parked_poll_is_released_for_an_upgrade_and_refused_after_it() {
    let (outbox, _) = outbox(1000, 10, Drain::Polling);
    let (parked, waker) = wakes();
    let mut turn = outbox.begin_poll().unwrap();
    assert!(turn.poll(100, &mut Context::from_waker(&waker)).is_pending());
    assert!(outbox.begin_probe());
    assert!(!outbox.begin_probe(), "one WebSocket at a time");
    outbox.release_poll();
    assert_eq!(parked.0.load(SeqCst), 1);
    assert!(matches!(turn.poll(100, &mut Context::from_waker(&waker)), Poll::Ready(PollAnswer::Noop)));
    drop(turn);
    // Released without a poll parked, nothing is left behind for the next one.
    outbox.release_poll();
    let mut turn = outbox.begin_poll().unwrap();
    assert!(turn.poll(100, &mut Context::from_waker(&waker)).is_pending());
    outbox.upgraded();
    assert_eq!(outbox.drain(), Drain::WebSocket);
    assert!(matches!(turn.poll(100, &mut Context::from_waker(&waker)), Poll::Ready(PollAnswer::Upgraded)));
    drop(turn);
    assert_eq!(outbox.begin_poll().unwrap_err(), Overlap::Upgraded);
    assert!(!outbox.begin_probe(), "it has moved already");
    assert_eq!(fault(&outbox), None);
}

#[test]
fn a_failed_probe_makes_room_for_the_next() {
    let (outbox, _) = outbox(1000, 10, Drain::Polling);
    assert!(outbox.begin_probe() && outbox.is_probing());
    outbox.end_probe();
    assert!(!outbox.is_probing() && outbox.begin_probe());
    outbox.end_probe();
    outbox.end(CloseReason::ClientClosed, true);
    assert!(!outbox.begin_probe(), "nothing is left to take over");
}

#[test]
fn what_waits_survives_the_upgrade() {
    let (outbox, _) = outbox(1000, 10, Drain::Polling);
    outbox.push(packet(1, &[3])).unwrap();
    outbox.upgraded();
    outbox.push(packet(2, &[])).unwrap();
    let batch = batch(&outbox).unwrap();
    assert_eq!(batch.packets, [packet(1, &[3]), packet(2, &[])]);
}

#[test]
fn the_first_fault_wins() {
    let (outbox, _) = outbox(1000, 10, Drain::WebSocket);
    outbox.fail(CloseReason::PingTimeout);
    outbox.fail(CloseReason::TransportError);
    assert_eq!(fault(&outbox), Some(CloseReason::PingTimeout));
    assert_eq!(outbox.push(Encoded::engine(&Packet::Noop)), Err(PushError::Closed));
}

#[test]
fn a_handshake_takes_what_is_ready() {
    let (outbox, _) = outbox(1000, 10, Drain::Polling);
    assert!(outbox.take_ready().is_none());
    outbox.push(packet(1, &[])).unwrap();
    assert_eq!(outbox.take_ready().unwrap(), [packet(1, &[])]);
    assert_eq!(outbox.queued_bytes(), 0);
}
