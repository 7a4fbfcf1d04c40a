//! A map for keys that are numbered as they come.

use std::{cmp::Ordering, collections::VecDeque};

/// Entries in the order of their keys, one behind the other. For keys that mostly rise and whose entries mostly go in
/// the order in which they came: a new one stands last, an old one first, and both cost a step. A tree would have a
/// node of eleven places for the one entry that there is, as a rule.
///
/// While it is empty it holds [`KEPT`] bytes at most.
#[derive(Clone, Debug)]
pub(crate) struct RisingMap<K, V>(VecDeque<(K, V)>);

/// Bytes of a buffer that is kept when the last entry goes: what comes and goes with every event is not worth a buffer
/// each time, and what is larger is not worth holding for somebody who is silent.
const KEPT: usize = 64;

impl<K, V> Default for RisingMap<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: Ord, V> RisingMap<K, V> {
    /// Where a key is, or where it belongs. The newest and the oldest are the ones that are asked for.
    fn place(&self, key: &K) -> Result<usize, usize> {
        let (Some((first, _)), Some((last, _))) = (self.0.front(), self.0.back()) else {
            return Err(0);
        };
        match (key.cmp(last), key.cmp(first)) {
            (Ordering::Greater, _) => Err(self.0.len()),
            (Ordering::Equal, _) => Ok(self.0.len() - 1),
            (_, Ordering::Equal) => Ok(0),
            (_, Ordering::Less) => Err(0),
            _ => self.0.binary_search_by(|(known, _)| known.cmp(key)),
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(self.place(key).ok()?).map(|(_, value)| value)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.place(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Puts a value in, in place of the one that has that key.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => self.0.get_mut(at).map(|(_, known)| std::mem::replace(known, value)),
            Err(at) => {
                // One entry is the rule.
                if self.0.capacity() == 0 {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (_, value) = self.0.remove(self.place(key).ok()?)?;
        self.let_go();
        Some(value)
    }

    /// The entry with the lowest key.
    pub(crate) fn first(&self) -> Option<(&K, &V)> {
        self.0.front().map(|(key, value)| (key, value))
    }

    /// Takes it out.
    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let first = self.0.pop_front();
        self.let_go();
        first
    }

    /// All entries in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// All values, in that order.
    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_iter().map(|(_, value)| value)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes everything out.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn let_go(&mut self) {
        if self.0.is_empty() && self.0.capacity() * size_of::<(K, V)>() > KEPT {
            self.0 = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Act {
        /// A key higher than all before.
        Push(u32),
        Insert(u8, u32),
        Remove(u8),
        Pop,
        Clear,
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_order(acts in proptest::collection::vec(
            prop_oneof![
                6 => any::<u32>().prop_map(Act::Push),
                3 => (any::<u8>(), any::<u32>()).prop_map(|(key, value)| Act::Insert(key, value)),
                3 => any::<u8>().prop_map(Act::Remove),
                3 => Just(Act::Pop),
                1 => Just(Act::Clear),
            ],
            0..80,
        )) {
            let (mut map, mut model, mut next) = (RisingMap::default(), BTreeMap::new(), 0_u32);
            for act in acts {
                match act {
                    Act::Push(value) => {
                        next += 3;
                        prop_assert_eq!(map.insert(next, value), model.insert(next, value));
                    }
                    Act::Insert(key, value) => {
                        prop_assert_eq!(map.insert(key.into(), value), model.insert(key.into(), value));
                    }
                    Act::Remove(key) => {
                        prop_assert_eq!(map.remove(&key.into()), model.remove(&u32::from(key)));
                    }
                    Act::Pop => prop_assert_eq!(map.pop_first(), model.pop_first()),
                    Act::Clear => {
                        map.clear();
                        model.clear();
                    }
                }
                for key in 0..=next.max(256) {
                    prop_assert_eq!(map.get(&key), model.get(&key));
                    prop_assert_eq!(map.get_mut(&key), model.get_mut(&key));
                }
                prop_assert_eq!(map.first(), model.first_key_value());
                prop_assert!(map.iter().eq(model.iter()));
                prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
                prop_assert!(!map.is_empty() || map.0.capacity() <= KEPT / size_of::<(u32, u32)>());
            }
            prop_assert!(map.into_values().eq(model.into_values()));
        }
    }
}
