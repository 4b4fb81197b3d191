//! Writing packets: headers from a plan, payload kept, cut, grown, or put in.
//!
//! Checksums are corrected by differences, never computed anew: a packet whose checksum is left to the device stays one, and
//! a wrong checksum stays wrong.

use wire::{PAYLOAD_MAX, PAYLOAD_ROOM, Reason, StoredRequest, TcpFlags, TcpOptions};

use super::{Env, Scratch, TEXT_MAX, Verdict, drop};
use crate::flow::Plan;
use crate::image::Image;
use crate::opaque::opaque;
use crate::payload::word::front;
use crate::sum::Sum;

const TTL: u8 = 64;

/// Bytes of the longest header that [`handshake`] writes.
pub(super) const HANDSHAKE_MAX: u32 = 40;

/// The same of [`bare`].
pub(super) const BARE_MAX: u32 = 32;

/// The segment at hand, translated as the plan says; `text` goes in where the plan has an insertion.
#[inline(never)]
pub(super) fn forward<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let (image, plan) = (&mut scratch.image, &scratch.plan);
    let before = Sums::of(image);
    if !lower_ttl(image) {
        return drop(env, Reason::DropMangle);
    }
    let is_whole = plan.keep == image.payload_len && plan.insert_len == 0;
    let payload_len = plan.keep + plan.insert_len;
    translate(image, plan);
    set_addresses(image, plan, image.tcp_len + payload_len);
    let mut rest = image.header_sum().less(before.header);
    if !is_whole {
        let Some(difference) = change_payload(env, scratch, before) else {
            return drop(env, Reason::DropMangle);
        };
        rest = rest.plus(difference);
    }
    if scratch.plan.patch_len != 0 {
        let Some(difference) = patch(env, scratch) else { return drop(env, Reason::DropMangle) };
        rest = rest.plus(difference);
    }
    finish(env, scratch, before, rest, payload_len)
}

/// Writes a part of `close` and the spaces behind it over the payload; returns by how much its sum grew. What was damaged there stays
/// what its checksum does not fit.
#[inline(always)]
fn patch<E: Env>(env: &mut E, scratch: &Scratch) -> Option<Sum> {
    const WORD: u64 = u64::from_le_bytes(*b"close   ");
    const SPACES: u64 = u64::from_le_bytes([b' '; 8]);
    let (image, plan) = (&scratch.image, &scratch.plan);
    let is_behind = plan.insert_len != 0 && plan.patch_at >= plan.insert_at;
    let at = plan.patch_at + if is_behind { plan.insert_len } else { 0 };
    let len = opaque(u64::from(plan.patch_len)).min(PATCH as u64) as u32;
    let mut bytes = [0u8; PATCH];
    if !env.load(image.payload_at() + at, &mut bytes, len) {
        return None;
    }
    let old = bytes;
    let first = if plan.patch_from < 5 { cut(WORD, plan.patch_from) } else { SPACES };
    let words = [first & front(len), SPACES & if len > 8 { front(len - 8) } else { 0 }];
    let mut sum = Sum::default();
    let mut i = 0;
    while i < 2 {
        let new = words[i].to_le_bytes();
        let mut k = 0;
        while k < 8 {
            bytes[8 * i + k] = new[k];
            k += 1;
        }
        let k = 8 * i;
        sum = sum.word([new[0], new[1], new[2], new[3]]).word([new[4], new[5], new[6], new[7]]);
        sum = sum.less_word([old[k], old[k + 1], old[k + 2], old[k + 3]]);
        sum = sum.less_word([old[k + 4], old[k + 5], old[k + 6], old[k + 7]]);
        i += 1;
    }
    if !env.store(image.payload_at() + at, &bytes, len) {
        return None;
    }
    Some(turned(sum, at))
}

/// Room for `close` and the spaces behind it, in whole words.
const PATCH: usize = 16;

/// `word` without its first bytes, of which there are fewer than eight, and with spaces at its end.
#[inline(always)]
const fn cut(word: u64, bytes: u32) -> u64 {
    let shift = 8 * (bytes & 7);
    if shift == 0 { word } else { word >> shift | u64::from_le_bytes([b' '; 8]) << (64 - shift) }
}

