//! The packet: a socket buffer and the helpers on it.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_CSUM_LEVEL_QUERY, BPF_F_PSEUDO_HDR},
    helpers::generated::{
        bpf_csum_diff, bpf_csum_level, bpf_l4_csum_replace, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_store_bytes,
    },
};
use dataplane::{engine::Packet, opaque::opaque, sum::Sum};

use super::Tc;

impl Packet for Tc<'_> {
    #[inline(always)]
    fn load<const N: usize>(&mut self, at: u32, into: &mut [u8; N], len: u32) -> bool {
        let Some(len) = length(len, N) else { return false };
        // SAFETY: `len` bytes fit into the array.
        unsafe { bpf_skb_load_bytes(self.ctx.as_ptr(), at, into.as_mut_ptr().cast(), len) == 0 }
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
        unsafe { bpf_skb_load_bytes(self.ctx.as_ptr(), at, into.as_mut_ptr().add(to).cast(), len) == 0 }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: u32, from: &[u8; N], len: u32) -> bool {
        let Some(len) = length(len, N) else { return false };
        // SAFETY: `len` bytes are in the array.
        unsafe { bpf_skb_store_bytes(self.skb(), at, from.as_ptr().cast(), len, 0) == 0 }
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
        unsafe { bpf_skb_store_bytes(self.skb(), at, from.as_ptr().add(skip).cast(), len, 0) == 0 }
    }

    #[inline(always)]
    fn resize(&mut self, len: u32) -> bool {
        // SAFETY: a plain helper; nothing points into the packet.
        self.ctx.len() == len || unsafe { bpf_skb_change_tail(self.skb(), len, 0) == 0 }
    }

    #[inline(always)]
    fn correct(&mut self, at: u32, pseudo: Sum, rest: Sum) -> bool {
        // SAFETY: plain helpers. Without a size the difference itself is what is given; the helper knows whether the
        // checksum is left to the device.
        unsafe {
            bpf_l4_csum_replace(self.skb(), at, 0, u64::from(rest.folded()), 0) == 0
                && bpf_l4_csum_replace(
                    self.skb(),
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
        unsafe { (*self.skb()).vlan_present != 0 }
    }

    #[inline(always)]
    fn is_large(&self) -> bool {
        // SAFETY: a field of the context.
        unsafe { (*self.skb()).gso_size != 0 }
    }

    #[inline(always)]
    fn is_verified(&self) -> bool {
        // SAFETY: a plain helper. It refuses unless the packet says CHECKSUM_UNNECESSARY, as one says that GRO has looked at.
        self.is_large() || unsafe { bpf_csum_level(self.skb(), u64::from(BPF_CSUM_LEVEL_QUERY)) >= 0 }
    }

    #[inline(always)]
    fn sum<const N: usize>(&self, bytes: &[u8; N], len: u32) -> Sum {
        // Kernels before 6.13 take 512 bytes at a time.
        const PIECE: u32 = 512;
        let len = (len + 3) & !3;
        let mut sum = 0u32;
        let mut at = 0;
        while at < N as u32 && at < wire::PAYLOAD_MAX as u32 {
            let room = (N as u32 - at).min(PIECE);
            if let Some(piece) = length(len.saturating_sub(at).min(room), room as usize) {
                // SAFETY: `piece` bytes behind `at` are in the array; the helper only reads.
                sum = unsafe {
                    let from = bytes.as_ptr().add(at as usize).cast_mut().cast();
                    bpf_csum_diff(core::ptr::null_mut(), 0, from, piece, sum) as u32
                };
            }
            at += PIECE;
        }
        Sum(u64::from(sum))
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        // SAFETY: a field of the context.
        unsafe { (*self.skb()).ifindex }
    }
}

/// A length from 1 to `most`, in a form that the verifier believes.
#[inline(always)]
fn length(len: u32, most: usize) -> Option<u32> {
    let less = opaque(u64::from(len).wrapping_sub(1));
    if less >= most as u64 {
        return None;
    }
    Some(less as u32 + 1)
}

/// An offset up to `most`, in a form that the verifier believes.
#[inline(always)]
fn offset(at: u32, most: usize) -> Option<usize> {
    let at = opaque(u64::from(at));
    if at > most as u64 {
        return None;
    }
    Some(at as usize)
}
