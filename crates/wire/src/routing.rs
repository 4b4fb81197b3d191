//! Tables that turn a request into a route: hosts, exact paths, prefixes, candidates, conditions on headers.
//!
//! A *scope* is what the routes of one host of one listener compile to. What a scope holds never changes while a host
//! points at it: a change is a new scope, and the host's record is exchanged as the last step.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::CAPTURES_MAX;

/// The longest host that a kernel tier looks up, in bytes; one more byte ends an exact name.
pub const HOST_MAX: usize = 63;
/// Scopes that one request may go through.
pub const SCOPES_MAX: usize = 8;
/// The longest path that is looked up as a whole, in bytes, and the longest prefix with the slash that ends it.
pub const PATH_MAX: usize = 247;
/// Header conditions of one candidate.
pub const CONDITIONS_MAX: usize = 4;
/// The longest value of a header condition, in bytes.
pub const HEADER_VALUE_MAX: usize = 48;
/// Entries of `HOSTS`.
pub const HOSTS_MAX: usize = 32_768;
/// Entries of `ROUTES`.
pub const ROUTES_MAX: usize = 32_768;
/// Entries of `PREFIX_ROUTES`.
pub const PREFIX_ROUTES_MAX: usize = 32_768;
/// Entries of `CANDIDATES`.
pub const CANDIDATES_MAX: usize = 65_536;
/// Entries of `HEADER_CONDITIONS`.
pub const HEADER_CONDITIONS_MAX: usize = 4096;

/// Key of map `HOSTS`, a trie over the bytes of host names from the last to the first.
///
/// `www.a.com` is `moc.a.www` and a zero byte, which a longer name does not have in that place; `*.a.com` is `moc.a.`;
/// any host is the socket alone. So the longest match is the most specific one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HostKey {
    /// Bits that count behind this field: 32 and 8 for each byte of the text.
    pub bits: u32,
    /// [`crate::Vip::socket`].
    pub socket: u32,
    /// Lower case, backwards, zero padded.
    pub text: [u8; HOST_MAX + 1],
    /// Zero. A trie puts the value right behind the key, and the value is read in words of eight.
    pub pad: u32,
}
const _: () = assert!(size_of::<HostKey>() == 76 && size_of::<HostKey>() % 8 == 4);

/// Value of map `HOSTS`: the scopes to try, in order; the first with a match decides.
///
/// Socket and text are repeated so that a reader sees when the entry was given to another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct HostRecord {
    /// As in the key.
    pub socket: u32,
    /// Bytes of the text.
    pub len: u32,
    /// As in the key.
    pub text: [u8; HOST_MAX + 1],
    /// For hosts with one label in front of the text. 0 ends the list: no route takes the request.
    /// [`HostRecord::TIER3`]: userspace decides.
    pub one: [u32; SCOPES_MAX],
    /// For all others.
    pub more: [u32; SCOPES_MAX],
}
const _: () = assert!(size_of::<HostRecord>() == 136 && align_of::<HostRecord>() == 8);

impl HostRecord {
    /// In the place of a scope: only userspace can decide from here on.
    pub const TIER3: u32 = u32::MAX;
}

/// Key of map `ROUTES`: exact paths by hash.
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
pub struct RouteKey {
    /// [`fnv1a`] of the path.
    pub hash: u64,
    /// The scope.
    pub scope: u32,
    /// Length of the path in bytes.
    pub len: u32,
}
const _: () = assert!(size_of::<RouteKey>() == 16 && align_of::<RouteKey>() == 8);

/// Value of map `ROUTES`. The bytes decide, not the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct RouteRecord {
    /// First candidate: an index of `CANDIDATES`.
    pub candidate: u32,
    /// The scope it belongs to.
    pub scope: u32,
    /// The path and a slash, zero padded. [`RouteRecord::COLLIDES`] is not compared.
    pub path: [u8; PATH_MAX + 1],
    /// Flags: [`RouteRecord::COLLIDES`].
    pub flags: u32,
    /// Zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<RouteRecord>() == 264 && align_of::<RouteRecord>() == 8);

