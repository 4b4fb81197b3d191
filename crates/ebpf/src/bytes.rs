//! Lengths, offsets and sums in the form that the verifier believes.

use aya_ebpf::helpers::generated::bpf_csum_diff;
use dataplane::{opaque::opaque, sum::Sum};

/// A length from 1 to `most`, in a form that the verifier believes.
#[inline(always)]
pub fn length(len: u32, most: usize) -> Option<u32> {
    let less = opaque(u64::from(len).wrapping_sub(1));
    if less >= most as u64 {
        return None;
    }
    Some(less as u32 + 1)
}

/// An offset up to `most`, in a form that the verifier believes.
#[inline(always)]
pub fn offset(at: u32, most: usize) -> Option<usize> {
    let at = opaque(u64::from(at));
    if at > most as u64 {
        return None;
    }
    Some(at as usize)
}

/// The sum of the first `len` bytes; up to three bytes behind them are zero.
#[inline(always)]
pub fn sum<const N: usize>(bytes: &[u8; N], len: u32) -> Sum {
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
