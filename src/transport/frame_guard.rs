//! Refuses a WebSocket frame, or a message in several, by the length that its header declares, before its bytes
//! are buffered: the decoder behind asks "is the whole frame here?" before "is it too long?" (facts §3.5). It
//! counts the frames of a message, too, which may be empty and cost more than their bytes.
//!
//! ```text
//!  header: 2 bytes │ + 0, 2 or 8 of length │ + 4 of mask │ payload …
//! ```

use framing::close::CloseReason;

/// What a connection may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameLimits {
    /// Bytes of a frame, and of a message in several.
    pub(super) max_bytes: usize,
    /// Frames of a message.
    pub(super) max_fragments: usize,
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Overlong,
    TooManyFragments,
}

impl Refused {
    /// Why the session ends.
    pub(super) fn reason(self, limits: FrameLimits) -> CloseReason {
        match self {
            Self::Overlong => CloseReason::TooLarge { limit: limits.max_bytes },
            Self::TooManyFragments => CloseReason::TooManyFragments { limit: limits.max_fragments },
        }
    }
}

/// Follows frame headers through a byte stream that may be cut anywhere.
pub(super) struct FrameGuard {
    /// Bound of a frame, and of a message in several.
    max_bytes: u64,
    max_fragments: usize,
    /// Bytes of the current header so far: at most 2 + 8; the mask is counted with the payload.
    header: [u8; 10],
    filled: usize,
    /// Bytes of mask and payload still to come.
    skip: u64,
    /// Bytes of the message that the frames so far belong to, if it is fragmented.
    message: u64,
    /// How many frames it has so far.
    fragments: usize,
}

impl FrameGuard {
    pub(super) fn new(FrameLimits { max_bytes, max_fragments }: FrameLimits) -> Self {
        let max_bytes = max_bytes as u64;
        Self { max_bytes, max_fragments, header: [0; 10], filled: 0, skip: 0, message: 0, fragments: 0 }
    }

