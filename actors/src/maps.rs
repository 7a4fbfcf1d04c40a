//! The maps of the hot path.

/// A map with a hash that is quick for short keys. Its seed is random; keys that peers choose are those of
/// trusted clients, and bounded in number, so they are no way to make it slow.
pub(crate) type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
