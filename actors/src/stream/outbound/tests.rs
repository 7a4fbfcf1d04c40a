//! Scripts in, commands out: one funnel, many cases.
//!
//! `+s1 a` announces stream `a` as `s1`, `s1=text` writes, `s1.` ends, `s1!text` is an error,
//! `a.` says that stream `a` was ended, `a-reason` that it was dropped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;

struct Bench {
    sender: StreamSender,
    now: Instant,
    out: Vec<Command>,
    infos: FastMap<&'static str, Arc<StreamInfo>>,
    /// How much of each stream was pushed.
    places: FastMap<&'static str, u64>,
    show_names: bool,
}

impl Bench {
    fn new(change: impl FnOnce(&mut OutboundLimits)) -> Self {
        let mut limits = OutboundLimits {
            event_names: [ByteString::from_static("streamed_data")].into(),
            max_write: 4,
            ..OutboundLimits::default()
        };
        change(&mut limits);
        Self {
            sender: StreamSender::new(limits, None),
            now: Instant::now(),
            out: Vec::new(),
            infos: FastMap::default(),
            places: FastMap::default(),
            show_names: false,
        }
    }

    /// The output of a stream is the first letter of its id.
    fn info(&mut self, stream: &'static str) -> Arc<StreamInfo> {
        let info = || StreamInfo::new(stream.into(), stream[..1].into(), "r".into());
        Arc::clone(self.infos.entry(stream).or_insert_with(|| Arc::new(info())))
    }

    fn push(&mut self, stream: &'static str, text: &str, end: bool) -> &mut Self {
        let text = Bytes::copy_from_slice(text.as_bytes());
        let info = self.info(stream);
        let next = self.places.entry(stream).or_default();
        let at = std::mem::replace(next, *next + text.len() as u64);
        let text = StreamText { info, at, text, end };
        self.sender.push(text, self.now, &mut self.out);
        self
    }

    fn token(&mut self, stream: &'static str, text: &str) -> &mut Self {
        self.push(stream, text, true)
    }

    fn fail(&mut self, stream: &'static str, message: &'static str) -> &mut Self {
        let info = self.info(stream);
        self.sender.fail(&info, message, self.now, &mut self.out);
        self
    }

    fn read(&mut self, wire: &str) -> &mut Self {
        self.sender.on_read(wire, self.now, &mut self.out);
        self
    }

    fn ack(&mut self, wire: &str) -> &mut Self {
        self.sender.on_ack(wire.parse().unwrap(), Ok(()), self.now, &mut self.out);
        self
    }

    fn refuse(&mut self, wire: &str) -> &mut Self {
        let text = format!("invalid stream id: {wire}");
        self.sender.on_ack(wire.parse().unwrap(), Err(&text), self.now, &mut self.out);
        self
    }

    fn end(&mut self, wire: &str) -> &mut Self {
        self.sender.on_end(wire, self.now, &mut self.out);
        self
    }

    fn error(&mut self, wire: &str) -> &mut Self {
        self.sender.on_error(wire, self.now, &mut self.out);
        self
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self.sender.poll(self.now, &mut self.out);
        self
    }

    /// Time passes, and it cannot be told what the receiver does.
    fn after_silence(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self.sender.put_off(self.now, self.now + Duration::from_secs(1));
        self
    }

    fn expect(&mut self, want: &str) -> &mut Self {
        let names = self.show_names;
        let show = |command| match command {
            Command::Announce { wire, event, info } if names => {
                format!("+{wire} {} {event}", info.stream_id)
            }
            Command::Announce { wire, info, .. } => format!("+{wire} {}", info.stream_id),
            Command::Write { wire, chunk } => {
                assert!(!chunk.is_empty());
                format!("{wire}={}", std::str::from_utf8(&chunk).unwrap())
            }
            Command::End { wire } => format!("{wire}."),
            Command::Error { wire, message } => format!("{wire}!{message}"),
            Command::Ended { info } => format!("{}.", info.stream_id),
            Command::Dropped { info, reason } => format!("{}-{reason}", info.stream_id),
        };
        let got: Vec<String> = self.out.drain(..).map(show).collect();
        assert_eq!(got.join(", "), want);
        self
    }