/// Cuts and inserts; returns by how much the sum of the payload grew.
#[inline(always)]
fn change_payload<E: Env>(env: &mut E, scratch: &mut Scratch, before: Sums) -> Option<Sum> {
    let (image, plan) = (&scratch.image, &scratch.plan);
    let (at, keep, insert_len) = (image.payload_at(), plan.keep, plan.insert_len);
    let insert_at = plan.insert_at;
    let payload_len = image.payload_len;
    let bytes = &mut scratch.payload.bytes;
    let mut difference = Sum::default();
    if keep > 0 && (keep < payload_len || insert_len > 0) {
        if keep >= PAYLOAD_MAX as u32 || !env.load_at::<PAYLOAD_ROOM, PAYLOAD_MAX>(at, bytes, 0, keep) {
            return None;
        }
        end_with_zeros(bytes, keep);
    }
    if keep < payload_len {
        // What the field says that the segment sums to, less its header, is the payload's sum, right or wrong.
        let whole = Sum::default().half(before.checksum_inverted()).less(before.pseudo).less(before.header);
        if !is_intact(env, scratch, before, whole) {
            return None;
        }
        difference = env.sum(&scratch.payload.bytes, keep).less(whole);
    }
    if !env.resize(at + keep + insert_len) {
        return None;
    }
    if insert_len > 0 {
        let text = env.sum(&scratch.text, insert_len);
        difference = difference.plus(turned(text, insert_at));
        let tail = keep.checked_sub(insert_at)?;
        let stored = env.store(at + insert_at, &scratch.text, insert_len)
            && (tail == 0
                || env.store_from::<PAYLOAD_ROOM, 2048>(
                    at + insert_at + insert_len,
                    &scratch.payload.bytes,
                    insert_at,
                    tail,
                ));
        if !stored {
            return None;
        }
    }
    Some(difference)
}

/// Whether the payload is what its checksum says: what is cut out of a damaged segment would look sound. What was joined from
/// several segments was verified before it was joined; what is left to the device never left this machine.
#[inline(always)]
fn is_intact<E: Env>(env: &mut E, scratch: &mut Scratch, before: Sums, whole: Sum) -> bool {
    let (at, len) = (scratch.image.payload_at(), scratch.image.payload_len);
    if env.is_verified() || u16::from_ne_bytes(before.checksum) == before.pseudo.folded() {
        return true;
    }
    let bytes = &mut scratch.payload.bytes;
    if !env.load_at::<PAYLOAD_ROOM, PAYLOAD_MAX>(at, bytes, 0, len) {
        return false;
    }
    end_with_zeros(bytes, len);
    let is_intact = env.sum(bytes, len).less(whole).folded();
    // Both forms of zero (RFC 1071 section 2).
    let is_intact = is_intact == 0xffff || is_intact == 0;
    end_with_zeros(bytes, scratch.plan.keep);
    is_intact
}

/// A SYN or SYN-ACK in the place of the packet at hand: numbers from the plan, options as offered.
#[inline(never)]
pub(super) fn handshake<E: Env>(
    env: &mut E,
    scratch: &mut Scratch,
    offered: TcpOptions,
    reason: Reason,
) -> Verdict {
    let (image, plan) = (&mut scratch.image, &scratch.plan);
    let before = Sums::of(image);
    let with_timestamps = offered.timestamps();
    image.tcp_len = if with_timestamps { 40 } else { 32 };
    base_header(image, plan);
    image.set_word(20, 0x0204_0000 | u32::from(offered.mss));
    let scale = match offered.window_scale {
        TcpOptions::NO_SCALE => 0x0101_0101,
        shift => 0x0103_0300 | u32::from(shift),
    };
    if with_timestamps {
        image.set_word(24, if offered.sack() { 0x0402_080a } else { 0x0101_080a });
        image.set_word(28, plan.tsval);
        image.set_word(32, plan.tsecr);
        image.set_word(36, scale);
    } else {
        image.set_word(24, if offered.sack() { 0x0101_0402 } else { 0x0101_0101 });
        image.set_word(28, scale);
    }
    let verdict = replace(env, scratch, before, Sum::default(), 0);
    if verdict != Verdict::DROP {
        env.count(reason);
    }
    verdict
}

/// A segment without data in the place of the packet at hand: an acknowledgement, a FIN, a RST.
#[inline(never)]
pub(super) fn bare<E: Env>(
    env: &mut E,
    scratch: &mut Scratch,
    with_timestamps: bool,
    reason: Reason,
) -> Verdict {
    let before = header(scratch, with_timestamps);
    let verdict = replace(env, scratch, before, Sum::default(), 0);
    if verdict != Verdict::DROP {
        env.count(reason);
    }
    verdict
}

