//! Legs without a client.

use wire::{Leg, PooledLeg, Tuple};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    LEGS, Maps, POOLED_LEGS,
    raw::{BPF_F_LOCK, BPF_NOEXIST},
};
use crate::MapError;

/// How long no program is at a leg, in nanoseconds.
const MOVING: u64 = 60_000_000_000;

/// Whether the leg came before `before`. `u64::MAX`: all of them, whoever is at them.
fn is_old(leg: &PooledLeg, before: u64) -> bool {
    let is_settled = leg.state == PooledLeg::IDLE || before == u64::MAX;
    leg.since < if is_settled { before } else { before.saturating_sub(MOVING) }
}

impl Maps {
    /// Takes out the legs that wait since before `before` (nanoseconds, the programs' clock). Programs leave such legs alone, and one that
    /// is on its way to or from a client is theirs for a minute more.
    pub(crate) fn take_waiting_legs(&self, before: u64) -> Result<Vec<(Tuple, PooledLeg)>, MapError> {
        let (pooled, legs) = (self.raw(POOLED_LEGS)?, self.raw(LEGS)?);
        pooled.check::<Tuple, PooledLeg>()?;
        let mut old = Vec::new();
        pooled.each(BPF_F_LOCK, |key, value| {
            if let (Ok(key), Ok(leg)) = (Tuple::read_from_bytes(key), PooledLeg::read_from_bytes(value))
                && is_old(&leg, before)
            {
                old.push(key);
            }
        })?;
        let mut taken = Vec::with_capacity(old.len());
        for key in old {
            let Some(leg) = pooled.take::<Tuple, PooledLeg>(&key, BPF_F_LOCK)? else { continue };
            if !is_old(&leg, before) {
                // The endpoint ended it, and another leg with the same ports waits by now.
                pooled.put(key.as_bytes(), leg.as_bytes(), BPF_NOEXIST)?;
                continue;
            }
            // One that was opened since is another's, on the same ports.
            let is_its = legs.get::<Tuple, Leg>(&key, 0)?.is_none_or(|entry| entry.opened <= leg.since);
            if is_its {
                legs.remove(key.as_bytes())?;
                taken.push((key, leg));
            }
        }
        Ok(taken)
    }

    /// How many legs wait.
    pub(super) fn waiting_legs(&self) -> Result<u64, MapError> {
        let mut count = 0;
        self.raw(POOLED_LEGS)?.each(0, |_, _| count += 1)?;
        Ok(count)
    }

    /// Whether a leg waits.
    pub(super) fn is_waiting(&self, key: &Tuple) -> Result<bool, MapError> {
        Ok(self.raw(POOLED_LEGS)?.get::<Tuple, PooledLeg>(key, BPF_F_LOCK)?.is_some())
    }
}
