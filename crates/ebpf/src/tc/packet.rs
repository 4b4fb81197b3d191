//! The packet: a socket buffer and the helpers on it.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_CSUM_LEVEL_QUERY, BPF_F_PSEUDO_HDR},
    helpers::generated::{
        bpf_csum_level, bpf_l4_csum_replace, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
};
use dataplane::{engine::Packet, sum::Sum};

use super::Tc;
use crate::{
    bytes::{length, offset, sum},
    world::World,
};

impl Packet for World<Tc<'_>> {
    #[inline(always)]
    fn load<const N: usize>(&mut self, at: u32, into: &mut [u8; N], len: u32) -> bool {
        let Some(len) = length(len, N) else { return false };
        // SAFETY: `len` bytes fit into the array.
        unsafe { bpf_skb_load_bytes(self.0.ctx.as_ptr(), at, into.as_mut_ptr().cast(), len) == 0 }
    }

    #[inline(always)]
    fn load_at<const N: usize, const ROOM: usize>(
        &mut self,
        at: u32,
        into: &mut [u8; N],
        to: u32,
        len: u32,
    ) -> bool {
        const { assert!(ROOM <= N) };
        let (Some(to), Some(len)) = (offset(to, N - ROOM), length(len, ROOM)) else { return false };
        // SAFETY: `to` leaves ROOM bytes in the array, and `len` is no more.
        unsafe { bpf_skb_load_bytes(self.0.ctx.as_ptr(), at, into.as_mut_ptr().add(to).cast(), len) == 0 }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: u32, from: &[u8; N], len: u32) -> bool {
        let Some(len) = length(len, N) else { return false };
        // SAFETY: `len` bytes are in the array.
        unsafe { bpf_skb_store_bytes(self.0.skb(), at, from.as_ptr().cast(), len, 0) == 0 }
    }

    #[inline(always)]
    fn store_from<const N: usize, const ROOM: usize>(
        &mut self,
        at: u32,
        from: &[u8; N],
        skip: u32,
        len: u32,
    ) -> bool {
        const { assert!(ROOM <= N) };
        let (Some(skip), Some(len)) = (offset(skip, N - ROOM), length(len, ROOM)) else { return false };
        // SAFETY: as in `load_at`.
        unsafe { bpf_skb_store_bytes(self.0.skb(), at, from.as_ptr().add(skip).cast(), len, 0) == 0 }
    }

    #[inline(always)]
    fn resize(&mut self, len: u32) -> bool {
        // SAFETY: a plain helper; nothing points into the packet.
        self.0.ctx.len() == len || unsafe { bpf_skb_change_tail(self.0.skb(), len, 0) == 0 }
    }

    #[inline(always)]
    fn correct(&mut self, at: u32, pseudo: Sum, rest: Sum) -> bool {
        // SAFETY: plain helpers. Without a size the difference itself is what is given; the helper knows whether the
        // checksum is left to the device.
        unsafe {
            bpf_l4_csum_replace(self.0.skb(), at, 0, u64::from(rest.folded()), 0) == 0
                && bpf_l4_csum_replace(
                    self.0.skb(),
                    at,
                    0,
                    u64::from(pseudo.folded()),
                    u64::from(BPF_F_PSEUDO_HDR),
                ) == 0
        }
    }

    #[inline(always)]
    fn is_tagged(&self) -> bool {
        // SAFETY: a field of the context. The kernel moves the outer tag there before the hook.
        unsafe { (*self.0.skb()).vlan_present != 0 }
    }

    #[inline(always)]
    fn is_large(&self) -> bool {
        // SAFETY: a field of the context.
        unsafe { (*self.0.skb()).gso_size != 0 }
    }

    #[inline(always)]
    fn is_verified(&self) -> bool {
        // SAFETY: a plain helper. It refuses unless the packet says CHECKSUM_UNNECESSARY, as one says that GRO has looked at.
        self.is_large() || unsafe { bpf_csum_level(self.0.skb(), u64::from(BPF_CSUM_LEVEL_QUERY)) >= 0 }
    }

    #[inline(always)]
    fn sum<const N: usize>(&self, bytes: &[u8; N], len: u32) -> Sum {
        sum(bytes, len)
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        // SAFETY: a field of the context.
        unsafe { (*self.0.skb()).ifindex }
    }
}