    fn gone(&self) {
        assert!(self.sender.is_idle());
        assert_eq!(self.sender.queued_bytes(), 0);
        assert_eq!(self.sender.deadline(), None);
        assert_eq!((self.sender.lanes.len(), self.sender.wires.len()), (0, 0));
        assert_eq!((self.sender.unread_wires, self.sender.by_group.len()), (0, 0));
    }
}

fn bench() -> Bench {
    Bench::new(|_| ())
}

#[test]
fn it_moves_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<StreamSender>();
    is_send::<crate::stream::InboundStreams<u64>>();
}

#[test]
fn one_token_as_in_the_reference_trace() {
    for read_first in [false, true] {
        let mut bench = bench();
        bench.token("a1", "ab").expect("+s1 a1").read("s1").expect("s1=ab, s1., a1.");
        match read_first {
            true => bench.read("s1").ack("s1"),
            false => bench.ack("s1").read("s1"),
        };
        bench.end("s1").expect("").gone();
    }
}

#[test]
fn rule_2_one_write_per_permit() {
    let mut bench = bench();
    bench.push("a1", "ab", false).expect("+s1 a1");
    bench.read("s1").expect("s1=ab").push("a1", "cd", false).expect("");
    bench.ack("s1").expect("").read("s1").expect("s1=cd");
    bench.push("a1", "ef", false).read("s1").read("s1").expect("").ack("s1").expect("s1=ef");
    bench.push("a1", "gh", false).ack("s1").expect("").read("s1").expect("s1=gh");
    bench.push("a1", "", true).expect("s1., a1.").ack("s1").gone();
}

#[test]
fn defect_8_28_rule_6_never_an_empty_write() {
    let mut bench = bench();
    bench.push("a1", "", false).push("a1", "", true).expect("").gone();
    bench.token("a2", "x").expect("+s1 a2").read("s1").ack("s1").expect("s1=x, s1., a2.").gone();
    bench.push("a3", "x", false).read("s2").ack("s2").expect("+s2 a3, s2=x");
    bench.read("s2").push("a3", "", false).expect("").push("a3", "", true).expect("s2., a3.").gone();
}

#[test]
fn defect_8_29_rule_7_order_across_streams() {
    // One-write streams follow each other without acks, in the order of announcement.
    let mut bench = bench();
    bench.token("a1", "1").token("a2", "2").token("a3", "3").expect("+s1 a1, +s2 a2, +s3 a3");
    bench.read("s3").read("s2").expect("");
    bench.read("s1").expect("s1=1, s1., a1., s2=2, s2., a2., s3=3, s3., a3.");
    bench.ack("s2").ack("s1").ack("s3").gone();

    // A several-write stream waits for earlier acks, and the next stream for its last one.
    let mut bench = self::bench();
    bench.token("a1", "1").token("a2", "aaaabbbbcc").token("a3", "3");
    bench.expect("+s1 a1, +s2 a2, +s3 a3").read("s1").read("s2").read("s3").expect("s1=1, s1., a1.");
    bench.ack("s1").expect("s2=aaaa").read("s2").expect("").ack("s2").expect("s2=bbbb");
    bench.ack("s2").expect("").read("s2").expect("s2=cc, s2., a2.");
    bench.ack("s2").expect("s3=3, s3., a3.").ack("s3").gone();

    // A stream whose end is unknown may need several writes.
    let mut bench = self::bench();
    bench.token("a1", "1").push("a2", "2", false).expect("+s1 a1, +s2 a2");
    bench.read("s1").read("s2").expect("s1=1, s1., a1.").push("a2", "", true).expect("s2=2, s2., a2.");
    bench.ack("s1").ack("s2").gone();

    // Another output does not wait.
    let mut bench = self::bench();
    bench.push("a1", "1", false).token("a2", "2").token("b1", "3");
    bench.expect("+s1 a1, +s2 a2, +s3 b1").read("s1").read("s2").read("s3");
    bench.expect("s1=1, s3=3, s3., b1.").push("a1", "", true).expect("s1., a1., s2=2, s2., a2.");
    bench.ack("s1").ack("s2").ack("s3").gone();
}

