//! WebSocket frames as a client writes and reads them (RFC 6455): no extensions, no fragments.

use crate::Outcome;

/// One whole frame of the server's.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close(&'a [u8]),
}

#[derive(Clone, Copy)]
pub enum Opcode {
    Text = 1,
    Pong = 10,
}

/// Any key does: a server must unmask with it, whatever it is.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The first frame of `input` and its length, or nothing if it is not all there.
pub fn read(input: &[u8]) -> Outcome<Option<(Frame<'_>, usize)>> {
    let [first, second, ..] = *input else { return Ok(None) };
    if first & 0x80 == 0 {
        return Err("the server sends fragments".into());
    }
    let (length, head) = match second {
        0..=125 => (usize::from(second), 2),
        126 if input.len() >= 4 => (usize::from(u16::from_be_bytes([input[2], input[3]])), 4),
        127 if input.len() >= 10 => {
            let bytes: [u8; 8] = input[2..10].try_into()?;
            (usize::try_from(u64::from_be_bytes(bytes))?, 10)
        }
        126 | 127 => return Ok(None),
        _ => return Err("the server masks its frames".into()),
    };
    let Some(payload) = input.get(head..head + length) else { return Ok(None) };
    let frame = match first & 0x7f {
        1 => Frame::Text(payload),
        2 => Frame::Binary(payload),
        8 => Frame::Close(payload),
        9 => Frame::Ping(payload),
        10 => Frame::Pong,
        other => return Err(format!("a frame of kind {other:#x}").into()),
    };
    Ok(Some((frame, head + length)))
}

/// Appends a masked frame.
pub fn write(output: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    output.push(0x80 | opcode as u8);
    match payload.len() {
        length @ 0..=125 => output.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            output.push(0x80 | 126);
            output.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            output.push(0x80 | 127);
            output.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    output.extend_from_slice(&MASK);
    let from = output.len();
    output.extend_from_slice(payload);
    let mask = u64::from_ne_bytes([MASK, MASK].concat().try_into().unwrap_or_default());
    let mut words = output[from..].chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes((&*word).try_into().unwrap_or_default()) ^ mask;
        word.copy_from_slice(&masked.to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(MASK.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_masked_and_has_its_length() {
        for length in [0, 1, 7, 8, 9, 125, 126, 300, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let mut output = vec![];
            write(&mut output, Opcode::Text, &payload);
            let head = output.len() - length;
            let unmasked: Vec<u8> =
                output[head..].iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            assert_eq!(unmasked, payload);
            assert_eq!(output[head - 4..head], MASK);
            // Without its mask it is a server's frame.
            let mut plain = output[..head - 4].to_vec();
            plain[1] &= 0x7f;
            plain.extend(&payload);
            let (frame, size) = read(&plain).unwrap().unwrap();
            assert!(matches!(frame, Frame::Text(text) if text == payload));
            assert_eq!(size, plain.len());
            assert!(read(&plain[..plain.len() - 1]).unwrap().is_none());
        }
    }
}
