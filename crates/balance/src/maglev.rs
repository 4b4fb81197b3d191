use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use crate::flow::words;
use crate::mix::mix;
use crate::{Balancer, Pick};

/// Consistent hashing by a Maglev table, from [`Pick::hash`].
///
/// Endpoints get slots in proportion to their weights, and a change of the endpoints moves few of the others' slots.
/// The same endpoints give the same table on every node, in whatever order they are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maglev {
    endpoints: usize,
    /// The endpoint of each slot; empty if no endpoint has weight.
    slots: Box<[u16]>,
}

/// An endpoint as a Maglev table sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointKey {
    /// Decides which slots the endpoint prefers: a stable hash of its address.
    pub id: u64,
    /// Its share (relative, 0: none).
    pub weight: u16,
}

impl EndpointKey {
    /// The key of the endpoint at `address`.
    pub fn new(address: SocketAddr, weight: u16) -> Self {
        let [high, low] = words(address.ip());
        let id = mix(mix(mix(u64::from(address.port())) ^ high).rotate_left(23) ^ low);
        Self { id, weight }
    }
}

/// Why a Maglev table cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The table size has divisors, so an endpoint's preferences would not reach every slot.
    #[error("a Maglev table of {size} slots: the size must be prime, such as 4099 or 65537")]
    NotPrime {
        /// The size asked for.
        size: u32,
    },
    /// The table would take too much memory.
    #[error("a Maglev table of {size} slots: at most {} are possible", Maglev::TABLE_SIZE_MAX)]
    TooLarge {
        /// The size asked for.
        size: u32,
    },
    /// Some endpoints would get no slot at all.
    #[error("{endpoints} endpoints do not fit a Maglev table of {size} slots: choose a larger prime")]
    TooManyEndpoints {
        /// How many have weight.
        endpoints: usize,
        /// The size asked for.
        size: u32,
    },
    /// Slots hold 16-bit numbers.
    #[error("{endpoints} endpoints are more than a Maglev table can number (65535)")]
    NotNumberable {
        /// How many there are.
        endpoints: usize,
    },
}

impl Maglev {
    /// The largest table: the largest prime below 2^20 (2 MiB).
    pub const TABLE_SIZE_MAX: u32 = 1_048_573;

    /// Builds the table of `size` slots.
    ///
    /// An endpoint's weight counts against the largest one: in each round the heaviest takes a slot, one of half its
    /// weight in every second round. An endpoint lighter than `size` allows may get no slot. Cost: O(M log M) expected
    /// for M slots, 2 M bytes.
    ///
    /// # Errors
    /// [`TableError`]: the size is no prime or too large, or there are more endpoints than slots or numbers.
    ///
    /// Source: Eisenbud et al., "Maglev", NSDI 2016, section 3.4; weights as in Katran, `MaglevHashV2.cpp`.
    pub fn build(endpoints: &[EndpointKey], size: u32) -> Result<Self, TableError> {
        check_table_size(size)?;
        if endpoints.len() > usize::from(u16::MAX) {
            return Err(TableError::NotNumberable { endpoints: endpoints.len() });
        }
        let mut order: Vec<(u16, EndpointKey)> =
            (0u16..).zip(endpoints.iter().copied()).filter(|(_, key)| key.weight > 0).collect();
        if order.len() > size as usize {
            return Err(TableError::TooManyEndpoints { endpoints: order.len(), size });
        }
        order.sort_unstable_by_key(|(index, key)| (key.id, *index));
        Ok(Self { endpoints: endpoints.len(), slots: fill(&order, size) })
    }

    /// The endpoint index in each slot; empty if no endpoint has weight.
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// The slot of `hash` in a table of `size` slots.
    ///
    /// The high 32 bits scaled, not the remainder: cheaper, and the same in a kernel program, where a division by a
    /// number known only at run time is best avoided.
    pub fn slot(hash: u64, size: u32) -> u32 {
        // At most size - 1.
        (((hash >> 32) * u64::from(size)) >> 32) as u32
    }
}