#[test]
fn rule_8_waiting_text_leaves_together() {
    let mut bench = Bench::new(|limits| limits.max_write = 7);
    bench.push("a1", "ab", false).push("a1", "你", false).push("a1", "好", false).expect("+s1 a1");
    bench.read("s1").expect("s1=ab你").ack("s1").read("s1").expect("s1=好");
    bench.ack("s1").push("a1", "x", true).read("s1").expect("s1=x, s1., a1.").ack("s1").gone();
}

#[test]
fn rules_9_to_12_the_receiver_ends() {
    // Unknown, malformed and future ids.
    let mut bench = bench();
    bench.read("s9").read("x").read("").end("s9").error("s9").ack("s9").expect("").gone();

    // Cancelled: the rest is not wanted, the next stream goes on.
    bench.push("a1", "aaaabb", false).token("a2", "2").read("s1").read("s2");
    bench.expect("+s1 a1, +s2 a2, s1=aaaa").end("s1");
    bench.expect("a1-cancelled by the receiver, s2=2, s2., a2.");
    bench.push("a1", "more", false).push("a1", "", true).ack("s1").ack("s2").expect("").gone();
    assert_eq!(bench.sender.ignored.len(), 0);

    // Before it was read.
    bench.token("a3", "3").expect("+s3 a3").end("s3");
    bench.expect("a3-cancelled by the receiver").read("s3").expect("").gone();

    // An error.
    bench.token("a4", "4").error("s4").expect("+s4 a4, a4-error at the receiver").gone();

    // A refused write: nothing more on that id.
    bench.push("a5", "aaaabb", true).token("a6", "6").read("s5").read("s6");
    bench.expect("+s5 a5, +s6 a6, s5=aaaa").refuse("s5");
    bench.expect("a5-write refused, s6=6, s6., a6.").refuse("s6").expect("a6-write refused").gone();
}

#[test]
fn rule_11_the_source_fails() {
    let mut bench = bench();
    bench.push("a1", "aaaabb", false).fail("a1", "broken").expect("+s1 a1");
    bench.read("s1").ack("s1").read("s1").expect("s1=aaaa, s1=bb, s1!broken");
    bench.push("a1", "", false).ack("s1").expect("").gone();
    // All its text was written.
    bench.push("a2", "2", false).read("s2").expect("+s2 a2, s2=2").fail("a2", "x").expect("s2!x");
    bench.ack("s2").fail("a2", "x").fail("never seen", "x").expect("").gone();
}

#[test]
fn rule_14_what_was_not_written_is_given_back() {
    let mut bench = bench();
    bench.push("a1", "aaaabb", false).token("a2", "22").token("b1", "33").read("s1").read("s3");
    bench.expect("+s1 a1, +s2 a2, +s3 b1, s1=aaaa, s3=33, s3., b1.");
    let left = bench.sender.take_undelivered();
    let shown: Vec<_> = left.iter().map(|t| (&*t.info.stream_id, t.at, &t.text[..], t.end)).collect();
    assert_eq!(shown, [("a1", 4, &b"bb"[..], false), ("a2", 0, b"22", true)]);
    bench.gone();
    bench.ack("s1").read("s2").expect("");
    for text in left {
        bench.sender.push(text, bench.now, &mut bench.out);
    }
    bench.push("a1", "cc", true).expect("+s4 a1, +s5 a2");
    bench.read("s4").expect("s4=bbcc, s4., a1.");
}

