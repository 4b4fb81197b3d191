//! The tables that requests are routed by.

use aya_ebpf::btf_maps::lpm_trie::Key;
use dataplane::{
    lookup::{Balancing, Tables},
    request::Names,
};
use wire::{
    BackendRecord, Candidate, EndpointRecord, HEADER_NAME_MAX, HeaderConditions, HostKey, HostRecord,
    MaglevTable, Member, PrefixKey, PrefixRecord, RouteAction, RouteKey, RouteRecord,
};

use super::World;
use crate::maps::{
    BACKEND_MEMBERS, BACKENDS, CANDIDATES, COPIES, ENDPOINTS, HEADER_CONDITIONS, HEADER_NAMES, HOSTS,
    MAGLEV_TABLES, PREFIX_ROUTES, ROUTE_ACTIONS, ROUTES,
};

/// A trie's key with its length in front, as the kernel wants it.
#[inline(always)]
const fn trie_key<K, const N: usize>(key: &K) -> &Key<[u8; N]> {
    const { assert!(size_of::<K>() == N + 4) };
    // SAFETY: `Key` is packed: the length in bits, then the bytes.
    unsafe { &*(&raw const *key).cast() }
}

impl<H> Tables for World<H> {
    #[inline(always)]
    fn host<'t>(&'t self, key: &HostKey) -> Option<&'t HostRecord> {
        HOSTS.get(trie_key(key))
    }

    #[inline(always)]
    fn route<'t>(&'t self, key: &RouteKey) -> Option<&'t RouteRecord> {
        // SAFETY: the reader checks that the record is still its key's.
        unsafe { ROUTES.get(key) }
    }

    #[inline(always)]
    fn prefix<'t>(&'t self, key: &PrefixKey) -> Option<&'t PrefixRecord> {
        PREFIX_ROUTES.get(trie_key(key))
    }

    #[inline(always)]
    fn candidate(&self, index: u32) -> Option<&Candidate> {
        CANDIDATES.get(index)
    }

    #[inline(always)]
    fn conditions(&self, index: u32) -> Option<&HeaderConditions> {
        HEADER_CONDITIONS.get(index)
    }
}

impl<H> Balancing for World<H> {
    #[inline(always)]
    fn action(&self, index: u32) -> Option<&RouteAction> {
        ROUTE_ACTIONS.get(index)
    }

    #[inline(always)]
    fn copied_below(&self, action: u32) -> Option<u32> {
        COPIES.get(action).copied()
    }

    #[inline(always)]
    fn backend(&self, index: u32) -> Option<&BackendRecord> {
        BACKENDS.get(index)
    }

    #[inline(always)]
    fn table(&self, index: u32) -> Option<&MaglevTable> {
        MAGLEV_TABLES.get(index)
    }

    #[inline(always)]
    fn endpoint(&self, index: u32) -> Option<&EndpointRecord> {
        ENDPOINTS.get(index)
    }

    #[inline(always)]
    fn member(&self, key: &Member) -> Option<u32> {
        // SAFETY: four bytes, copied at once.
        unsafe { BACKEND_MEMBERS.get(key) }.copied()
    }
}

impl<H> Names for World<H> {
    #[inline(always)]
    fn number(&self, name: &[u8; HEADER_NAME_MAX]) -> Option<u8> {
        // SAFETY: four bytes, copied at once.
        unsafe { HEADER_NAMES.get(name) }.map(|number| *number as u8)
    }
}
