use wire::{PAYLOAD_MAX, Payload, PayloadSpan, RequestFacts};

use super::{PATH_MAX, Undecidable};
use crate::payload::word::{TOPS, before, byte, equal, first, front, word};
use crate::repeat::{Step, repeat};

struct Target<'p> {
    payload: &'p Payload,
    /// FNV-1a of the path so far.
    hash: u64,
    /// Not zero: something stood there that is not ours to judge.
    odd: u64,
    /// A mark in the first byte: the byte before was a slash.
    slash: u64,
    start: u32,
    end: u32,
    /// Where the path ends.
    path_end: u32,
}

/// Reads the origin-form target from `start` to `end`; there is no control byte in it, and a space at `end`.
///
/// Refused are paths that someone might take for another: with `%`, `//`, `/.`. (A function of its own for the
/// sake of the stack.)
#[inline(never)]
pub(super) fn target(
    payload: &Payload,
    start: u32,
    end: u32,
    facts: &mut RequestFacts,
) -> Result<(), Undecidable> {
    if byte(payload, start) != b'/' {
        return Err(Undecidable::Path);
    }
    let mut target = Target { payload, hash: FNV_OFFSET, odd: 0, slash: 0, start, end, path_end: end };
    // Most targets are short: a word without the loop's cost.
    if target_word(0, &mut target) == Step::Next {
        repeat(PAYLOAD_MAX as u32 / 8, &mut target, |round, target| target_word(round + 1, target));
    }
    let path_len = target.path_end - start;
    if target.odd != 0 || path_len > PATH_MAX {
        return Err(Undecidable::Path);
    }
    facts.path_hash = target.hash;
    #[expect(clippy::cast_possible_truncation, reason = "offsets in a payload")]
    {
        facts.path = PayloadSpan { start: start as u16, len: path_len as u16 };
    }
    Ok(())
}

/// Takes in eight bytes.
#[inline(always)]
fn target_word(index: u32, target: &mut Target<'_>) -> Step {
    let at = target.start + index * 8;
    let text = word(target.payload, at);
    let mine = front(target.end - at);
    target.odd |= (equal(text, b' ') | equal(text, b'#') | (text & TOPS)) & mine;
    if target.path_end == target.end {
        let query = equal(text, b'?') & mine;
        let path = mine & before(query);
        path_word(target, text & path, path);
        if query != 0 {
            target.path_end = at + first(query);
        }
    }
    if at + 8 < target.end { Step::Next } else { Step::Stop }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Takes the bytes of the path that `mine` covers, zeros behind them.
///
/// Source: Fowler, Noll, Vo, "The FNV Non-Cryptographic Hash Algorithm", draft-eastlake-fnv, FNV-1a over 64 bits.
#[inline(always)]
fn path_word(target: &mut Target<'_>, text: u64, mine: u64) {
    let slash = equal(text, b'/');
    let behind_slash = (slash << 8) | target.slash;
    target.odd |= equal(text, b'%') | (behind_slash & (slash | equal(text, b'.')));
    target.slash = slash >> 56;
    let mut hash = target.hash;
    let mut place = 0;
    while place < 64 {
        if (mine >> place) & 1 == 0 {
            break;
        }
        hash = (hash ^ ((text >> place) & 0xff)).wrapping_mul(FNV_PRIME);
        place += 8;
    }
    target.hash = hash;
}