/// Whoever takes it over may have had some of them, and knows them by their streams.
#[test]
fn streams_that_were_merged_are_given_back_one_by_one() {
    let mut bench = Bench::new(|limits| (limits.max_unread, limits.max_write) = (1, 8));
    bench.token("a1", "1").token("a2", "22").token("a3", "").token("a4", "444").token("a5", "55555");
    bench.expect("+s1 a1");
    assert_eq!(bench.sender.streams(), 3, "the second to the fourth are one");
    let left = bench.sender.take_undelivered();
    let shown: Vec<_> = left.iter().map(|t| (&*t.info.stream_id, &t.text[..], t.end)).collect();
    let whole = [("a1", &b"1"[..], true), ("a2", b"22", true), ("a4", b"444", true), ("a5", b"55555", true)];
    assert_eq!(shown, whole);
    bench.gone();
}

/// What comes in between, another socket has had.
#[test]
fn text_with_a_gap_is_given_back_in_its_places() {
    let mut bench = Bench::new(|limits| limits.max_write = 2);
    bench.push("a1", "012", false);
    *bench.places.entry("a1").or_default() = 7;
    bench.push("a1", "789", true).read("s1").expect("+s1 a1, s1=01");
    let left = bench.sender.take_undelivered();
    let shown: Vec<_> = left.iter().map(|t| (t.at, &t.text[..])).collect();
    assert_eq!(shown, [(2, &b"2"[..]), (7, b"789")]);
}

#[test]
fn rule_15_not_read() {
    let mut bench = bench();
    bench.token("a1", "1").token("a2", "2").read("s2").expect("+s1 a1, +s2 a2");
    bench.after(29).expect("");
    bench.after(1).expect("s1!stream not read, a1-stream not read, s2=2, s2., a2.");
    bench.ack("s2").gone();
}

#[test]
fn rule_15_no_progress() {
    // No permit for the rest.
    let mut bench = bench();
    bench.token("a1", "aaaabb").token("a2", "2").read("s1").read("s2").after(40).ack("s1");
    bench.expect("+s1 a1, +s2 a2, s1=aaaa").after(59).expect("");
    bench.after(1).expect("s1!receiver stalled, a1-receiver stalled, s2=2, s2., a2.");
    bench.ack("s2").gone();

    // No ack: a stream that waits for it is not to blame, the one without ack is forgotten.
    let mut bench = self::bench();
    bench.token("a1", "1").token("a2", "aaaabb").read("s1").read("s2");
    bench.expect("+s1 a1, +s2 a2, s1=1, s1., a1.");
    bench
        .after(60)
        .expect("s1!write not acknowledged, a1-write not acknowledged, s2=aaaa")
        .read("s2")
        .ack("s2")
        .ack("s2");
    bench.expect("s2=bb, s2., a2.").gone();

    // Nothing waits: time is no stall, and it begins when text comes.
    let mut bench = self::bench();
    bench.push("a1", "1", false).read("s1").ack("s1").expect("+s1 a1, s1=1").after(1000).expect("");
    bench.push("a1", "2", false).after(59).expect("");
    bench.after(1).expect("s1!receiver stalled, a1-receiver stalled");
    bench.push("a1", "3", true).expect("").gone();

    // To go on may take less time than to begin.
    let mut bench = Bench::new(|limits| limits.progress_stall = Duration::from_secs(5));
    bench.token("a1", "aaaabb").read("s1").expect("+s1 a1, s1=aaaa").after(4).expect("");
    bench.after(1).expect("s1!receiver stalled, a1-receiver stalled").gone();
}

