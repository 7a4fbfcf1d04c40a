//! A client's own description, made safe to show (spec §8.1 8-54).

/// Longest description kept, in characters.
pub const MAX_DESCRIPTION: usize = 256;

/// Removes control characters and angle brackets and keeps at most [`MAX_DESCRIPTION`] characters.
///
/// The extension's page shows descriptions unescaped, inside SillyTavern. `None` if nothing is left.
pub fn sanitize(text: &str) -> Option<String> {
    let kept: String = text.chars().filter(|c| !is_markup(*c)).take(MAX_DESCRIPTION).collect();
    (!kept.trim().is_empty()).then_some(kept)
}

/// Whether a text holds what [`sanitize`] removes: for ids, which cannot be changed.
pub fn has_markup(text: &str) -> bool {
    text.chars().any(is_markup)
}

fn is_markup(c: char) -> bool {
    c.is_control() || c == '<' || c == '>'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defect_8_54_descriptions_cannot_carry_markup() {
        for (given, kept) in [
            ("My app", Some("My app")),
            ("<script>alert(1)</script>", Some("scriptalert(1)/script")),
            ("a\u{0}\n\u{7f}b", Some("ab")),
            ("这是一个扩展", Some("这是一个扩展")),
            ("", None),
            ("<>\n", None),
        ] {
            assert_eq!(sanitize(given).as_deref(), kept);
        }
        assert_eq!(sanitize(&"é".repeat(1000)).unwrap().chars().count(), MAX_DESCRIPTION);
    }
}
