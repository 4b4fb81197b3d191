//! Requests of which a share is copied: both tiers go by the lot of a request.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries of `LOTS`: connections that went to userspace and whose first request it has not read yet.
pub const LOTS_MAX: usize = 16_384;

/// Value of map `LOTS` (key: the [`crate::Tuple`] from client to VIP): the lot of the request with which a connection went to
/// userspace. It is drawn once, by who sees the request first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Lot {
    /// 32 random bits. With an entry of `COPIES` above it the request is copied.
    pub lot: u32,
    /// When it was noted, seconds since boot: another connection may have had the tuple.
    pub noted_s: u32,
}
const _: () = assert!(size_of::<Lot>() == 8 && align_of::<Lot>() == 4);
