//! What one connection may make us hold (spec appendix A).

/// Bounds of one session's protocol state. Each is checked where the bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one packet's text, and of its attachments together.
    pub max_payload: usize,
    /// Attachments of one packet.
    pub max_attachments: usize,
    /// Nesting of arrays and objects in one argument or auth payload: `1` and `"x"` are
    /// 0 deep, `[1]` is 1 deep. The array that holds an event's arguments does not count.
    pub max_depth: usize,
    /// Namespaces joined or being joined at the same time.
    pub max_namespaces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_payload: 8 * 1024 * 1024, max_attachments: 64, max_depth: 64, max_namespaces: 32 }
    }
}