/// The same with a stored request as its data.
#[inline(never)]
pub(super) fn request<E: Env>(
    env: &mut E,
    scratch: &mut Scratch,
    with_timestamps: bool,
    stored: &StoredRequest,
    len: u32,
) -> Verdict {
    let sum = Sum(u64::from(stored.sum));
    let before = header(scratch, with_timestamps);
    let at = scratch.image.payload_at();
    // Grown before it is filled; the header follows in `replace`, which finds the length right.
    if !env.resize(at + len) || !env.store_from::<{ wire::REQUEST_MAX }, 2048>(at, &stored.bytes, 0, len) {
        return drop(env, Reason::DropMangle);
    }
    replace(env, scratch, before, sum, len)
}

#[inline(always)]
fn header(scratch: &mut Scratch, with_timestamps: bool) -> Sums {
    let (image, plan) = (&mut scratch.image, &scratch.plan);
    let before = Sums::of(image);
    image.tcp_len = if with_timestamps { 32 } else { 20 };
    base_header(image, plan);
    if with_timestamps {
        image.set_word(20, 0x0101_080a);
        image.set_word(24, plan.tsval);
        image.set_word(28, plan.tsecr);
    }
    before
}

/// Sums of a packet before it was changed.
#[derive(Clone, Copy)]
struct Sums {
    pseudo: Sum,
    header: Sum,
    checksum: [u8; 2],
}

impl Sums {
    #[inline(always)]
    fn of(image: &Image) -> Self {
        Self {
            pseudo: image.pseudo_sum(image.tcp_len + image.payload_len),
            header: image.header_sum(),
            checksum: image.checksum(),
        }
    }

    /// Pseudo-header, header and payload sum to this, if the checksum is a whole one.
    #[inline(always)]
    const fn checksum_inverted(&self) -> [u8; 2] {
        [!self.checksum[0], !self.checksum[1]]
    }
}

/// Puts a header that was written anew in the place of the old one, and `len` bytes of payload that sum to `payload`.
#[inline(always)]
fn replace<E: Env>(env: &mut E, scratch: &mut Scratch, before: Sums, payload: Sum, len: u32) -> Verdict {
    let (image, plan) = (&mut scratch.image, &scratch.plan);
    // Before the IP header's checksum is made.
    if image.is_v6 != 0 {
        image.ip[7] = TTL;
    } else {
        image.ip[8] = TTL;
    }
    set_addresses(image, plan, image.tcp_len + len);
    // All that was behind the pseudo-header goes, whatever it was.
    let old = Sum::default().half(before.checksum_inverted()).less(before.pseudo);
    let rest = image.header_sum().plus(payload).less(old);
    if len == 0 && !env.resize(image.payload_at()) {
        return drop(env, Reason::DropMangle);
    }
    finish(env, scratch, before, rest, len)
}

/// Stores the headers and corrects the checksum.
#[inline(always)]
fn finish<E: Env>(env: &mut E, scratch: &mut Scratch, before: Sums, rest: Sum, payload_len: u32) -> Verdict {
    let (image, plan) = (&mut scratch.image, &scratch.plan);
    let pseudo = image.pseudo_sum(image.tcp_len + payload_len).less(before.pseudo);
    let (to, from) = (plan.hop.destination, plan.hop.source);
    image.link =
        [to[0], to[1], to[2], to[3], to[4], to[5], from[0], from[1], from[2], from[3], from[4], from[5]];
    let ip_len = if image.is_v6 != 0 { 40 } else { 20 };
    let is_stored = env.store(0, &image.link, 12)
        && env.store(image.ip_at, &image.ip, ip_len)
        && env.store(image.tcp_at, &image.tcp, image.tcp_len)
        && env.correct(image.tcp_at + 16, pseudo, rest);
    if !is_stored {
        return drop(env, Reason::DropMangle);
    }
    Verdict::send(plan.hop.device, to != [0; 6])
}

