//! How many: what of each key is under way, counted in and out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// As many keys may change at once without waiting for each other as there are numbers of so many bits.
const SHARD_BITS: u32 = 6;

/// Counts by key. Exact across threads: a shard's lock is held for one look-up. Only keys of which something is under way take room, so
/// that what bounds that bounds this.
#[derive(Debug)]
pub struct UnderWay {
    hasher: RandomState,
    shards: [Mutex<HashMap<u128, NonZeroU32>>; 1 << SHARD_BITS],
}

/// One of those that are counted, until it is dropped.
#[derive(Debug)]
pub struct Counted {
    all: Arc<UnderWay>,
    key: u128,
}

impl Default for UnderWay {
    fn default() -> Self {
        // Clients choose keys: which share a shard, they must not foresee.
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl UnderWay {
    /// Counts one in, unless `most` of its key are under way.
    pub fn count_in(self: &Arc<Self>, key: u128, most: u32) -> Option<Counted> {
        match self.shard(key).entry(key) {
            Entry::Vacant(_) if most == 0 => return None,
            Entry::Vacant(free) => drop(free.insert(NonZeroU32::MIN)),
            Entry::Occupied(mut known) => {
                let more = known.get().checked_add(1).filter(|more| more.get() <= most)?;
                known.insert(more);
            }
        }
        Some(Counted { all: Arc::clone(self), key })
    }

    fn shard(&self, key: u128) -> MutexGuard<'_, HashMap<u128, NonZeroU32>> {
        let at = (self.hasher.hash_one(key) >> (u64::BITS - SHARD_BITS)) as usize;
        // Nothing panics while it is held.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut shard = self.all.shard(self.key);
        match shard.get(&self.key).and_then(|count| NonZeroU32::new(count.get() - 1)) {
            Some(fewer) => drop(shard.insert(self.key, fewer)),
            None => drop(shard.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_count_and_room_is_given_back() {
        let all = Arc::new(UnderWay::default());
        let held: Vec<_> = (0..100).flat_map(|key| [all.count_in(key, 2), all.count_in(key, 2)]).collect();
        assert!(held.iter().all(Option::is_some));
        assert!((0..100).all(|key| all.count_in(key, 2).is_none() && all.count_in(key, 3).is_some()));
        assert!(all.count_in(200, 0).is_none());
        drop(held);
        assert!(all.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn threads_never_count_more_in_than_there_may_be() {
        let all = Arc::new(UnderWay::default());
        let seen = Mutex::new((0, 0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let Some(counted) = all.count_in(7, 3) else { continue };
                        {
                            let (now, most) = &mut *seen.lock().unwrap();
                            *now += 1;
                            *most = (*most).max(*now);
                        }
                        std::thread::yield_now();
                        // Seen as gone before it is.
                        seen.lock().unwrap().0 -= 1;
                        drop(counted);
                    }
                });
            }
        });
        let (now, most) = *seen.lock().unwrap();
        assert!(now == 0 && (1..=3).contains(&most), "{most}");
        assert!(all.count_in(7, 1).is_some(), "all have been counted out");
    }
}
