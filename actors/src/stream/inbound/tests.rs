//! Scripts in, emissions out: one funnel, many cases. `s1=text` is a text, `s1=text|` ends the
//! stream, `s1!reason` fails it.

use std::time::Duration;

use crate::stream::Unread;
use framing::json::RawJson;
use proptest::prelude::*;

use super::*;
use PieceKind::{Failed, Middle, Retry};

enum Step {
    /// streamId, outputId, numStreams
    Start(&'static str, &'static str, u64),
    /// streamId, chunkIndex, the JSON string
    Data(&'static str, u64, &'static str),
    DataOf(&'static str, Option<u64>, PieceKind, &'static str),
    End(&'static str),
    FinalEnd(&'static str),
    FinishOutput(&'static str),
    /// Milliseconds pass, then `poll`.
    After(u64),
    Abort,
}
use Step::*;

struct Bench {
    streams: InboundStreams<u8>,
    now: Instant,
    out: Vec<Emit<u8>>,
}

impl Bench {
    fn new(limits: InboundLimits) -> Self {
        Self { streams: InboundStreams::new(limits), now: Instant::now(), out: Vec::new() }
    }

    fn start(&mut self, id: &str, output: &str, pieces: u64) -> Result<(), StartError> {
        let start = StreamStart {
            stream_id: id.into(),
            output_id: output.into(),
            request_id: "r".into(),
            unread: Unread::default(),
            num_streams: (pieces > 0).then_some(pieces),
            route: 7,
        };
        self.streams.start(start, self.now)
    }

    fn data(&mut self, id: &str, index: Option<u64>, kind: PieceKind, json: &str) -> Result<(), DataError> {
        self.streams.data(id, index, kind, &js(json), self.now, &mut self.out)
    }

    fn end(&mut self, id: &str, last: bool) -> Result<u8, EndError> {
        self.streams.end(id, last, self.now, &mut self.out)
    }

    fn after(&mut self, time: Duration) {
        self.now += time;
        self.streams.poll(self.now, &mut self.out);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Start(id, output, pieces) => _ = self.start(id, output, pieces),
            Data(id, index, json) => _ = self.data(id, Some(index), Middle, json),
            DataOf(id, index, kind, json) => _ = self.data(id, index, kind, json),
            End(id) => _ = self.end(id, false),
            FinalEnd(id) => _ = self.end(id, true),
            FinishOutput(id) => self.streams.finish_output(id, &mut self.out),
            After(ms) => self.after(Duration::from_millis(ms)),
            Abort => self.streams.abort(|route| *route == 7, "gone", &mut self.out),
        }
    }

    fn shown(&mut self) -> Vec<String> {
        let show = |emit: Emit<u8>| match emit {
            Emit::Text { info, text, end, route: 7 } => {
                assert!(end || !text.is_empty(), "an empty text that ends nothing");
                let text = std::str::from_utf8(&text).unwrap();
                format!("{}={text}{}", info.stream_id, if end { "|" } else { "" })
            }
            Emit::Fail { info, reason, .. } => format!("{}!{reason}", info.stream_id),
            Emit::Text { .. } => panic!("a route that nobody gave"),
        };
        self.out.drain(..).map(show).collect()
    }
}

fn js(json: &str) -> JsString {
    RawJson::parse(format!("\"{json}\"").into(), 4).unwrap().as_js_string().unwrap()
}

fn check(name: &str, steps: &[Step], want: &[&str]) {
    let mut bench = Bench::new(InboundLimits::default());
    for step in steps {
        bench.step(step);
    }
    assert_eq!(bench.shown(), want, "{name}");
    if bench.streams.open_streams() == 0 {
        assert_eq!(bench.streams.buffered_bytes(), 0, "{name}");
        assert_eq!(bench.streams.deadline(), None, "{name}");
    }
}

#[test]
fn a_token_leaves_as_one_text() {
    check(
        "five pieces",
        &[
            Start("s", "o", 5),
            Data("s", 0, "He"),
            Data("s", 1, "ll"),
            Data("s", 2, "o!"),
            Data("s", 3, ""),
            Data("s", 4, ""),
            End("s"),
        ],
        &["s=Hello!|"],
    );
    check("no text, no emission", &[Start("s", "o", 5), Data("s", 0, ""), End("s")], &[]);
    check("no data", &[Start("s", "o", 5), End("s")], &[]);
    check(
        "hold ends after 20 ms, and for good",
        &[Start("s", "o", 5), Data("s", 0, "a"), After(19), After(1), Data("s", 1, "b"), End("s")],
        &["s=a", "s=b", "s=|"],
    );
    check(
        "text after the hold",
        &[Start("s", "o", 5), After(20), Data("s", 0, "a"), End("s")],
        &["s=a", "s=|"],
    );
    check(
        "six pieces are not held",
        &[Start("s", "o", 6), Data("s", 0, "a"), Data("s", 1, "b"), End("s")],
        &["s=a", "s=b", "s=|"],
    );
    check("an unknown number is not held", &[Start("s", "o", 0), Data("s", 0, "a")], &["s=a"]);
    check("a gap filled rides on the end", &[Start("s", "o", 0), Data("s", 1, "b"), End("s")], &["s=b|"]);
}

#[test]
fn pieces_leave_in_order_and_once() {
    let failed = |index, json| DataOf("s", Some(index), Failed, json);
    let retry = |index, json| DataOf("s", Some(index), Retry, json);
    let next = |json| DataOf("s", None, Middle, json);
    for (name, steps, want) in [
        ("backwards", vec![Data("s", 2, "c"), Data("s", 1, "b"), Data("s", 0, "a")], "abc"),
        ("a gap is skipped", vec![Data("s", 0, "a"), Data("s", 3, "d"), Data("s", 2, "c")], "acd"),
        ("repeated", vec![Data("s", 0, "a"), Data("s", 0, "x"), Data("s", 1, "b")], "ab"),
        ("newer replaces waiting", vec![Data("s", 1, "x"), Data("s", 1, "b"), Data("s", 0, "a")], "ab"),
        ("retry fills", vec![Data("s", 1, "b"), retry(0, "a")], "ab"),
        ("retry replaces waiting", vec![Data("s", 1, "x"), retry(1, "b"), Data("s", 0, "a")], "ab"),
        ("retry too late", vec![Data("s", 0, "a"), retry(0, "x")], "a"),
        ("failed is empty", vec![failed(0, ""), Data("s", 1, "b")], "b"),
        ("failed with data", vec![Data("s", 1, "b"), failed(0, "a")], "ab"),
        ("failed keeps a waiting text", vec![Data("s", 1, "b"), failed(1, ""), Data("s", 0, "a")], "ab"),
        ("no index is next", vec![next("a"), next("b"), Data("s", 2, "c")], "abc"),
        ("no index fills a gap", vec![Data("s", 1, "b"), next("a")], "ab"),
        ("largest index", vec![Data("s", u64::MAX, "z"), Data("s", 0, "a"), next("b")], "abz"),
    ] {
        let mut steps = steps;
        steps.insert(0, Start("s", "o", 5));
        steps.push(End("s"));
        steps.push(Data("s", 9, "late"));
        check(name, &steps, &[&format!("s={want}|")]);
        // Without the hold the text is the same, in other parts.
        steps[0] = Start("s", "o", 9);
        let mut bench = Bench::new(InboundLimits::default());
        steps.iter().for_each(|step| bench.step(step));
        let parts = bench.shown().into_iter();
        let text: String = parts.map(|part| part[2..].replace('|', "")).collect();
        assert_eq!(text, want, "{name}, not held");
    }
}

#[test]
fn halves_of_characters_are_joined_over_the_output() {
    const HIGH: &str = r"\ud83d";
    const LOW: &str = r"\ude00";
    check("in one token", &[Start("s", "o", 5), Data("s", 0, HIGH), Data("s", 1, LOW), End("s")], &["s=😀|"]);
    check(
        "over two tokens, an empty one between",
        &[
            Start("a", "o", 5),
            Data("a", 0, "x"),
            Data("a", 1, HIGH),
            Data("a", 2, ""),
            End("a"),
            Start("b", "o", 5),
            Data("b", 0, ""),
            End("b"),
            Start("c", "o", 5),
            Data("c", 0, LOW),
            End("c"),
        ],
        &["a=x|", "c=😀|"],
    );
    check(
        "not over two outputs",
        &[
            Start("a", "o", 5),
            Data("a", 0, HIGH),
            End("a"),
            Start("b", "p", 5),
            Data("b", 0, LOW),
            FinalEnd("b"),
            FinishOutput("o"),
            FinishOutput("o"),
        ],
        &["b=\u{fffd}|", "a=\u{fffd}|"],
    );
    check(
        "unpaired",
        &[Start("a", "o", 5), Data("a", 0, HIGH), Data("a", 1, "x"), Data("a", 2, LOW), End("a")],
        &["a=\u{fffd}x\u{fffd}|"],
    );
    check("final", &[Start("a", "o", 5), Data("a", 0, HIGH), FinalEnd("a")], &["a=\u{fffd}|"]);
    check(
        "final in a stream without text",
        &[Start("a", "o", 5), Data("a", 0, HIGH), End("a"), Start("b", "o", 5), FinalEnd("b")],
        &["b=\u{fffd}|"],
    );
    check(
        "finished while open",
        &[Start("a", "o", 5), Data("a", 0, HIGH), FinishOutput("o"), End("a")],
        &["a=\u{fffd}|"],
    );
    check(
        "streams side by side do not mix",
        &[
            Start("a", "o", 5),
            Start("b", "o", 5),
            Data("a", 0, HIGH),
            Data("b", 0, HIGH),
            Data("a", 1, LOW),
            End("a"),
            End("b"),
            Start("c", "o", 5),
            Data("c", 0, LOW),
            End("c"),
        ],
        &["a=😀|", "c=😀|"],
    );
    check(
        "a half does not jump into the middle of another stream",
        &[
            Start("a", "o", 5),
            Start("b", "o", 9),
            Data("b", 0, "b"),
            Data("a", 0, HIGH),
            End("a"),
            Data("b", 1, LOW),
            End("b"),
        ],
        &["b=b", "a=\u{fffd}|", "b=\u{fffd}", "b=|"],
    );
}

#[test]
fn streams_without_end_fail() {
    check(
        "idle",
        &[Start("s", "o", 9), Data("s", 0, "a"), After(59_999), After(1)],
        &["s=a", "s!stream idle"],
    );
    check(
        "not idle while pieces come",
        &[Start("s", "o", 9), After(40_000), Data("s", 0, "a"), After(59_000), End("s")],
        &["s=a", "s=|"],
    );
    check(
        "aborted: what is in order still leaves",
        &[Start("s", "o", 5), Data("s", 0, r"a\ud83d"), Data("s", 2, "c"), Abort, Data("s", 1, "b")],
        &["s=a\u{fffd}", "s!gone"],
    );
    check(
        "aborted between two halves",
        &[Start("s", "o", 5), Data("s", 0, r"\ud83d"), End("s"), Abort, FinishOutput("o")],
        &[],
    );
}

#[test]
fn abort_takes_only_what_is_selected() {
    let mut bench = Bench::new(InboundLimits::default());
    bench.start("s", "o", 5).unwrap();
    bench.streams.abort(|route| *route == 8, "gone", &mut bench.out);
    assert_eq!(bench.end("s", false), Ok(7));
}

#[test]
fn unknown_and_duplicate_streams() {
    let mut bench = Bench::new(InboundLimits::default());
    assert_eq!(bench.data("__proto__", Some(0), Middle, "a"), Err(DataError::UnknownStream));
    assert_eq!(bench.end("s", false), Err(EndError::UnknownStream));
    assert_eq!(bench.start("__proto__", "o", 5), Ok(()));
    assert_eq!(bench.start("__proto__", "p", 5), Err(StartError::Duplicate));
    assert_eq!(bench.end("__proto__", false), Ok(7));
    assert_eq!(bench.start("__proto__", "o", 5), Ok(()), "an ended id may be used again");
}

#[test]
fn limit_open_streams() {
    let mut bench = Bench::new(InboundLimits { max_streams: 2, ..InboundLimits::default() });
    assert_eq!(bench.start("a", "o", 5), Ok(()));
    assert_eq!(bench.start("b", "o", 5), Ok(()));
    assert_eq!(bench.start("c", "o", 5), Err(StartError::TooMany { limit: 2 }));
    assert_eq!(bench.end("a", false), Ok(7));
    assert_eq!(bench.start("c", "o", 5), Ok(()));
}

#[test]
fn limit_stream_bytes() {
    let limits = InboundLimits { max_stream_bytes: 2 * PIECE_COST + 4, ..InboundLimits::default() };
    let mut bench = Bench::new(limits);
    bench.start("s", "o", 5).unwrap();
    bench.data("s", Some(1), Middle, "bb").unwrap();
    bench.data("s", Some(2), Middle, "cc").unwrap();
    bench.data("s", Some(2), Middle, "dd").unwrap();
    assert_eq!(bench.streams.buffered_bytes(), 2 * PIECE_COST + 4);
    let error = DataError::StreamOverflow { limit: 2 * PIECE_COST + 4 };
    assert_eq!(bench.data("s", Some(3), Middle, ""), Err(error), "empty pieces count too");
    assert_eq!(bench.shown(), ["s!stream too large"]);
    assert_eq!((bench.streams.open_streams(), bench.streams.buffered_bytes()), (0, 0));
    assert_eq!(bench.streams.open_outputs(), 0);
    assert_eq!(bench.data("s", Some(0), Middle, ""), Err(DataError::UnknownStream));
    assert_eq!(bench.start("s", "o", 5), Ok(()), "the id is free again");
}

#[test]
fn text_in_order_never_overflows() {
    let mut bench = Bench::new(InboundLimits { max_stream_bytes: 3, ..InboundLimits::default() });
    bench.start("s", "o", 5).unwrap();
    for (index, piece) in ["abc", "d", "ef"].into_iter().enumerate() {
        bench.data("s", Some(index as u64), Middle, piece).unwrap();
    }
    bench.end("s", false).unwrap();
    assert_eq!(bench.shown(), ["s=abcd", "s=ef", "s=|"]);
}

#[test]
fn limit_output_bytes() {
    let limit = 2 * PIECE_COST;
    let mut bench = Bench::new(InboundLimits { max_output_bytes: limit, ..InboundLimits::default() });
    for id in ["a", "b", "c"] {
        bench.start(id, if id == "c" { "p" } else { "o" }, 5).unwrap();
    }
    bench.data("a", Some(1), Middle, "").unwrap();
    bench.data("c", Some(1), Middle, "").unwrap();
    let error = DataError::OutputOverflow { limit };
    assert_eq!(bench.data("b", Some(1), Middle, "b"), Err(error));
    assert_eq!(bench.shown(), ["b!stream too large"]);
    assert_eq!(bench.end("a", false), Ok(7), "the other stream of the output goes on");
}

#[test]
fn limit_outputs_with_half_a_character() {
    let mut bench = Bench::new(InboundLimits { max_streams: 1, ..InboundLimits::default() });
    for output in ["o", "p", "q"] {
        bench.start(output, output, 5).unwrap();
        bench.data(output, Some(0), Middle, r"\ud83d").unwrap();
        bench.end(output, false).unwrap();
    }
    assert_eq!(bench.streams.open_outputs(), 2);
    assert_eq!(bench.shown(), ["o=\u{fffd}|"], "the oldest is completed");
}

#[test]
fn ids_are_shared_and_keys_are_not() {
    let mut bench = Bench::new(InboundLimits::default());
    for id in ["a", "b"] {
        bench.start(id, "o", 5).unwrap();
        bench.data(id, Some(0), Middle, "x").unwrap();
        bench.end(id, false).unwrap();
    }
    let info = |emit| match emit {
        Emit::Text { info, .. } | Emit::Fail { info, .. } => info,
    };
    let infos: Vec<Arc<StreamInfo>> = bench.out.drain(..).map(info).collect();
    assert_ne!(infos[0].key, infos[1].key);
    assert_eq!(infos[0].output_id.as_ptr(), infos[1].output_id.as_ptr());
}

#[test]
fn large_text_is_whole() {
    let mut bench = Bench::new(InboundLimits::default());
    let long = "你".repeat(5000);
    for id in ["a", "b"] {
        bench.start(id, "o", 9).unwrap();
        bench.data(id, Some(0), Middle, &long).unwrap();
        bench.end(id, false).unwrap();
    }
    assert_eq!(bench.shown(), [format!("a={long}"), "a=|".into(), format!("b={long}"), "b=|".into()]);
}

/// As the published extension cuts: five pieces of ⌈n/5⌉ UTF-16 units, as JSON strings.
fn pieces(units: &[u16]) -> Vec<String> {
    let size = units.len().div_ceil(5).max(1);
    let escape = |units: &[u16]| units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
    let mut pieces: Vec<String> = units.chunks(size).map(escape).collect();
    pieces.resize(5, String::new());
    pieces
}

proptest! {
    /// Any text, cut into tokens anywhere, each into five pieces in any order, some repeated,
    /// with pauses: the same text comes out, in order, once, and each token at most once per pause.
    #[test]
    fn any_text_comes_out_as_it_was(
        text in any::<String>(),
        cuts in proptest::collection::vec(1usize..9, 1..40),
        shuffle in proptest::collection::vec((0usize..5, 0usize..5, any::<bool>(), 0u64..15), 1..40),
    ) {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut bench = Bench::new(InboundLimits::default());
        let (mut rest, mut token, mut paused) = (&units[..], 0, 0);
        while !rest.is_empty() {
            let (units, left) = rest.split_at(cuts[token % cuts.len()].min(rest.len()));
            rest = left;
            let id = token.to_string();
            bench.start(&id, "o", 5).unwrap();
            let mut pieces: Vec<_> = pieces(units).into_iter().enumerate().collect();
            let (a, b, repeat, pause) = shuffle[token % shuffle.len()];
            pieces.swap(a, b);
            for (index, piece) in pieces {
                for _ in 0..=usize::from(repeat) {
                    bench.data(&id, Some(index as u64), Middle, &piece).unwrap();
                }
                bench.after(Duration::from_millis(pause));
                paused += usize::from(pause > 0);
            }
            bench.end(&id, rest.is_empty()).unwrap();
            token += 1;
        }
        prop_assert_eq!(bench.streams.open_outputs(), 0);
        prop_assert_eq!(bench.streams.buffered_bytes(), 0);
        prop_assert!(bench.out.len() <= token + 5 * paused);
        let mut all = Vec::new();
        for emit in &bench.out {
            match emit {
                Emit::Text { text, .. } => all.extend_from_slice(text),
                Emit::Fail { .. } => prop_assert!(false, "failed"),
            }
        }
        prop_assert_eq!(String::from_utf8(all).unwrap(), text);
    }
}
