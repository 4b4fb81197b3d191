//! The packet: a frame and the helpers on it.

use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use dataplane::{engine::Packet, sum::Sum};

use super::Xdp;
use crate::{
    bytes::{length, offset, sum},
    world::World,
};

impl Xdp<'_> {
    /// Makes the frame longer, or with less than 0 shorter.
    #[inline(always)]
    fn grow(&self, by: i32) -> bool {
        // SAFETY: a plain helper; nothing points into the frame.
        unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, by) == 0 }
    }
}

impl Packet for World<Xdp<'_>> {
    #[inline(always)]
    fn load<const N: usize>(&mut self, at: u32, into: &mut [u8; N], len: u32) -> bool {
        let Some(len) = length(len, N) else { return false };
        // SAFETY: `len` bytes fit into the array.
        unsafe { bpf_xdp_load_bytes(self.0.ctx.ctx, at, into.as_mut_ptr().cast(), len) == 0 }
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
        unsafe { bpf_xdp_load_bytes(self.0.ctx.ctx, at, into.as_mut_ptr().add(to).cast(), len) == 0 }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: u32, from: &[u8; N], len: u32) -> bool {
        let Some(len) = length(len, N) else { return false };
        // SAFETY: `len` bytes are in the array, which the helper only reads.
        unsafe { bpf_xdp_store_bytes(self.0.ctx.ctx, at, from.as_ptr().cast_mut().cast(), len) == 0 }
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
        // SAFETY: as in `load_at`; the helper only reads.
        unsafe {
            let from = from.as_ptr().add(skip).cast_mut().cast();
            bpf_xdp_store_bytes(self.0.ctx.ctx, at, from, len) == 0
        }
    }

    #[inline(always)]
    fn resize(&mut self, len: u32) -> bool {
        // SAFETY: a plain helper.
        let now = unsafe { bpf_xdp_get_buff_len(self.0.ctx.ctx) } as u32;
        now == len || self.0.grow(len.wrapping_sub(now).cast_signed())
    }

    /// As the kernel does it for TC: the checksum is a whole one.
    #[inline(always)]
    fn correct(&mut self, at: u32, pseudo: Sum, rest: Sum) -> bool {
        let mut field = [0; 2];
        if !self.load(at, &mut field, 2) {
            return false;
        }
        field = rest.corrected(field);
        field = pseudo.corrected(field);
        self.store(at, &field, 2)
    }

    #[inline(always)]
    fn is_tagged(&self) -> bool {
        // A tag in the frame is seen where its IP header is not.
        false
    }

    #[inline(always)]
    fn is_large(&self) -> bool {
        false
    }

    #[inline(always)]
    fn is_verified(&self) -> bool {
        // The device may have looked; here nobody says so.
        false
    }

    #[inline(always)]
    fn has_room(&mut self, more: u32) -> bool {
        // No helper tells how much there is.
        let more = more.cast_signed();
        more == 0 || (self.0.grow(more) && self.0.grow(more.wrapping_neg()))
    }

    #[inline(always)]
    fn sum<const N: usize>(&self, bytes: &[u8; N], len: u32) -> Sum {
        sum(bytes, len)
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        self.0.ctx.ingress_ifindex() as u32
    }
}