impl RouteRecord {
    /// Several paths of the scope share length and hash: userspace decides.
    pub const COLLIDES: u32 = 1;
}

/// Key of map `PREFIX_ROUTES`, a trie.
///
/// A request looks its path up with a slash behind it. So `/api` by element is `/api/` here and is found for `/api` and
/// `/api/v1`, not for `/apix`; a prefix by bytes stands as it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct PrefixKey {
    /// Bits that count behind this field: 32 and 8 for each byte of the path.
    pub bits: u32,
    /// The scope.
    pub scope: u32,
    /// Zero padded.
    pub path: [u8; PATH_MAX + 1],
}
const _: () = assert!(size_of::<PrefixKey>() == 256 && align_of::<PrefixKey>() == 8);

/// Value of map `PREFIX_ROUTES`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PrefixRecord {
    /// The scope it belongs to.
    pub scope: u32,
    /// Bytes of the prefix, slash included.
    pub len: u32,
    /// First candidate for paths of at least `len` bytes.
    pub candidate: u32,
    /// First candidate for the path that lacks the last slash: without those that want these bytes themselves.
    pub short: u32,
}
const _: () = assert!(size_of::<PrefixRecord>() == 16 && align_of::<PrefixRecord>() == 4);

/// Entry of array `CANDIDATES`: a match of a route whose path fits. The first whose conditions hold decides.
///
/// The last candidate of a path leads on to those of the longest prefix below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Candidate {
    /// The scope it belongs to; 0: not in use.
    pub scope: u32,
    /// The next one to consider; 0: none.
    pub next: u32,
    /// Index of `ROUTE_ACTIONS`.
    pub action: u32,
    /// Index of `HEADER_CONDITIONS`; 0: none.
    pub conditions: u32,
    /// Bit n: the [`crate::Method`] of this number fits.
    pub methods: u32,
    /// Flags: [`Candidate::TIER3`].
    pub flags: u32,
}
const _: () = assert!(size_of::<Candidate>() == 24 && align_of::<Candidate>() == 4);

impl Candidate {
    /// Userspace decides: it has more conditions, or does what the kernel cannot.
    pub const TIER3: u32 = 1;
    /// All methods.
    pub const ANY_METHOD: u32 = 0x7f;
}

/// Entry of array `HEADER_CONDITIONS`: all must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct HeaderConditions {
    /// The scope it belongs to.
    pub scope: u32,
    /// How many of `all` are in use.
    pub used: u32,
    /// The conditions.
    pub all: [HeaderCondition; CONDITIONS_MAX],
}
const _: () = assert!(size_of::<HeaderConditions>() == 8 + 56 * CONDITIONS_MAX);

/// A header equals a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct HeaderCondition {
    /// Number of the field name, from `HEADER_NAMES`.
    pub number: u32,
    /// Length of the value in bytes.
    pub len: u32,
    /// The value, zero padded.
    pub value: [u8; HEADER_VALUE_MAX],
}
const _: () = assert!(size_of::<HeaderCondition>() == 56 && CAPTURES_MAX == 16);

impl Default for HeaderCondition {
    fn default() -> Self {
        Self { number: 0, len: 0, value: [0; HEADER_VALUE_MAX] }
    }
}

/// FNV-1a over 64 bits.
///
/// Source: Fowler, Noll, Vo, draft-eastlake-fnv-17.
#[must_use]
pub const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = FNV_OFFSET;
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        hash = (hash ^ *first as u64).wrapping_mul(FNV_PRIME);
        rest = tail;
    }
    hash
}

/// What [`fnv1a`] starts with.
pub const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// What [`fnv1a`] multiplies by.
pub const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_gives_the_published_values() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
