//! The maps of the hot path.

/// A map with a hash that is quick for short keys. Its seed is random; keys that peers choose are those of
/// trusted clients, and bounded in number, so they are no way to make it slow.
pub(crate) type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A set of such keys.
pub(crate) type FastSet<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

/// A map of a few entries: a list, searched from its front, as long as what is in it and no longer. For keys of
/// which a session has one or two.
#[derive(Clone, Debug)]
pub(crate) struct FewMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for FewMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq, V> FewMap<K, V> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.iter_mut().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Whether there is such a key.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Puts a value in, in place of the one that has that key.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(known) = self.get_mut(&key) {
            return Some(std::mem::replace(known, value));
        }
        self.0.reserve_exact(1);
        self.0.push((key, value));
        None
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        let (_, value) = self.0.remove(at);
        self.0.shrink_to_fit();
        Some(value)
    }

    /// Takes everything out.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All entries, in the order in which their keys came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// All values, in that order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The same, to change them.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }
}

impl<K, V> IntoIterator for FewMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Insert(u8, u32),
        Remove(u8),
        Clear,
    }

    proptest! {
        /// As the standard library's map, but in the order in which the keys came, and no longer than needed.
        #[test]
        fn few_entries_are_a_map(acts in proptest::collection::vec(
            prop_oneof![
                6 => (0u8..5, any::<u32>()).prop_map(|(key, value)| Act::Insert(key, value)),
                3 => (0u8..5).prop_map(Act::Remove),
                1 => Just(Act::Clear),
            ],
            0..40,
        )) {
            let (mut map, mut model, mut order) = (FewMap::default(), std::collections::HashMap::new(), Vec::new());
            for act in acts {
                match act {
                    Act::Insert(key, value) => {
                        if !model.contains_key(&key) {
                            order.push(key);
                        }
                        prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                    }
                    Act::Remove(key) => {
                        order.retain(|known| *known != key);
                        prop_assert_eq!(map.remove(&key), model.remove(&key));
                    }
                    Act::Clear => {
                        order.clear();
                        map.clear();
                        model.clear();
                    }
                }
                for key in 0..5 {
                    prop_assert_eq!(map.get(&key), model.get(&key));
                    prop_assert_eq!(map.get_mut(&key), model.get_mut(&key));
                    prop_assert_eq!(map.contains_key(&key), model.contains_key(&key));
                }
                prop_assert_eq!(map.iter().map(|(key, _)| *key).collect::<Vec<_>>(), order.clone());
                prop_assert_eq!(map.values().count(), model.len());
                prop_assert_eq!(map.0.capacity(), model.len());
            }
            let all: Vec<_> = map.clone().into_iter().map(|(key, value)| (key, Some(value))).collect();
            prop_assert_eq!(all, order.iter().map(|key| (*key, model.get(key).copied())).collect::<Vec<_>>());
        }
    }
}
