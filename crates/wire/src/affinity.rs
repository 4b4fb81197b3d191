//! Which endpoint a client has, and which endpoints a backend has.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{ENDPOINTS_MAX, IpAddress};

/// Entries of `FLOW_CACHE` by default.
pub const FLOW_CACHE_MAX: usize = 65_536;
/// Entries of `BACKEND_MEMBERS` that are in use at once; the map has room for as many again, which take their place.
pub const BACKEND_MEMBERS_MAX: usize = ENDPOINTS_MAX;

/// Key of map `FLOW_CACHE`: a client and what it has an endpoint of.
///
/// Nothing in it depends on the order of tables: it means the same to both tiers, and to the next agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CachedClient {
    /// The address that its connections come from.
    pub client: IpAddress,
    /// [`crate::BackendRecord::subject`].
    pub subject: u64,
}
const _: () = assert!(size_of::<CachedClient>() == 24 && align_of::<CachedClient>() == 8);

/// Value of map `FLOW_CACHE`: the endpoint. It counts only while [`Member`] says that the backend still has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CachedEndpoint {
    /// Its address.
    pub address: IpAddress,
    /// Its port, network order.
    pub port: [u8; 2],
    /// Zero.
    pub pad: [u8; 2],
    /// When the client last asked for something, seconds since boot.
    pub used_s: u32,
}
const _: () = assert!(size_of::<CachedEndpoint>() == 24 && align_of::<CachedEndpoint>() == 4);

/// Key of map `BACKEND_MEMBERS` (value: the index of `ENDPOINTS`): an endpoint that takes requests of a backend whose
/// clients stay.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct Member {
    /// The endpoint's address.
    pub address: IpAddress,
    /// Its port, network order.
    pub port: [u8; 2],
    /// Zero.
    pub pad: [u8; 2],
    /// Index of `BACKENDS`.
    pub backend: u32,
}
const _: () = assert!(size_of::<Member>() == 24 && align_of::<Member>() == 4);