    /// Reads on.
    ///
    /// # Errors
    /// A header goes beyond the limits. Nothing that follows has a meaning then.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len() as u64);
                self.skip -= skipped;
                // Not more than the slice's own length.
                bytes = bytes.get(skipped as usize..).unwrap_or_default();
                continue;
            }
            let (Some((first, rest)), Some(slot)) = (bytes.split_first(), self.header.get_mut(self.filled))
            else {
                return Err(Refused::Overlong);
            };
            *slot = *first;
            self.filled += 1;
            bytes = rest;
            if self.filled == self.header_length() {
                let length = self.declared();
                if length > self.max_bytes || self.message_with(length) > self.max_bytes {
                    return Err(Refused::Overlong);
                }
                if self.fragments > self.max_fragments {
                    return Err(Refused::TooManyFragments);
                }
                let mask = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
                self.skip = length + mask;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Length of the message up to and with this frame. Control frames stand between its parts.
    fn message_with(&mut self, length: u64) -> u64 {
        const CONTINUATION: u8 = 0;
        const FIRST_CONTROL: u8 = 8;
        match self.header[0] & 0x0f {
            CONTINUATION => {
                self.message = self.message.saturating_add(length);
                self.fragments += 1;
            }
            FIRST_CONTROL.. => return length,
            _ => {
                self.message = length;
                self.fragments = 1;
            }
        }
        self.message
    }

    fn header_length(&self) -> usize {
        match (self.filled, self.header[1] & 0x7f) {
            (0 | 1, _) => 2,
            (_, 126) => 4,
            (_, 127) => 10,
            _ => 2,
        }
    }

    fn declared(&self) -> u64 {
        let [_, short, a, b, rest @ ..] = self.header;
        match short & 0x7f {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => {
                let [c, d, e, f, g, h] = rest;
                u64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BINARY: u8 = 0x82;

    fn limits(max_bytes: usize) -> FrameLimits {
        FrameLimits { max_bytes, max_fragments: 4 }
    }

    #[test]
    fn the_frames_of_a_message_are_counted() {
        const TEXT: u8 = 1;
        const PING: u8 = 9;
        let mut headers = FrameGuard::new(limits(1000));
        let mut read = |opcode: u8| headers.read(&[opcode, 0x80, 0, 0, 0, 0]);
        // Control frames between its parts are none of it, and the next message begins anew.
        for _ in 0..3 {
            for opcode in [TEXT, 0, PING, 0, PING, PING, 0] {
                assert_eq!(read(opcode), Ok(()));
            }
        }
        assert_eq!(read(0), Err(Refused::TooManyFragments));
    }

    fn frame(first: u8, length: u64, masked: bool) -> Vec<u8> {
        let mask_bit = if masked { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(mask_bit | length as u8),
            126..65536 => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        if masked {
            bytes.extend([0xff, 0x7f, 0xff, 0x7f]);
        }
        bytes
    }

    fn whole(first: u8, length: u64, masked: bool) -> Vec<u8> {
        let mut bytes = frame(first, length, masked);
        bytes.extend(std::iter::repeat_n(0xff, length as usize));
        bytes
    }

    /// Messages in parts, as lengths: each with a ping of that length behind it, or none.
    fn messages() -> impl Strategy<Value = Vec<Vec<(u64, Option<u64>)>>> {
        let ping = proptest::option::of(0u64..=125);
        let part = (prop_oneof![0u64..300, 0u64..70_000], ping);
        proptest::collection::vec(proptest::collection::vec(part, 1..5), 1..4)
    }

    proptest! {
        #[test]
        fn a_message_in_parts_is_as_long_as_all_of_them_however_they_are_cut(
            messages in messages(),
            bound in prop_oneof![200u64..2000, 60_000u64..200_000],
            cuts in proptest::collection::vec(1usize..5000, 1..20),
        ) {
            const PING: u8 = 0x89;
            let mut bytes = Vec::new();
            // Where the header ends that makes a message too long, if one does.
            let mut end = None;
            for parts in &messages {
                let last = parts.len() - 1;
                let mut sum = 0;
                for (at, (length, ping)) in parts.iter().enumerate() {
                    let first = (if at == 0 { 2 } else { 0 }) | (if at == last { 0x80 } else { 0 });
                    sum += length;
                    // The mask is no part of what is waited for.
                    let header = frame(first, *length, true).len() - 4;
                    if sum > bound {
                        end = end.or(Some(bytes.len() + header));
                    }
                    bytes.extend(whole(first, *length, true));
                    bytes.extend(ping.map(|length| whole(PING, length, true)).unwrap_or_default());
                }
            }
            let mut headers = FrameGuard::new(limits(bound as usize));
            let mut cuts = cuts.iter().cycle();
            let mut read = 0;
            while read < bytes.len() {
                let piece = cuts.next().map_or(1, |cut| *cut).min(bytes.len() - read);
                let outcome = headers.read(&bytes[read..read + piece]);
                read += piece;
                let refused = end.is_some_and(|end| read >= end);
                prop_assert_eq!(outcome.is_err(), refused, "at {} of {:?}", read, end);
                if refused {
                    return Ok(());
                }
            }
            prop_assert_eq!(end, None);
        }

        #[test]
        fn legal_frames_pass_however_they_are_cut(
            lengths in proptest::collection::vec((0u64..70_000, any::<bool>()), 1..6),
            cut in 1usize..97,
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|(length, masked)| whole(BINARY, *length, *masked)).collect();
            let mut headers = FrameGuard::new(limits(70_000));
            for piece in bytes.chunks(cut) {
                prop_assert_eq!(headers.read(piece), Ok(()));
            }
        }

        #[test]
        fn a_long_frame_is_refused_at_its_header(
            before in proptest::collection::vec(0u64..300, 0..4),
            length in 1001u64..,
            masked: bool,
        ) {
            let mut headers = FrameGuard::new(limits(1000));
            for length in before {
                prop_assert_eq!(headers.read(&whole(BINARY, length, true)), Ok(()));
            }
            let header = frame(BINARY, length, masked);
            let mut refused = false;
            for byte in header {
                refused |= headers.read(&[byte]).is_err();
                if refused {
                    break;
                }
            }
            prop_assert!(refused);
        }
    }
}
