//! Socket.IO packets, read without building JSON values: what is hot is compared as bytes.

use crate::Outcome;

/// What a text frame says.
#[derive(Debug, PartialEq)]
pub enum Packet<'a> {
    /// The Engine.IO handshake.
    Open,
    Connected,
    /// `attachments` binary frames follow.
    Event {
        attachments: usize,
        ack: Option<u64>,
        args: &'a [u8],
    },
    Ack {
        id: u64,
        args: &'a [u8],
    },
}

/// A text frame, and its namespace.
pub fn read(text: &[u8]) -> Outcome<(&[u8], Packet<'_>)> {
    let refuse = || format!("an unexpected packet: {}", show(text));
    let (kind, mut rest) = match text {
        [b'0', ..] => return Ok((b"", Packet::Open)),
        [b'4', kind, rest @ ..] => (*kind, rest),
        _ => return Err(refuse().into()),
    };
    let mut attachments = 0;
    if kind == b'5' {
        let (count, after) = number(rest).ok_or_else(refuse)?;
        attachments = count as usize;
        rest = after.strip_prefix(b"-").ok_or_else(refuse)?;
    }
    let mut namespace: &[u8] = b"/";
    if rest.first() == Some(&b'/') {
        let end = rest.iter().position(|byte| *byte == b',').ok_or_else(refuse)?;
        (namespace, rest) = (&rest[..end], &rest[end + 1..]);
    }
    let (id, args) = number(rest).map_or((None, rest), |(id, rest)| (Some(id), rest));
    let packet = match (kind, id) {
        (b'0', _) => Packet::Connected,
        (b'2' | b'5', ack) => Packet::Event { attachments, ack, args },
        (b'3', Some(id)) => Packet::Ack { id, args },
        _ => return Err(refuse().into()),
    };
    Ok((namespace, packet))
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let value = text[..digits].iter().fold(0, |value: u64, digit| value * 10 + u64::from(digit - b'0'));
    Some((value, &text[digits..]))
}

/// The name of an event, without quotes if it is a text, and its arguments without the closing bracket.
pub fn event(args: &[u8]) -> Outcome<(&[u8], &[u8])> {
    let refuse = || format!("an unexpected event: {}", show(args));
    let inside = args.strip_prefix(b"[").and_then(|args| args.strip_suffix(b"]")).ok_or_else(refuse)?;
    let end = inside.iter().position(|byte| *byte == b',').unwrap_or(inside.len());
    let name = &inside[..end];
    let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
    Ok((name, inside.get(end + 1..).unwrap_or_default()))
}

/// A text without escapes at the beginning of arguments, and what follows it.
pub fn text(args: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = args.strip_prefix(b"\"")?;
    let end = inside.iter().position(|byte| *byte == b'"')?;
    Some((&inside[..end], &inside[end + 1..]))
}

/// Whether two texts are the same JSON: the same bytes, or the same value.
pub fn same_json(got: &[u8], wanted: &[u8]) -> bool {
    let value = serde_json::from_slice::<serde_json::Value>;
    got == wanted || matches!((value(got), value(wanted)), (Ok(got), Ok(wanted)) if got == wanted)
}

/// The beginning of a frame, for an error.
pub fn show(frame: &[u8]) -> String {
    String::from_utf8_lossy(&frame[..frame.len().min(300)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets() {
        let read = |text: &'static str| read(text.as_bytes()).unwrap();
        assert_eq!(read("0{\"sid\":\"x\"}").1, Packet::Open);
        assert_eq!(read("40/llm,{\"sid\":\"x\"}"), (b"/llm".as_slice(), Packet::Connected));
        assert_eq!(
            read("43/llm,12[{\"a\":1}]"),
            (b"/llm".as_slice(), Packet::Ack { id: 12, args: b"[{\"a\":1}]" })
        );
        let write =
            read("451-/llm,7[\"$stream-write\",\"w\",{\"_placeholder\":true,\"num\":0},\"buffer\"]").1;
        let Packet::Event { attachments: 1, ack: Some(7), args } = write else { panic!("{write:?}") };
        let (name, rest) = event(args).unwrap();
        assert_eq!(name, b"$stream-write");
        let (id, rest) = text(rest).unwrap();
        assert_eq!(id, b"w");
        assert_eq!(rest, b",{\"_placeholder\":true,\"num\":0},\"buffer\"");
        assert_eq!(event(b"[9,{}]").unwrap(), (b"9".as_slice(), b"{}".as_slice()));
        assert_eq!(event(b"[\"x\"]").unwrap(), (b"x".as_slice(), b"".as_slice()));
        for refused in ["41/llm,", "44/llm,{}", "43/llm,[]", "6", ""] {
            assert!(super::read(refused.as_bytes()).is_err(), "{refused}");
        }
    }

    #[test]
    fn json() {
        assert!(same_json(b"[{\"a\":1,\"b\":2}]", b"[{\"b\":2,\"a\":1}]"));
        assert!(!same_json(b"[{\"a\":1}]", b"[{\"a\":2}]"));
        assert!(!same_json(b"[", b"]"));
    }
}