impl Balancer for Maglev {
    fn pick(&self, pick: &Pick) -> Option<usize> {
        let size = u32::try_from(self.slots.len()).ok()?;
        self.slots.get(Self::slot(pick.hash, size) as usize).map(|&endpoint| usize::from(endpoint))
    }

    fn len(&self) -> usize {
        self.endpoints
    }
}

/// Checks the number of slots before there are endpoints.
///
/// # Errors
/// [`TableError::NotPrime`], [`TableError::TooLarge`].
pub fn check_table_size(size: u32) -> Result<(), TableError> {
    if size > Maglev::TABLE_SIZE_MAX {
        return Err(TableError::TooLarge { size });
    }
    if !is_prime(size) {
        return Err(TableError::NotPrime { size });
    }
    Ok(())
}

fn is_prime(number: u32) -> bool {
    number >= 2 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

/// The slots that an endpoint wants, in order of preference: a permutation of all.
struct Preferences {
    next: u32,
    skip: u32,
}

impl Preferences {
    fn new(id: u64, size: u32) -> Self {
        let below = |word: u64, bound: u32| Maglev::slot(mix(word), bound);
        // Two unrelated numbers from one: the second from the complement.
        Self { next: below(id, size), skip: if size > 2 { below(!id, size - 1) + 1 } else { 1 } }
    }

    fn take(&mut self, size: u32) -> usize {
        let slot = self.next;
        // Both are below 2^20.
        self.next = (self.next + self.skip) % size;
        slot as usize
    }
}

/// Lets the endpoints take slots in turn. Katran adds each endpoint's weight to its account in every round and gives it a
/// slot when the account reaches the largest weight; a queue by round gives the same without visiting those that wait.
fn fill(endpoints: &[(u16, EndpointKey)], size: u32) -> Box<[u16]> {
    const FREE: u16 = u16::MAX;
    let Some(heaviest) = endpoints.iter().map(|(_, key)| u64::from(key.weight)).max() else {
        return Box::default();
    };
    let mut preferences: Vec<_> = endpoints.iter().map(|(_, key)| Preferences::new(key.id, size)).collect();
    // The round in which the account of the endpoint at `place` reaches the heaviest weight for the `nth` time.
    let round = |place: usize, nth: u64| (nth * heaviest).div_ceil(u64::from(endpoints[place].1.weight));
    let mut queue: BinaryHeap<_> =
        (0..endpoints.len()).map(|place| Reverse((round(place, 1), place, 1u64))).collect();
    let mut slots = vec![FREE; size as usize];
    for _ in 0..size {
        let Some(Reverse((_, place, nth))) = queue.pop() else { break };
        loop {
            let slot = preferences[place].take(size);
            if slots[slot] == FREE {
                slots[slot] = endpoints[place].0;
                break;
            }
        }
        queue.push(Reverse((round(place, nth + 1), place, nth + 1)));
    }
    slots.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(weights: &[u16]) -> Vec<EndpointKey> {
        (0u16..)
            .zip(weights)
            .map(|(i, &weight)| {
                let [high, low] = i.to_be_bytes();
                EndpointKey::new(SocketAddr::from(([10, 0, high, low], 8080)), weight)
            })
            .collect()
    }

    fn counts(table: &Maglev) -> Vec<usize> {
        let mut counts = vec![0; table.len()];
        table.slots().iter().for_each(|&endpoint| counts[usize::from(endpoint)] += 1);
        counts
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_the_reason() {
        let build = |size| Maglev::build(&keys(&[1, 1]), size).unwrap_err();
        assert_eq!(build(4096), TableError::NotPrime { size: 4096 });
        assert_eq!(build(0), TableError::NotPrime { size: 0 });
        assert_eq!(build(1), TableError::NotPrime { size: 1 });
        assert_eq!(build(4100 * 4100), TableError::TooLarge { size: 16_810_000 });
        assert_eq!(check_table_size(Maglev::TABLE_SIZE_MAX), Ok(()));
        assert!(build(4096).to_string().contains("must be prime"));
        let crowd = Maglev::build(&keys(&[1; 8]), 7).unwrap_err();
        assert_eq!(
            crowd.to_string(),
            "8 endpoints do not fit a Maglev table of 7 slots: choose a larger prime"
        );
        let horde = vec![EndpointKey { id: 1, weight: 0 }; 65_536];
        assert_eq!(Maglev::build(&horde, 4099), Err(TableError::NotNumberable { endpoints: 65_536 }));
    }

    #[test]
    fn equal_weights_get_equal_slots() {
        for (endpoints, size) in [(1, 2), (1, 4099), (2, 3), (7, 7), (10, 4099), (100, 65_537)] {
            let counts = counts(&Maglev::build(&keys(&vec![1; endpoints]), size).unwrap());
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{endpoints} in {size}: {least} to {most}");
        }
    }

    #[test]
    fn a_thousand_endpoints_share_4099_slots() {
        let counts = counts(&Maglev::build(&keys(&[100; 1000]), 4099).unwrap());
        assert!(counts.iter().all(|n| (4..=5).contains(n)));
    }

    #[test]
    fn slots_follow_weights() {
        let counts = counts(&Maglev::build(&keys(&[60, 30, 10, 0]), 4099).unwrap());
        assert_eq!(counts[3], 0, "weight 0 is drained");
        for (count, share) in counts.iter().zip([0.6, 0.3, 0.1]) {
            assert!((*count as f64 / 4099.0 - share).abs() < 0.001, "{counts:?}");
        }
    }

    #[test]
    fn the_queue_gives_what_katrans_rounds_give() {
        let weights = [7, 3, 100, 0, 1, 64, 100, 99];
        let keys = keys(&weights);
        let mut order: Vec<_> = (0..keys.len()).filter(|&i| weights[i] > 0).collect();
        order.sort_by_key(|&i| keys[i].id);
        let mut preferences: Vec<_> = keys.iter().map(|k| Preferences::new(k.id, 4099)).collect();
        let (mut accounts, mut slots, mut taken) = ([0u32; 8], vec![usize::MAX; 4099], 0);
        while taken < 4099 {
            for &i in &order {
                accounts[i] += u32::from(weights[i]);
                if accounts[i] >= 100 && taken < 4099 {
                    accounts[i] -= 100;
                    let free = std::iter::repeat_with(|| preferences[i].take(4099))
                        .find(|&s| slots[s] == usize::MAX);
                    slots[free.unwrap()] = i;
                    taken += 1;
                }
            }
        }
        let table = Maglev::build(&keys, 4099).unwrap();
        assert!(table.slots().iter().map(|&endpoint| usize::from(endpoint)).eq(slots));
    }

    #[test]
    fn the_order_of_endpoints_does_not_matter() {
        let keys = keys(&[1, 2, 3, 4, 5]);
        let turned: Vec<_> = keys.iter().rev().copied().collect();
        let (table, other) = (Maglev::build(&keys, 4099).unwrap(), Maglev::build(&turned, 4099).unwrap());
        assert!(table.slots().iter().zip(other.slots()).all(|(a, b)| *a == 4 - *b));
    }

    #[test]
    fn without_weight_there_is_no_endpoint() {
        for weights in [&[][..], &[0, 0]] {
            let table = Maglev::build(&keys(weights), 4099).unwrap();
            assert_eq!((table.pick(&Pick::default()), table.len()), (None, weights.len()));
        }
    }

    #[test]
    fn hashes_reach_the_first_and_the_last_slot() {
        assert_eq!(Maglev::slot(0, 4099), 0);
        assert_eq!(Maglev::slot(u64::MAX, 4099), 4098);
    }
}
