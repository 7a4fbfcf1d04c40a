//! One page of the entries of a log that are severe enough: a pass over its lines that keeps nothing else.

use std::io::{self, BufRead, Read};

use super::entry::{self, Severity};

/// Bytes of an entry that are read; the rest of a longer one is skipped.
const MAX_ENTRY: usize = 16 * 1024;

/// Which entries are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelFilter {
    /// Every one.
    All,
    /// Errors.
    Error,
    /// Warnings and errors.
    Warn,
    /// All but what is for debugging.
    Info,
}

impl LevelFilter {
    /// Reads the option of `READ_LOG`.
    pub fn from_wire(text: &str) -> Option<Self> {
        [Self::All, Self::Error, Self::Warn, Self::Info].into_iter().find(|filter| filter.wire() == text)
    }

    /// The option's word.
    pub fn wire(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
        }
    }

    /// This level and above (spec §4.8).
    fn takes(self, severity: Severity) -> bool {
        let least = match self {
            Self::All => Severity::Other,
            Self::Error => Severity::Error,
            Self::Warn => Severity::Warn,
            Self::Info => Severity::Info,
        };
        severity <= least
    }
}

/// What a page holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// Its entries, oldest first; the lines of one are parted by `\n`.
    pub lines: Vec<String>,
    /// Entries of all pages.
    pub total: u64,
}

/// Collects a page from lines.
pub(super) struct Pager {
    filter: LevelFilter,
    first: u64,
    size: usize,
    page: LogPage,
    /// The last entry of the page is the one that is being read.
    open: bool,
}

impl Pager {
    /// `page` counts from 1.
    pub(super) fn new(filter: LevelFilter, page: u64, size: usize) -> Self {
        let first = page.saturating_sub(1).saturating_mul(size as u64);
        Self { filter, first, size, page: LogPage::default(), open: false }
    }

    /// Reads a file to its end.
    pub(super) fn read(&mut self, mut reader: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        // What an earlier file ended with is not continued here.
        self.open = false;
        loop {
            line.clear();
            let read = reader.by_ref().take(MAX_ENTRY as u64).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            if line.ends_with(b"\n") {
                line.pop();
            } else if read == MAX_ENTRY {
                reader.skip_until(b'\n')?;
            }
            self.line(&line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        if let Some(severity) = entry::begins(line) {
            self.open = false;
            if self.filter.takes(severity) {
                self.open = self.page.total >= self.first && self.page.lines.len() < self.size;
                self.page.total += 1;
                if self.open {
                    self.page.lines.push(String::from_utf8_lossy(line).into_owned());
                }
            }
        } else if self.open
            && let Some(entry) = self.page.lines.last_mut()
            && entry.len() + line.len() < MAX_ENTRY
        {
            entry.push('\n');
            entry.push_str(&String::from_utf8_lossy(line));
        }
    }

    pub(super) fn finish(self) -> LogPage {
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

    fn head(level: &str, n: usize) -> String {
        format!("2026-01-31 23:59:59 [{level}] [llm-server]: entry {n}")
    }

    fn read(text: &str, filter: LevelFilter, page: u64, size: usize) -> LogPage {
        let mut pager = Pager::new(filter, page, size);
        pager.read(text.as_bytes()).unwrap();
        pager.finish()
    }

    #[test]
    fn defect_d2_18_a_level_means_this_level_and_above() {
        let text: String = LEVELS.iter().enumerate().map(|(n, level)| head(level, n) + "\n").collect();
        for (filter, levels) in [
            (LevelFilter::All, &LEVELS[..]),
            (LevelFilter::Info, &LEVELS[..3]),
            (LevelFilter::Warn, &LEVELS[..2]),
            (LevelFilter::Error, &LEVELS[..1]),
        ] {
            let page = read(&text, filter, 1, 100);
            assert_eq!(page.total, levels.len() as u64, "{filter:?}");
            let expected: Vec<String> = levels.iter().enumerate().map(|(n, level)| head(level, n)).collect();
            assert_eq!(page.lines, expected, "{filter:?}");
            assert_eq!(LevelFilter::from_wire(filter.wire()), Some(filter));
        }
        for unknown in ["", "debug", "ERROR", "All"] {
            assert_eq!(LevelFilter::from_wire(unknown), None);
        }
    }

    #[test]
    fn continuation_lines_belong_to_their_entry() {
        let text = format!(
            "no entry\n{}\n  {{\n    \"a\": 1\n  }}\n{}\n  more\n{}",
            head("error", 0),
            head("info", 1),
            head("error", 2)
        );
        let page = read(&text, LevelFilter::Error, 1, 10);
        assert_eq!(page.lines, [head("error", 0) + "\n  {\n    \"a\": 1\n  }", head("error", 2)]);
        assert_eq!(read(&text, LevelFilter::Error, 2, 1).lines, [head("error", 2)]);
        assert_eq!(read(&text, LevelFilter::All, 2, 1).lines, [head("info", 1) + "\n  more"]);
    }

    #[test]
    fn an_entry_that_is_too_long_is_cut_and_the_next_is_found() {
        let long = "x".repeat(3 * MAX_ENTRY);
        let text = format!("{} {long}\n  {long}\n  {long}\n{}\n", head("info", 0), head("warn", 1));
        let page = read(&text, LevelFilter::All, 1, 10);
        assert_eq!(page.total, 2);
        assert!(page.lines[0].len() <= MAX_ENTRY, "{}", page.lines[0].len());
        assert_eq!(page.lines[1], head("warn", 1));
    }

    #[test]
    fn any_bytes_can_be_read() {
        let mut bytes = head("info", 0).into_bytes();
        bytes.extend(b"\xff\xfe\n\x00\n");
        let mut pager = Pager::new(LevelFilter::All, 1, 10);
        pager.read(&bytes[..]).unwrap();
        assert_eq!(pager.finish().lines, [head("info", 0) + "\u{fffd}\u{fffd}\n\0"]);
    }

    proptest! {
        /// Against the plain way: all that match, in one list, and a slice of it.
        #[test]
        fn pages_are_slices(
            entries in prop::collection::vec((0..5_usize, 0..3_usize), 0..40),
            filter in 0..4_usize,
            page in 1..6_u64,
            size in 1..12_usize,
        ) {
            let filter = [LevelFilter::All, LevelFilter::Info, LevelFilter::Warn, LevelFilter::Error][filter];
            let most = match filter {
                LevelFilter::All => 4,
                LevelFilter::Info => 2,
                LevelFilter::Warn => 1,
                LevelFilter::Error => 0,
            };
            let texts: Vec<(usize, String)> = entries
                .iter()
                .enumerate()
                .map(|(n, (level, more))| (*level, head(LEVELS[*level], n) + &"\n  more".repeat(*more)))
                .collect();
            let text: String = texts.iter().map(|(_, text)| format!("{text}\n")).collect();
            let matching: Vec<String> =
                texts.into_iter().filter(|(level, _)| *level <= most).map(|(_, text)| text).collect();
            let expected: Vec<String> =
                matching.iter().skip((page as usize - 1) * size).take(size).cloned().collect();
            prop_assert_eq!(
                read(&text, filter, page, size),
                LogPage { lines: expected, total: matching.len() as u64 }
            );
        }
    }
}
