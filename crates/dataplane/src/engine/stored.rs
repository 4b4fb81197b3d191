//! A request that is kept until the leg to its endpoint is open.

use wire::{PAYLOAD_MAX, StoredRequest};

use super::first::{Decoded, load};
use super::{Env, Scratch, emit, forwarded, told};
use crate::opaque::opaque;

/// Writes the forwarded headers, if `scratch.request` wants them; returns their length.
#[inline(never)]
pub(super) fn text(scratch: &mut Scratch) -> u32 {
    if scratch.request.inserts == 0 {
        return 0;
    }
    let Scratch { image, text, text_len, .. } = &mut *scratch;
    let len = forwarded::write(&image.tuple.source, image.is_v6 != 0, text, text_len);
    emit::end_with_zeros(&mut scratch.text, len);
    len
}

/// Copies the request's bytes again, for a repeated segment that was not decoded, and checks them.
#[inline(always)]
pub(super) fn load_again<E: Env>(env: &mut E, scratch: &mut Scratch) -> bool {
    let (len, is_large) = (scratch.image.payload_len, env.is_large());
    len < PAYLOAD_MAX as u32 && load(env, scratch, len, is_large) == Decoded::Routed
}

/// What is kept of a request, and where.
pub(super) struct Kept {
    pub(super) slot: u32,
    /// How many bytes of the segment are the request's.
    pub(super) len: u32,
    /// ISN of the leg's SYN.
    pub(super) isn: u32,
    pub(super) insert_at: Option<u32>,
    pub(super) text_len: u32,
    /// Bytes that the endpoint is told first.
    pub(super) told: u32,
    /// Where the request says `close`, which the endpoint is not told; 0: nowhere.
    pub(super) word_at: u32,
}

/// Stores the request at hand with its inserted text until the SYN-ACK comes. The payload is in the scratch.
#[inline(always)]
pub(super) fn keep_request<E: Env>(env: &mut E, scratch: &mut Scratch, kept: Kept) -> bool {
    let Some(stored) = env.slot(kept.slot) else { return false };
    // SAFETY: a live map value; only this CPU writes its own slots, readers check the owner.
    let stored: &mut StoredRequest = unsafe { &mut *stored };
    let (at, len) = (scratch.image.payload_at(), kept.len);
    if len >= PAYLOAD_MAX as u32 {
        return false;
    }
    if kept.word_at != 0 {
        blank(&mut scratch.payload.bytes, kept.word_at);
    }
    emit::end_with_zeros(&mut scratch.payload.bytes, len);
    let mut sum = env.sum(&scratch.payload.bytes, len);
    // Nobody's while it is written.
    stored.leg_isn = 0;
    stored.leg = scratch.leg_key;
    let told = kept.told & 63;
    if told != 0 {
        told::write(&scratch.image, &mut scratch.told);
        sum = sum.plus(env.sum(&scratch.told, told));
        put(stored, 0, &scratch.told);
    }
    let line_len = kept.insert_at.unwrap_or(0);
    let behind = told + line_len + kept.text_len;
    if kept.text_len != 0 {
        if line_len == 0 || line_len >= len || behind > 1023 {
            return false;
        }
        sum = sum.plus(emit::turned(env.sum(&scratch.text, kept.text_len), line_len));
        if !env.load_at::<{ wire::REQUEST_MAX }, 2048>(at, &mut stored.bytes, told, line_len) {
            return false;
        }
        put(stored, told + line_len, &scratch.text);
    }
    let is_loaded =
        env.load_at::<{ wire::REQUEST_MAX }, 2048>(at + line_len, &mut stored.bytes, behind, len - line_len);
    if kept.word_at != 0 {
        blank(&mut stored.bytes, told + kept.text_len + kept.word_at);
    }
    stored.len = told + len + kept.text_len;
    stored.sum = u32::from(sum.folded());
    stored.leg_isn = kept.isn;
    is_loaded
}

/// Writes spaces over `close`.
#[inline(always)]
fn blank<const N: usize>(bytes: &mut [u8; N], at: u32) {
    // Compared anew, in a form that the verifier believes.
    let at = opaque(u64::from(at)).min(N as u64 - 8) as usize;
    // SAFETY: five bytes from at most N - 8.
    unsafe { bytes.as_mut_ptr().add(at).cast::<[u8; 5]>().write(*b"     ") };
}

/// Copies text with all of its room, words of eight bytes: what is behind the text is overwritten next.
#[inline(always)]
fn put<const ROOM: usize>(stored: &mut StoredRequest, at: u32, text: &[u8; ROOM]) {
    const { assert!(ROOM.is_multiple_of(8) && ROOM <= super::TEXT_MAX) };
    let at = opaque(u64::from(at)) as usize & 1023;
    let mut i = 0;
    while i < ROOM {
        let mut word = [0; 8];
        let mut k = 0;
        while k < 8 {
            word[k] = text[i + k];
            k += 1;
        }
        // SAFETY: at most 1,023 + 128 bytes into 3,072.
        unsafe { stored.bytes.as_mut_ptr().add(at + i).cast::<[u8; 8]>().write(word) };
        i += 8;
    }
}