#[test]
fn rule_15_deaf() {
    let mut bench = Bench::new(|limits| limits.max_unread = 4);
    bench.token("a1", "1").token("a2", "2").after(20).expect("+s1 a1, +s2 a2");
    bench.token("a3", "3").token("a4", "4").token("a5", "5").token("b1", "6");
    bench.expect("+s3 a3, +s4 a4").after(10);
    bench.expect(
        "s1!stream not read, a1-stream not read, s2!stream not read, a2-stream not read, \
         +s5 a5, +s6 b1",
    );
    // The third in a row: one probe is left.
    bench.after(20).expect(
        "s3!stream not read, a3-stream not read, \
         s5!receiver does not listen to streams, a5-receiver does not listen to streams, \
         s6!receiver does not listen to streams, b1-receiver does not listen to streams, \
         s4!stream not read, a4-stream not read",
    );
    bench.push("a6", "6", false).push("a7", "7", false).token("a8", "8");
    bench.expect("+s7 a6, a7-receiver does not listen to streams, a8-receiver does not listen to streams");
    bench.push("a7", "!", true).expect("").after(30);
    bench.expect("s7!stream not read, a6-stream not read").push("a6", "!", true).expect("");
    bench.token("a9", "9").expect("+s8 a9").read("s8").expect("s8=9, s8., a9.").ack("s8");
    bench.token("b2", "2").token("b3", "3").expect("+s9 b2, +s10 b3");
}

#[test]
fn what_is_put_off_stalls_later() {
    let mut bench = Bench::new(|limits| limits.max_unread = 1);
    bench.token("a1", "1").token("a2", "2").expect("+s1 a1").after_silence(30).expect("").after_silence(1);
    assert_eq!(bench.sender.deadline(), Some(bench.now + Duration::from_secs(1)));
    bench.after(0).expect("").after(1).expect("s1!stream not read, a1-stream not read, +s2 a2");
    bench
        .after_silence(10)
        .after(19)
        .expect("")
        .after(1)
        .expect("s2!stream not read, a2-stream not read")
        .gone();
}

#[test]
fn a_read_of_a_dropped_stream_shows_ears() {
    let mut bench = Bench::new(|limits| limits.deaf_after = 1);
    bench.token("a1", "1").after(30).expect("+s1 a1, s1!stream not read, a1-stream not read");
    bench.token("a2", "2").read("s1").token("a3", "3").expect("+s2 a2, +s3 a3");
}

