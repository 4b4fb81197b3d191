//! From the path to the first candidate of a scope.

use wire::{PATH_MAX, Payload, RequestFacts, RouteRecord};

use super::words::{mask, word_at, word_of};
use super::{LookupScratch, Punt, Tables};
use crate::repeat::{Step, repeat};

/// The path begins behind the method and a space.
const START_MAX: u32 = 63;

struct Copying<'a> {
    payload: &'a Payload,
    scratch: &'a mut LookupScratch,
    start: u32,
    len: u32,
}

struct Comparing<'a> {
    wanted: &'a RouteRecord,
    scratch: &'a mut LookupScratch,
    differs: u64,
}

/// Writes the path and a slash behind it, as much of it as a key holds.
#[inline(always)]
pub(super) fn write_key(payload: &Payload, facts: &RequestFacts, scratch: &mut LookupScratch) {
    let len = u32::from(facts.path.len);
    let with_slash = if len > PATH_MAX as u32 { PATH_MAX as u32 + 1 } else { len + 1 };
    scratch.prefix.bits = 32 + 8 * with_slash;
    scratch.route.hash = facts.path_hash;
    scratch.route.len = len;
    let mut copying = Copying { payload, scratch, start: u32::from(facts.path.start) & START_MAX, len };
    repeat(with_slash.div_ceil(8), &mut copying, |round, copying| {
        let index = round & 31;
        if index >= 31 {
            return Step::Stop;
        }
        let left = copying.len.wrapping_sub(8 * index);
        let mut word = word_at(copying.payload, copying.start + 8 * index);
        if left < 8 {
            word = word & mask(left) | u64::from(b'/') << (8 * left);
        }
        let text = copying.scratch.prefix.path.as_mut_ptr().cast::<u64>();
        // SAFETY: the path has 31 words and is aligned to 8: it lies at offset 8 of a record that is.
        unsafe { *text.add(index as usize) = word.to_le() };
        Step::Next
    });
}

/// The first candidate for the path in `scratch.scope`; 0 if there is none, with `scratch.punt` set if that is unknown.
#[inline(always)]
pub(super) fn first<T: Tables>(tables: &T, scratch: &mut LookupScratch) -> u32 {
    scratch.route.scope = scratch.scope;
    scratch.prefix.scope = scratch.scope;
    let len = scratch.route.len;
    if len <= PATH_MAX as u32
        && let Some(route) = tables.route(&scratch.route)
    {
        if route.flags & RouteRecord::COLLIDES != 0 {
            scratch.punt = Punt::RouteOfUserspace as u32;
            return 0;
        }
        if equals(route, scratch) {
            return route.candidate;
        }
    }
    match tables.prefix(&scratch.prefix) {
        None => 0,
        Some(prefix) if prefix.scope != scratch.scope => {
            scratch.punt = Punt::Changed as u32;
            0
        }
        Some(prefix) if prefix.len <= len => prefix.candidate,
        Some(prefix) => prefix.short,
    }
}

/// Whether the record is of this path: its hash is the same.
#[inline(always)]
fn equals(wanted: &RouteRecord, scratch: &mut LookupScratch) -> bool {
    if wanted.scope != scratch.scope {
        return false;
    }
    let words = (scratch.route.len + 8) / 8;
    let mut comparing = Comparing { wanted, scratch, differs: 0 };
    repeat(words, &mut comparing, |round, comparing| {
        let index = (round & 31) as usize;
        if index >= 31 {
            return Step::Stop;
        }
        // SAFETY: both have 31 words and lie at offset 8 of records that are aligned to 8.
        comparing.differs |= unsafe {
            word_of(comparing.wanted.path.as_ptr(), index)
                ^ word_of(comparing.scratch.prefix.path.as_ptr(), index)
        };
        if comparing.differs == 0 { Step::Next } else { Step::Stop }
    });
    comparing.differs == 0
}
