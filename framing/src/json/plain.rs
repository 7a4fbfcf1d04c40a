//! Where a string stops being plain text.

/// Looked at word by word; what is longer is searched many words at a time.
const SHORT: usize = 64;

/// Bytes before the first quote, backslash or control character, which end a JSON string or are escaped in one;
/// `None` if there is none. Most strings are a few bytes, and a few are most of the bytes.
pub(super) fn plain_length(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words.iter().take(SHORT / 8) {
        let found = specials(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    if at < SHORT {
        return rest.iter().position(is_special).map(|more| at + more);
    }
    let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    let before = rest.get(..end).unwrap_or_default();
    // Without a way out of the loop, so that it is done many bytes at a time.
    let control = before.iter().fold(false, |found, byte| found | (*byte < 0x20));
    match control {
        true => before.iter().position(is_special).map(|more| at + more),
        false if end == rest.len() => None,
        false => Some(at + end),
    }
}

fn is_special(byte: &u8) -> bool {
    *byte == b'"' || *byte == b'\\' || *byte < 0x20
}

/// The highest bit of each byte of `word` that is special. Above the lowest of them there may be others that are
/// none: a subtraction borrows from the next byte. Nobody looks there.
fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; 8]);
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (is(b'"') | is(b'\\') | below(word, 0x20)) & HIGHEST
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_where_a_search_byte_by_byte_ends(
            before in proptest::collection::vec(0x20u8.., 0..100),
            after in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let bytes = [before, after].concat();
            prop_assert_eq!(plain_length(&bytes), bytes.iter().position(is_special));
        }
    }

    #[test]
    fn every_byte_is_found_at_every_place() {
        for length in [1, 7, 8, 9, 31, 32, 33, 70] {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = byte;
                    let wanted = is_special(&byte).then_some(at);
                    assert_eq!(plain_length(&bytes), wanted, "{byte} at {at} of {length}");
                }
            }
        }
    }
}
