//! Which ids were seen, in 16 bytes each and what is kept beside them: a million fit. Ids are known by 128 bits that only this process
//! could make two of them agree in.

use std::hash::{BuildHasher, RandomState};

/// So many lists, each sorted: what grows is one of them, and never by much.
const LISTS: usize = 1024;

/// Ids that were seen, each with a value.
pub(crate) struct Seen<V = ()> {
    lists: Vec<Vec<(Hash, V)>>,
    count: u64,
    keys: (RandomState, RandomState),
}

type Hash = [u64; 2];

impl<V> Default for Seen<V> {
    fn default() -> Self {
        Self { lists: Vec::new(), count: 0, keys: Default::default() }
    }
}

impl<V: Copy> Seen<V> {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Adds an id. Where it was seen before, its value from then stays, and is given back.
    pub(crate) fn insert(&mut self, id: &str, value: V) -> Option<V> {
        let hash = [self.keys.0.hash_one(id), self.keys.1.hash_one(id)];
        if self.lists.is_empty() {
            self.lists.resize_with(LISTS, Vec::new);
        }
        let list = &mut self.lists[hash[0] as usize % LISTS];
        match list.binary_search_by_key(&hash, |(other, _)| *other) {
            Ok(at) => Some(list[at].1),
            Err(at) => {
                if list.len() == list.capacity() {
                    // Not twice the room, which would often be half empty.
                    list.reserve_exact(list.len() / 8 + 4);
                }
                list.insert(at, (hash, value));
                self.count += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_new_once_and_keeps_its_first_value() {
        let mut seen = Seen::default();
        for number in 0..50_000_u64 {
            assert_eq!(seen.insert(&format!("id-{number}"), number), None);
        }
        for number in (0..50_000_u64).rev() {
            assert_eq!(seen.insert(&format!("id-{number}"), 0), Some(number));
        }
        assert_eq!(seen.count(), 50_000);
    }

    #[test]
    fn an_id_takes_little_more_than_its_hash() {
        let mut seen = Seen::default();
        for number in 0..200_000 {
            seen.insert(&format!("arn:aws:iam::111122223333:user/{number}"), ());
        }
        let room: usize = seen.lists.iter().map(|list| list.capacity() * size_of::<(Hash, ())>()).sum();
        assert!(room < 200_000 * 20, "{room} bytes");
    }
}
