//! From the route to an endpoint.

use wire::{
    BackendRecord, EndpointRecord, MAGLEV_SLOTS_MAX, MaglevTable, Member, ROUTE_BACKENDS_MAX, RouteAction,
    Tuple, WeightedBackend,
};

/// The maps that the choice of an endpoint reads: kernel maps there, tables in tests.
pub trait Balancing {
    /// `ROUTE_ACTIONS`.
    fn action(&self, index: u32) -> Option<&RouteAction>;
    /// `COPIES`.
    fn copied_below(&self, action: u32) -> Option<u32>;
    /// `BACKENDS`.
    fn backend(&self, index: u32) -> Option<&BackendRecord>;
    /// `MAGLEV_TABLES`.
    fn table(&self, index: u32) -> Option<&MaglevTable>;
    /// `ENDPOINTS`.
    fn endpoint(&self, index: u32) -> Option<&EndpointRecord>;
    /// `BACKEND_MEMBERS`.
    fn member(&self, key: &Member) -> Option<u32>;
}

/// An endpoint that may get a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Index of `ENDPOINTS`.
    pub endpoint: u32,
    /// Its generation: whoever copies the record checks that it is still this one.
    pub generation: u32,
}

/// A backend that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Index of `BACKENDS`.
    pub backend: u32,
    /// [`WeightedBackend::affinity_s`].
    pub affinity_s: u32,
}

/// Draws one of the route's backends by weight; `draw` is 32 random bits, or a client's ([`client_draw`]).
///
/// None: userspace serves the share that was drawn, or all of the route.
#[inline(always)]
pub fn choose(action: &RouteAction, draw: u32) -> Option<Drawn> {
    if action.flags & RouteAction::TIER3 != 0 {
        return None;
    }
    // Below the total: the high 32 bits of the product.
    let point = (u64::from(draw) * u64::from(action.total)) >> 32;
    // By halves: with sixteen comparisons in a row the verifier walks each outcome of each.
    let mut place = 0;
    let mut half = ROUTE_BACKENDS_MAX / 2;
    while half > 0 {
        // Those behind the last one in use end at the largest number.
        if u64::from(action.backends[(place + half - 1) & (ROUTE_BACKENDS_MAX - 1)].up_to) <= point {
            place += half;
        }
        half /= 2;
    }
    let WeightedBackend { backend, affinity_s, .. } = action.backends[place & (ROUTE_BACKENDS_MAX - 1)];
    if action.total == 0 || backend == WeightedBackend::TIER3 {
        return None;
    }
    Some(Drawn { backend, affinity_s })
}

/// What a client draws among the backends of a route with [`RouteAction::AFFINITY`], whichever connection it comes by.
#[inline(always)]
pub fn client_draw(action: &RouteAction, client: &[u8; 16]) -> u32 {
    (client_hash(client, action.subject, 0) >> 32) as u32
}

/// The endpoint of a backend for a hash ([`flow_hash`], [`client_hash`]).
///
/// None: userspace serves the backend (it has no endpoint, or one that the kernel cannot reach), or its tables are
/// being replaced.
#[inline(always)]
pub fn endpoint<B: Balancing>(tables: &B, backend: u32, hash: u64) -> Option<Chosen> {
    let record = tables.backend(backend)?;
    // SAFETY: live fields; volatile, for they may be replaced at any time.
    let (index, slots, serial) = unsafe {
        (
            (&raw const record.table).read_volatile(),
            (&raw const record.slots).read_volatile(),
            (&raw const record.serial).read_volatile(),
        )
    };
    // As `balance::Maglev::slot`.
    let slot = ((hash >> 32) * u64::from(slots)) >> 32;
    if slots == 0 || slot >= MAGLEV_SLOTS_MAX as u64 {
        return None;
    }
    let table = tables.table(index)?;
    // SAFETY: the slot is inside.
    let endpoint = u32::from(unsafe { table.endpoints.as_ptr().add(slot as usize).read_volatile() });
    // SAFETY: a live field.
    if unsafe { (&raw const table.serial).read_volatile() } != serial {
        return None;
    }
    let record = tables.endpoint(endpoint)?;
    let is_usable =
        record.flags & (EndpointRecord::USABLE | EndpointRecord::DRAINING) == EndpointRecord::USABLE;
    if is_usable { Some(Chosen { endpoint, generation: record.generation }) } else { None }
}

/// Hashes a flow and the number of its leg, as `balance::hash_flow` does for client and VIP.
#[inline(never)]
pub fn flow_hash(client: &Tuple, leg: u32) -> u64 {
    let ports = u64::from(u16::from_be_bytes(client.source_port)) << 16
        | u64::from(u16::from_be_bytes(client.destination_port));
    let hash = mix(ports);
    let hash = step(hash, high(&client.source));
    let hash = step(hash, low(&client.source));
    let hash = step(hash, high(&client.destination));
    let hash = step(hash, low(&client.destination));
    step(hash, u64::from(leg))
}

/// Hashes a client for what it chooses from, as `balance::hash_client` does.
#[inline(never)]
pub fn client_hash(client: &[u8; 16], subject: u64, round: u32) -> u64 {
    let hash = step(mix(subject), high(client));
    let hash = step(hash, low(client));
    step(hash, u64::from(round))
}

#[inline(always)]
const fn step(hash: u64, word: u64) -> u64 {
    mix(hash.rotate_left(23) ^ word)
}

#[inline(always)]
const fn high(address: &[u8; 16]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *address;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[inline(always)]
const fn low(address: &[u8; 16]) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *address;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Source: the finaliser of SplitMix64, variant 13 of Stafford, "Better Bit Mixing" (2011).
#[inline(always)]
const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(weights: &[u32]) -> RouteAction {
        let mut action = RouteAction { backends_used: weights.len() as u32, ..RouteAction::default() };
        action.backends.fill(WeightedBackend {
            up_to: u32::MAX,
            backend: WeightedBackend::TIER3,
            affinity_s: 0,
        });
        for (at, weight) in weights.iter().enumerate() {
            action.total += weight;
            action.backends[at] = WeightedBackend { up_to: action.total, backend: at as u32, affinity_s: 0 };
        }
        action
    }

    fn drawn(action: &RouteAction, draw: u32) -> Option<u32> {
        choose(action, draw).map(|drawn| drawn.backend)
    }

    #[test]
    fn draws_follow_weights() {
        let action = action(&[60, 30, 10]);
        let mut counts = [0u32; 3];
        for n in 0..100_000u32 {
            counts[drawn(&action, n.wrapping_mul(42_949)).unwrap() as usize] += 1;
        }
        for (count, share) in counts.into_iter().zip([60_000u32, 30_000, 10_000]) {
            assert!(count.abs_diff(share) < 20, "{counts:?}");
        }
        assert_eq!((drawn(&action, 0), drawn(&action, u32::MAX)), (Some(0), Some(2)));
    }

    #[test]
    fn all_sixteen_can_be_drawn() {
        let action = action(&[1; ROUTE_BACKENDS_MAX]);
        for at in 0..16u32 {
            assert_eq!(drawn(&action, at << 28), Some(at));
        }
    }

    #[test]
    fn shares_of_userspace_are_left_to_it() {
        let mut shared = action(&[1, 1]);
        shared.backends[1].backend = WeightedBackend::TIER3;
        assert_eq!((drawn(&shared, 0), drawn(&shared, u32::MAX)), (Some(0), None));
        assert_eq!(choose(&action(&[]), 7), None);
        let mut refused = action(&[1]);
        refused.flags = RouteAction::TIER3;
        assert_eq!(choose(&refused, 0), None);
    }
}