/// Rewrites numbers in place, options where they stand.
#[inline(always)]
fn translate(image: &mut Image, plan: &Plan) {
    image.set_word(4, plan.seq);
    image.set_word(8, plan.ack);
    image.tcp[13] = plan.flags as u8;
    image.set_half(14, plan.window as u16);
    if image.timestamps_at != 0 {
        image.set_word(image.timestamps_at, plan.tsval);
        image.set_word(image.timestamps_at + 4, plan.tsecr);
    }
    if image.sack_at != 0 {
        translate_sack(image, plan);
    }
}

/// At most four blocks (RFC 2018 section 3), of two edges each.
#[inline(always)]
fn translate_sack(image: &mut Image, plan: &Plan) {
    if plan.drops_sack != 0 {
        // Kind and length, then the edges: all padding.
        image.set_half(image.sack_at - 2, 0x0101);
    }
    let mut edge = 0;
    while edge < 8 {
        if edge < image.sack_edges {
            let at = image.sack_at + 4 * edge;
            let edge = image.word(at);
            // The endpoint knows nothing of our FIN.
            let is_behind = plan.has_fin != 0 && edge == plan.behind_fin;
            let moved = edge.wrapping_sub(u32::from(is_behind)).wrapping_add(plan.sack_add);
            image.set_word(at, if plan.drops_sack != 0 { 0x0101_0101 } else { moved });
        }
        edge += 1;
    }
}

/// A TCP header without options.
#[inline(always)]
fn base_header(image: &mut Image, plan: &Plan) {
    image.set_word(4, plan.seq);
    image.set_word(8, if plan.flags & u32::from(TcpFlags::ACK) != 0 { plan.ack } else { 0 });
    image.tcp[12] = (image.tcp_len << 2) as u8;
    image.tcp[13] = plan.flags as u8;
    image.set_half(14, plan.window as u16);
    image.set_half(18, 0);
}

/// Addresses, ports, and the length of what follows the IP header.
#[inline(always)]
fn set_addresses(image: &mut Image, plan: &Plan, tcp_bytes: u32) {
    let tuple = &plan.tuple;
    image.tcp[0] = tuple.source_port[0];
    image.tcp[1] = tuple.source_port[1];
    image.tcp[2] = tuple.destination_port[0];
    image.tcp[3] = tuple.destination_port[1];
    if image.is_v6 != 0 {
        let length = (tcp_bytes as u16).to_be_bytes();
        image.ip[4] = length[0];
        image.ip[5] = length[1];
        let mut i = 0;
        while i < 16 {
            image.ip[8 + i] = tuple.source[i];
            image.ip[24 + i] = tuple.destination[i];
            i += 1;
        }
        return;
    }
    let length = ((tcp_bytes + 20) as u16).to_be_bytes();
    image.ip[2] = length[0];
    image.ip[3] = length[1];
    let mut i = 0;
    while i < 4 {
        image.ip[12 + i] = tuple.source[12 + i];
        image.ip[16 + i] = tuple.destination[12 + i];
        i += 1;
    }
    image.ip[10] = 0;
    image.ip[11] = 0;
    let ip = &image.ip;
    let mut sum = Sum::default();
    let mut at = 0;
    while at < 20 {
        sum = sum.word([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
        at += 4;
    }
    let checksum = sum.checksum();
    image.ip[10] = checksum[0];
    image.ip[11] = checksum[1];
}

/// A packet that goes round in circles must end.
#[inline(always)]
fn lower_ttl(image: &mut Image) -> bool {
    let ttl = if image.is_v6 != 0 { &mut image.ip[7] } else { &mut image.ip[8] };
    *ttl = ttl.wrapping_sub(1);
    *ttl != 0 && *ttl != 255
}

/// The sum of bytes that start at an odd place has its halves exchanged (RFC 1071 section 2 (B)).
#[inline(always)]
pub(super) const fn turned(sum: Sum, at: u32) -> Sum {
    if at & 1 == 0 { sum } else { Sum(sum.folded().swap_bytes() as u64) }
}

/// Puts zeros behind the first `len` bytes, up to a whole word.
#[inline(always)]
pub(super) fn end_with_zeros<const N: usize>(bytes: &mut [u8; N], len: u32) {
    // Compared anew, in a form that the verifier believes.
    let at = opaque(u64::from(len)).min(N as u64 - 8) as usize;
    // SAFETY: eight bytes from at most N - 8.
    unsafe { bytes.as_mut_ptr().add(at).cast::<[u8; 8]>().write([0; 8]) };
}

const _: () = assert!(TEXT_MAX.is_multiple_of(8));
