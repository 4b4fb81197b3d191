//! Routes of which a share of the requests is copied to other backends. Copies are userspace's: so are those requests, and no others.
//!
//! The lot of a request decides. It is drawn from its place in the connection, so that a repetition has the same, and goes to userspace
//! with the request, whatever that goes there for: who is copied must not depend on who decides it.

use wire::{Lot, RouteAction, Tuple};

use super::{Env, Scratch};
use crate::lookup::Balancing;
use crate::siphash::SipHash;

/// What is hashed with the place, where the cookie has its epoch and initial numbers have their own word: those are never this.
const LOT: u64 = (u32::MAX as u64 - 1) << 32;

/// Draws the lot of the request at hand, if its route copies a share of them; whether it is among these.
#[inline(never)]
pub(super) fn draw<E: Env>(env: &E, scratch: &mut Scratch, action: u32) -> bool {
    let copies = Balancing::action(env, action).is_some_and(|record| record.flags & RouteAction::COPIED != 0);
    if !copies {
        return false;
    }
    let image = &scratch.image;
    let lot = lot(&scratch.settings.cookie_key, &image.tuple, image.seq);
    scratch.lot = Lot { lot, noted_s: (env.now() / 1_000_000_000) as u32 };
    scratch.has_lot = 1;
    env.copied_below(action).is_some_and(|below| lot < below)
}

/// Leaves the request's lot to userspace, if one was drawn.
#[inline(always)]
pub(super) fn note<E: Env>(env: &E, scratch: &Scratch) {
    if scratch.has_lot != 0 {
        env.note_lot(&scratch.image.tuple, &scratch.lot);
    }
}

/// 32 bits that nobody outside foresees, the same for every copy of the segment.
#[inline(always)]
fn lot(key: &[u64; 2], tuple: &Tuple, seq: u32) -> u32 {
    let mut state = SipHash::new(key);
    state.tuple(tuple);
    state.word(LOT | seq as u64);
    (state.finish() >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_are_spread_over_requests_and_stay_with_them() {
        let key = [1, 2];
        let mut quarters = [0; 4];
        for port in 0..64u8 {
            let tuple = Tuple {
                source: [7; 16],
                destination: [9; 16],
                source_port: [90, port],
                destination_port: [0, 80],
            };
            for seq in (0..64u32).map(|n| n * 120 + 77) {
                let drawn = lot(&key, &tuple, seq);
                assert_eq!(drawn, lot(&key, &tuple, seq));
                assert_ne!(drawn, lot(&[1, 3], &tuple, seq), "the key is in it");
                quarters[(drawn >> 30) as usize] += 1;
            }
        }
        // 4,096 of them: 1,024 each, give or take four deviations.
        assert!(quarters.into_iter().all(|count: u32| count.abs_diff(1024) < 4 * 28), "{quarters:?}");
    }
}
