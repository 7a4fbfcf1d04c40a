//! What extensions say: the pieces of an answer, and the events that carry them (specification §5.3).

use std::fmt::Write;

/// How an extension cuts its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One stream for an answer, and so many bytes in each of its chunks.
    Stream { chunk: usize },
    /// What the published extension does: a stream of five pieces for each token.
    PerToken,
}

/// Pieces of a token, the last of them often empty.
const PIECES: usize = 5;

/// New text as models produce it, a token each.
const TOKENS: &[&str] = &[
    " the", "Hello", ",", " world", " and", ".", " quick", "\n", " brown", "ing", " fox", "!", " a", " \"so",
    "\"", " über", " lantern", " 夜", "は", " of", " into", " shadow", "'s", " there", "?", " glimmer", "ed",
    " door",
];

const TEXT: &[u8; 64] = b"The lamp was lit, and nobody knew by whom; it burned until dawn.";

/// One answer of one extension to one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub client: u32,
    /// The client's requests are counted.
    pub number: u32,
    pub steps: usize,
}

impl Answer {
    pub fn request_id(self) -> String {
        format!("{:08x}-0000-4000-8000-{:012x}", self.client, self.number)
    }

    /// Client and number.
    pub fn of_request(id: &str) -> Option<(u32, u32)> {
        let client = u32::from_str_radix(id.get(..8)?, 16).ok()?;
        let number = u32::from_str_radix(id.get(24..)?, 16).ok()?;
        Some((client, number))
    }

    pub fn output_id(self) -> String {
        format!("{:08x}-0000-4000-9000-{:012x}", self.client, self.number)
    }

    pub fn stream_id(self, shape: Shape, step: usize) -> String {
        let stream = if shape == Shape::PerToken { step } else { 0 };
        format!("{:08x}-{stream:04x}-4000-a000-{:012x}", self.client, self.number)
    }

    /// The step whose stream it is.
    pub fn of_stream(id: &str) -> Option<usize> {
        usize::from_str_radix(id.get(9..13)?, 16).ok()
    }

    /// The text of one step.
    pub fn append_text(self, shape: Shape, step: usize, text: &mut String) {
        let seed = self.client as usize * 31 + self.number as usize * 17 + step * 5;
        match shape {
            Shape::PerToken => text.push_str(TOKENS[seed % TOKENS.len()]),
            Shape::Stream { chunk } => {
                for index in 0..chunk {
                    text.push(char::from(TEXT[(seed + index) % TEXT.len()]));
                }
            }
        }
    }

    /// The events of one step, each a packet of its own.
    pub fn events(self, shape: Shape, extension: &str, step: usize, mut send: impl FnMut(&str)) {
        let ids = Ids {
            stream: self.stream_id(shape, step),
            output: self.output_id(),
            request: self.request_id(),
            extension,
        };
        let mut text = String::new();
        self.append_text(shape, step, &mut text);
        let (first, last) = (step == 0, step + 1 == self.steps);
        let mut packet = String::with_capacity(512);
        match shape {
            Shape::Stream { .. } => {
                if first {
                    ids.mark(&mut packet, "START", 1, Some(self.steps));
                    send(&packet);
                }
                let kind = if first { "FIRST" } else { ["MIDDLE", "LAST"][usize::from(last)] };
                ids.data(&mut packet, kind, step, &text);
                send(&packet);
                if last {
                    ids.mark(&mut packet, "END", 3, None);
                    send(&packet);
                }
            }
            Shape::PerToken => {
                ids.mark(&mut packet, "START", 1, Some(PIECES));
                send(&packet);
                let letters: Vec<char> = text.chars().collect();
                let size = letters.len().div_ceil(PIECES);
                for index in 0..PIECES {
                    let from = (index * size).min(letters.len());
                    let piece: String = letters[from..(from + size).min(letters.len())].iter().collect();
                    let kind = match index {
                        0 if first => "FIRST",
                        4 => "LAST",
                        _ => "MIDDLE",
                    };
                    ids.data(&mut packet, kind, index, &piece);
                    send(&packet);
                }
                ids.mark(&mut packet, "END", 3, None);
                send(&packet);
            }
        }
    }
}

impl Shape {
    /// What is counted: chunks, or pieces.
    pub fn units(self) -> u64 {
        match self {
            Self::Stream { .. } => 1,
            Self::PerToken => PIECES as u64,
        }
    }
}

struct Ids<'a> {
    stream: String,
    output: String,
    request: String,
    extension: &'a str,
}

impl Ids<'_> {
    fn mark(&self, packet: &mut String, event: &str, kind: u32, pieces: Option<usize>) {
        let Self { stream, output, request, extension } = self;
        packet.clear();
        let _ = write!(
            packet,
            r#"42/llm,["CLIENT_STREAM_{event}",{{"type":{kind},"clientId":"{extension}","streamId":"{stream}","outputId":"{output}","#
        );
        if let Some(pieces) = pieces {
            let _ = write!(packet, r#""numStreams":{pieces},"#);
        }
        let _ = write!(packet, r#""source":"{extension}","requestId":"{request}","target":"server"}}]"#);
    }

    fn data(&self, packet: &mut String, event: &str, index: usize, text: &str) {
        let Self { stream, output, request, extension } = self;
        let kind = match event {
            "FIRST" => 4,
            "MIDDLE" => 5,
            _ => 6,
        };
        packet.clear();
        let _ = write!(
            packet,
            r#"42/llm,["CLIENT_STREAM_DATA_{event}",{{"type":{kind},"streamId":"{stream}","outputId":"{output}","clientId":"{extension}","chunkIndex":{index},"data":""#
        );
        for letter in text.chars() {
            match letter {
                '"' => packet.push_str("\\\""),
                '\n' => packet.push_str("\\n"),
                letter => packet.push(letter),
            }
        }
        let _ = write!(packet, r#"","source":"{extension}","requestId":"{request}","target":"server"}}]"#);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_the_text() {
        for shape in [Shape::PerToken, Shape::Stream { chunk: 8 }] {
            let answer = Answer { client: 7, number: 3, steps: 40 };
            let (mut text, mut carried) = (String::new(), String::new());
            let mut streams = 0;
            for step in 0..answer.steps {
                answer.append_text(shape, step, &mut text);
                answer.events(shape, "SillyTavern-8000", step, |packet| {
                    let event: serde_json::Value = serde_json::from_str(&packet["42/llm,".len()..]).unwrap();
                    carried.push_str(event[1]["data"].as_str().unwrap_or_default());
                    streams += usize::from(event[0] == "CLIENT_STREAM_START");
                });
            }
            assert_eq!(carried, text);
            assert_eq!(streams, if shape == Shape::PerToken { 40 } else { 1 });
            assert_eq!(Answer::of_request(&answer.request_id()), Some((7, 3)));
        }
    }
}
