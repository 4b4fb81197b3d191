//! Legs to endpoints that no client has: they wait, connected, for the next request.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Hop, TcpOptions, Tuple, bpf_spin_lock};

/// Entries of `POOLED_LEGS`. Takes memory only for those that there are.
pub const POOLED_LEGS_MAX: usize = 16_384;

/// Entries of `POOLS`, a power of two.
pub const POOLS_MAX: usize = 512;

/// Places of a pool, a power of two.
pub const POOL_PLACES: usize = 64;

/// Value of map `POOLED_LEGS` (key: the leg's tuple, as the endpoint sends): a leg without a client. Guarded by its lock.
///
/// Numbers are in the space of the leg.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PooledLeg {
    /// Held while the record is read or changed.
    pub lock: bpf_spin_lock,
    /// [`PooledLeg::IDLE`], [`PooledLeg::MOVING`], [`PooledLeg::SPOILED`] or [`PooledLeg::GONE`].
    pub state: u32,
    /// Its key, for the place of the record may be another's by now.
    pub key: Tuple,
    /// Index of the endpoint.
    pub endpoint: u32,
    /// And its generation.
    pub endpoint_generation: u32,
    /// What the endpoint was told of its client.
    pub announced: TcpOptions,
    /// What the endpoint announced.
    pub options: TcpOptions,
    /// Zero.
    pub pad: u32,
    /// When it came, nanoseconds since boot.
    pub since: u64,
    /// The way to the endpoint.
    pub up: Hop,
    /// What the endpoint expects next; it has acknowledged all before.
    pub send_next: u32,
    /// Just behind the highest byte that the endpoint sent.
    pub receive_next: u32,
    /// No timestamp that the endpoint was sent is newer.
    pub tsval: u32,
    /// Newest timestamp of the endpoint.
    pub peer_tsval: u32,
}
const _: () = assert!(size_of::<PooledLeg>() == 104 && align_of::<PooledLeg>() == 8);

impl PooledLeg {
    /// On its way from a client, or to one.
    pub const MOVING: u32 = 0;
    /// To be had.
    pub const IDLE: u32 = 1;
    /// It was moving when its endpoint said something: nobody gets it.
    pub const SPOILED: u32 = 2;
    /// It is a client's; the record is about to go.
    pub const GONE: u32 = 3;
}

/// Value of map `POOLS`: where to look for the legs to one endpoint that one kind of client can go on with. Guarded by its lock.
///
/// Only hints: whether there is such a leg, and whose, its own record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pool {
    /// Held while the record is read or changed.
    pub lock: bpf_spin_lock,
    /// Index of the endpoint.
    pub endpoint: u32,
    /// And its generation.
    pub endpoint_generation: u32,
    /// What the endpoint was told of the clients.
    pub announced: TcpOptions,
    /// Number of the oldest leg.
    pub head: u32,
    /// Number behind that of the newest leg.
    pub tail: u32,
    /// By number, cut to the places that there are.
    pub places: [PooledPort; POOL_PLACES],
}
const _: () = assert!(size_of::<Pool>() == 24 + 8 * POOL_PLACES && align_of::<Pool>() == 4);

/// A leg of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PooledPort {
    /// Our port, network order: all else of the tuple is the endpoint's record.
    pub port: [u8; 2],
    /// Zero.
    pub pad: [u8; 2],
    /// When it came, milliseconds since boot, cut to 32 bits.
    pub since: u32,
}
const _: () = assert!(size_of::<PooledPort>() == 8);