fn probing(bench: &mut Bench, names: &[&'static str]) {
    let names: Vec<ByteString> = names.iter().map(|name| ByteString::from_static(name)).collect();
    bench.sender.limits.event_names = names.into();
    bench.sender.learned = None;
    bench.show_names = true;
}

#[test]
fn the_event_name_is_learned() {
    for (read, other, name) in [("s1", "s2", "x"), ("s2", "s1", "y")] {
        let mut bench = bench();
        probing(&mut bench, &["x", "y"]);
        bench.token("a1", "1").token("a2", "2").expect("+s1 a1 x, +s2 a1 y, +s3 a2 x, +s4 a2 y");
        bench.read(read).expect(&format!("{read}=1, {read}., a1."));
        assert_eq!(bench.sender.learned().unwrap(), name);
        assert_eq!(bench.sender.unread_wires, 1, "spare ids are no unread streams");
        bench.token("a3", "3").expect(&format!("+s5 a3 {name}"));
        // A receiver that listens to both gets the text once.
        bench.read(other).expect(&format!("{other}.")).end(other);
        let (second, spare) = if name == "x" { ("s3", "s4") } else { ("s4", "s3") };
        bench.read(spare).expect(&format!("{spare}."));
        bench.read(second).expect(&format!("{second}=2, {second}., a2."));
        bench.read("s5").expect("s5=3, s5., a3.").ack(read).ack(second).ack("s5").gone();
    }
}

#[test]
fn no_probe_with_one_name_or_a_known_one() {
    assert_eq!(bench().sender.learned().unwrap(), "streamed_data");
    let known = Some(ByteString::from_static("y"));
    let sender = StreamSender::new(OutboundLimits::default(), known);
    assert_eq!(sender.learned().unwrap(), "y");
    assert_eq!(StreamSender::new(OutboundLimits::default(), None).learned(), None);
    let none = OutboundLimits { event_names: [].into(), ..OutboundLimits::default() };
    assert_eq!(StreamSender::new(none, None).learned().unwrap(), "streamed_data");
}

#[test]
fn probes_that_end_without_a_read() {
    let mut bench = bench();
    probing(&mut bench, &["x", "y"]);
    bench.token("a1", "1").expect("+s1 a1 x, +s2 a1 y").error("s1").expect("");
    bench.read("s2").expect("s2=1, s2., a1.").ack("s2").gone();
    probing(&mut bench, &["x", "y"]);
    bench.token("a2", "1").end("s3").end("s4");
    bench.expect("+s3 a2 x, +s4 a2 y, a2-cancelled by the receiver").gone();
    bench.token("a3", "1").after(30);
    bench.expect("+s5 a3 x, +s6 a3 y, s5!stream not read, s6!stream not read, a3-stream not read");
    bench.gone();
}

#[test]
fn limit_unread_announcements() {
    let mut bench = Bench::new(|limits| (limits.max_unread, limits.max_write) = (2, 3));
    for (stream, text) in [("a1", "1"), ("a2", "2"), ("a3", "3"), ("b1", "4"), ("a4", "5")] {
        bench.token(stream, text);
    }
    // The finished streams of one output that still wait are one (§5.7), up to one write.
    bench.expect("+s1 a1, +s2 a2").token("a5", "67").token("a6", "7");
    bench.read("s1").expect("s1=1, s1., a1., +s3 a3").read("s2").expect("s2=2, s2., a2., +s4 b1");
    bench.read("s3").expect("s3=35, s3., a3., +s5 a5").read("s5").expect("s5=677, s5., a5.");
    bench.read("s4").expect("s4=4, s4., b1.");
    for wire in ["s1", "s2", "s3", "s4", "s5"] {
        bench.ack(wire);
    }
    bench.gone();
}

#[test]
fn merging_waits_for_the_end_of_both() {
    let mut bench = Bench::new(|limits| limits.max_unread = 1);
    bench.token("a1", "1").push("a2", "2", false).token("a3", "3").token("a4", "4");
    bench.push("a2", "", true).expect("+s1 a1").read("s1").expect("s1=1, s1., a1., +s2 a2");
    bench.read("s2").expect("s2=234, s2., a2.").ack("s1").ack("s2").gone();
}

#[test]
fn limit_unread_counts_probes() {
    let mut bench = Bench::new(|limits| limits.max_unread = 3);
    probing(&mut bench, &["x", "y"]);
    bench.token("a1", "1").token("b1", "2").expect("+s1 a1 x, +s2 a1 y");
    bench.read("s1").expect("s1=1, s1., a1., +s3 b1 x");
}

#[test]
fn limit_unacked_writes() {
    let mut bench = Bench::new(|limits| limits.max_unacked = 2);
    bench.token("a1", "1").token("a2", "2").token("a3", "3").read("s1").read("s2").read("s3");
    bench.expect("+s1 a1, +s2 a2, +s3 a3, s1=1, s1., a1., s2=2, s2., a2.");
    bench.ack("s2").expect("s3=3, s3., a3.").ack("s1").ack("s3").gone();
}

#[test]
fn limit_queued_bytes() {
    let mut bench = Bench::new(|limits| limits.max_queued_bytes = 8);
    bench.token("a1", "1111").push("a2", "2222", false).expect("+s1 a1, +s2 a2");
    bench.token("a3", "3").expect("s1!receiver too slow, a1-receiver too slow, +s3 a3");
    assert_eq!(bench.sender.queued_bytes(), 5);
    // The stream itself may be the oldest: the rest of it is dropped, too.
    bench.push("a2", "44444", false).expect("s2!receiver too slow, a2-receiver too slow");
    bench.push("a2", "5", true).expect("").read("s3").expect("s3=3, s3., a3.");
    // When nothing waits, one text of any size is taken.
    bench.token("a4", "0123456789").expect("+s4 a4");
    assert_eq!(bench.sender.queued_bytes(), 10);
    bench.token("a5", "5").expect("s4!receiver too slow, a4-receiver too slow, +s5 a5");
    bench.ack("s3").read("s5").ack("s5").expect("s5=5, s5., a5.").gone();
}

/// To know whose a little text is takes more memory than the text.
#[test]
fn limit_queued_bytes_counts_whose_they_are() {
    let mut bench = Bench::new(|limits| {
        (limits.max_queued_bytes, limits.grouping) = (200, StreamGrouping::Output);
    });
    let tokens: Vec<&'static str> = (0..100).map(|n| &*format!("a{n}").leak()).collect();
    for token in tokens {
        bench.token(token, "1");
    }
    assert_eq!(bench.sender.queued_bytes(), 0, "100 bytes of text are more than 200");
    assert!(bench.out.iter().any(|command| matches!(command, Command::Dropped { .. })));
}

#[test]
fn limit_queued_bytes_last_text_of_the_oldest() {
    let mut bench = Bench::new(|limits| limits.max_queued_bytes = 4);
    bench.push("a1", "1111", false).push("a1", "2", true);
    bench.expect("+s1 a1, s1!receiver too slow, a1-receiver too slow").gone();
    assert_eq!(bench.sender.ignored.len(), 0);
}

#[test]
fn limit_streams() {
    let mut bench = Bench::new(|limits| limits.max_streams = 2);
    bench.token("a1", "1").read("s1").token("b1", "2").expect("+s1 a1, s1=1, s1., a1., +s2 b1");
    bench.token("c1", "3").expect("s1!write not acknowledged, a1-write not acknowledged, +s3 c1");
    bench.token("d1", "4").expect("s2!receiver too slow, b1-receiver too slow, +s4 d1");
    assert_eq!(bench.sender.streams(), 2);
}

#[test]
fn limit_ignored_streams() {
    let mut bench = Bench::new(|limits| limits.max_streams = 2);
    for (stream, wire) in [("a1", "s1"), ("a2", "s2"), ("a3", "s3")] {
        bench.push(stream, "x", false).end(wire);
    }
    assert_eq!(bench.sender.ignored.len(), 2);
    bench.out.clear();
    bench.push("a3", "y", false).push("a2", "y", false).expect("").push("a1", "y", true);
    bench.expect("+s4 a1");
}

#[test]
fn grouping_by_output() {
    let mut bench = Bench::new(|limits| limits.grouping = StreamGrouping::Output);
    bench.token("a1", "1").token("a2", "2").expect("+s1 a1").read("s1").expect("s1=12");
    bench.token("a3", "3").token("b1", "x").expect("+s2 b1").ack("s1").read("s1").expect("s1=3");
    bench.read("s2").expect("s2=x");
    bench.sender.finish("other", None, bench.now, &mut bench.out);
    bench.sender.finish("r", Some("c"), bench.now, &mut bench.out);
    bench.expect("");
    bench.sender.finish("r", Some("b"), bench.now, &mut bench.out);
    bench.expect("s2., b1.").token("a4", "4").ack("s1");
    bench.sender.finish("r", None, bench.now, &mut bench.out);
    bench.expect("").read("s1").expect("s1=4, s1., a1.").ack("s1").ack("s2").gone();
    // The whole output is cancelled, until it is over.
    bench.token("c1", "1").end("s3").token("c2", "2");
    bench.expect("+s3 c1, c1-cancelled by the receiver");
    bench.sender.finish("r", Some("c"), bench.now, &mut bench.out);
    bench.token("c3", "3").expect("+s4 c3").fail("c1", "broken").read("s4");
    bench.expect("s4=3, s4!broken").ack("s4").gone();
}
