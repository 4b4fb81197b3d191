//! Legs without a client (`docs/adr/0038`).
//!
//! A leg's record in `POOLED_LEGS` is there before its client has lost it, and goes after the next client has it: so whoever finds a
//! segment of the leg, and no connection that has it, finds the record. Whose the leg is, is decided under the locks of the two records
//! alone; what is in `POOLS` are hints.

use wire::{
    Flow, Leg, POOL_PLACES, POOLS_MAX, Pool, PooledLeg, PooledPort, Reason, TcpFlags, TcpOptions, Tuple,
};

use super::{Env, Part, Scratch, Verdict, drop, emit};
use crate::flow::{After, PooledStep, after_leg, give as give_leg, is_exact, is_free, on_pooled};
use crate::repeat::{Step, repeat};

/// Words of a record.
pub(super) const WORDS: usize = size_of::<PooledLeg>() / 8;

/// Pools in which the legs of one kind may be.
const PROBES: u32 = 4;

/// So far another CPU's clock may be ahead, in milliseconds, and more.
const AHEAD_MS: u32 = 60_000;

/// How many legs are looked at for one request: hints may be wrong.
const LOOKS: u32 = 6;

/// Takes the leg of a connection whose client has sent `scratch.image`, an end or the next request, if that leg may be another
/// client's. What becomes of the connection, which ends with it, or has no leg any more.
#[inline(never)]
pub(super) fn give<E: Env>(env: &E, scratch: &mut Scratch, flow: *mut Flow) -> After {
    if scratch.settings.pool_idle == 0 || scratch.image.has(TcpFlags::SYN) {
        return After::Kept;
    }
    let now = env.now();
    let Scratch { image, old_key, old_leg, given, plan, settings, .. } = scratch;
    let given = as_leg(given);
    let may_go = env.locked(flow, |flow| {
        let may_go = is_exact(flow, image);
        *old_key = flow.leg;
        given.endpoint = flow.endpoint;
        given.endpoint_generation = flow.endpoint_generation;
        given.announced = flow.client_options;
        may_go
    });
    given.key = *old_key;
    given.since = now;
    given.state = PooledLeg::MOVING;
    // Another CPU has a copy of the segment, or there is no room.
    if !may_go || !env.insert_pooled(old_key, given) {
        return After::Kept;
    }
    let place = PooledPort { port: old_key.destination_port, pad: [0; 2], since: milliseconds(now) };
    let has_place = put(env, given, place, settings.pool_idle, settings.pool_legs);
    if !has_place {
        env.count(Reason::PoolFull);
    }
    let after = env.locked(flow, |flow| {
        if !has_place || flow.leg != *old_key || !is_exact(flow, image) {
            return After::Kept;
        }
        give_leg(flow, image, now, given);
        after_leg(flow, image, plan)
    });
    if after != After::Kept
        && let Some(leg) = env.pooled(old_key)
    {
        let is_settled = env.locked_pooled(leg, |leg| leg.key == *old_key && settle(leg, given));
        if is_settled {
            env.count(Reason::LegPooled);
            return after;
        }
        *old_leg = left(given, now);
        env.change_leg(old_key, old_leg);
    }
    env.remove_pooled(old_key);
    after
}

/// The leg is to be had, if its endpoint has said nothing meanwhile.
#[inline(always)]
fn settle(leg: &mut PooledLeg, given: &PooledLeg) -> bool {
    if leg.state != PooledLeg::MOVING {
        return false;
    }
    leg.endpoint = given.endpoint;
    leg.endpoint_generation = given.endpoint_generation;
    leg.announced = given.announced;
    leg.since = given.since;
    copy(given, leg);
    leg.state = PooledLeg::IDLE;
    true
}

/// A search for a leg.
struct Search<'s, E> {
    env: &'s mut E,
    scratch: &'s mut Scratch,
    now: u64,
}

/// Takes a leg to the endpoint that was chosen, for a client that announced what `scratch.image.options` says: it is the client's of
/// `scratch.leg` then, `leg_key` is its key, and `taken` its record, which stays in the map until [`taken`] or [`abandon`].
#[inline(never)]
pub(super) fn take<E: Env>(env: &mut E, scratch: &mut Scratch, now: u64) -> bool {
    if scratch.settings.pool_idle == 0 {
        return false;
    }
    repeat(LOOKS, &mut Search { env, scratch, now }, |_, search| search.look());
    scratch.chosen.is_pooled != 0
}

impl<E: Env> Search<'_, E> {
    #[inline(always)]
    fn look(&mut self) -> Step {
        let now = self.now;
        let Scratch { chosen, leg_key, leg, taken, image, settings, .. } = &mut *self.scratch;
        let (endpoint, generation, options) = (chosen.endpoint, chosen.generation, image.options);
        let Some(port) = newest(self.env, (endpoint, generation, options), settings.pool_idle, now) else {
            return Step::Stop;
        };
        leg_key.destination_port = port;
        let taken = as_leg(taken);
        // Whoever opened it since has found the ports free: what waits there is nobody's.
        // SAFETY: a live map value; torn, a leg is lost, or one that is not there is not missed.
        let opened = self.env.leg(leg_key).map_or(u64::MAX, |leg| unsafe { (*leg).opened });
        let is_had = self.env.pooled(leg_key).is_some_and(|record| {
            self.env.locked_pooled(record, |record| {
                let is_free = record.key == *leg_key
                    && opened <= record.since
                    && is_free(record, endpoint, generation, options, now, settings.pool_idle);
                if is_free {
                    record.state = PooledLeg::MOVING;
                    copy(record, taken);
                }
                is_free
            })
        });
        if is_had {
            leg.up = taken.up;
            leg.reset_seq = 0;
            if self.env.change_leg(leg_key, leg) {
                chosen.is_pooled = 1;
                return Step::Stop;
            }
            // Nobody would hear the endpoint.
            self.env.remove_pooled(leg_key);
        }
        leg_key.destination_port = [0, 0];
        Step::Next
    }
}

/// What a connection goes on with.
#[inline(always)]
fn copy(leg: &PooledLeg, into: &mut PooledLeg) {
    into.options = leg.options;
    into.up = leg.up;
    into.send_next = leg.send_next;
    into.receive_next = leg.receive_next;
    into.tsval = leg.tsval;
    into.peer_tsval = leg.peer_tsval;
}

/// The leg that was taken has its connection. Whether that may use it: the endpoint has said nothing meanwhile.
#[inline(always)]
pub(super) fn taken<E: Env>(env: &E, scratch: &Scratch) -> bool {
    let key = &scratch.leg_key;
    let Some(leg) = env.pooled(key) else { return false };
    let is_sound = env.locked_pooled(leg, |leg| {
        // The place may be another's by now.
        let is_sound = leg.key == *key && leg.state == PooledLeg::MOVING;
        if is_sound {
            leg.state = PooledLeg::GONE;
        }
        is_sound
    });
    if is_sound {
        env.remove_pooled(key);
    }
    is_sound
}

/// Gives back what was reserved for a connection that does not come to be: the port; or the leg, to be reset.
#[inline(always)]
pub(super) fn abandon<E: Env>(env: &E, scratch: &mut Scratch) {
    let Scratch { chosen, leg, leg_key, taken, .. } = scratch;
    if chosen.is_pooled == 0 {
        return env.remove_leg(leg_key);
    }
    *leg = left(as_leg(taken), env.now());
    env.change_leg(leg_key, leg);
    env.remove_pooled(leg_key);
}

/// The entry of a leg that nobody has, to be reset.
#[inline(always)]
fn left(leg: &PooledLeg, now: u64) -> Leg {
    Leg { opened: now, client: Tuple::default(), reset_seq: leg.send_next, up: leg.up }
}

/// A segment of an endpoint on a leg that waits.
#[inline(always)]
pub(super) fn segment<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(leg) = env.pooled(&scratch.image.tuple) else { return drop(env, Reason::DropRace) };
    if scratch.image.read_options().is_err() {
        return drop(env, Reason::DropOptions);
    }
    let device = env.device();
    let Scratch { image, plan, .. } = &mut *scratch;
    let (step, is_expected) = env.locked_pooled(leg, |leg| {
        let is_expected = leg.state != PooledLeg::IDLE || leg.up.device == device;
        (if is_expected { on_pooled(leg, image, plan) } else { PooledStep::Useless }, is_expected)
    });
    if !is_expected {
        return drop(env, Reason::DropDevice);
    }
    match step {
        PooledStep::Busy => drop(env, Reason::DropRace),
        PooledStep::Taken if super::endpoint::is_taken(env, scratch) => env.go_on(Part::Endpoint, scratch),
        PooledStep::Taken => drop(env, Reason::DropRace),
        PooledStep::Useless => drop(env, Reason::DropUseless),
        PooledStep::Answer => {
            let with_timestamps = scratch.image.timestamps_at != 0 && scratch.plan.options.timestamps();
            emit::bare(env, scratch, with_timestamps, Reason::Probe)
        }
        PooledStep::Ends => {
            env.remove_leg(&scratch.image.tuple);
            env.remove_pooled(&scratch.image.tuple);
            super::endpoint::reset(env, scratch, Reason::PoolEnded)
        }
        PooledStep::EndsSilently => {
            env.remove_leg(&scratch.image.tuple);
            env.remove_pooled(&scratch.image.tuple);
            drop(env, Reason::PoolEnded)
        }
    }
}

/// Notes where a leg is, if its pool has room for it.
#[inline(always)]
fn put<E: Env>(env: &E, leg: &PooledLeg, place: PooledPort, idle: u64, legs: u32) -> bool {
    let kind = (leg.endpoint, leg.endpoint_generation, leg.announced);
    let first = index(kind);
    let legs = legs.min(POOL_PLACES as u32);
    let mut probe = 0;
    // The pool that they have, else one that nobody has.
    while probe < 2 * PROBES {
        let takes_over = probe >= PROBES;
        let Some(pool) = env.pool(first ^ (probe & (PROBES - 1))) else { return false };
        let outcome = env.locked_pool(pool, |pool| {
            let is_empty = is_stale(pool, place.since, idle);
            if takes_over && is_empty {
                pool.endpoint = kind.0;
                pool.endpoint_generation = kind.1;
                pool.announced = kind.2;
                pool.head = pool.tail;
            } else if !is_of(pool, kind) {
                return Outcome::Another;
            }
            if is_old(pool.places[pool.head as usize & (POOL_PLACES - 1)], place.since, idle)
                && pool.head != pool.tail
            {
                pool.head = pool.head.wrapping_add(1);
            }
            if pool.tail.wrapping_sub(pool.head) >= legs {
                return Outcome::Full;
            }
            pool.places[pool.tail as usize & (POOL_PLACES - 1)] = place;
            pool.tail = pool.tail.wrapping_add(1);
            Outcome::Put
        });
        match outcome {
            Outcome::Put => return true,
            Outcome::Full => return false,
            Outcome::Another => probe += 1,
        }
    }
    false
}

/// What came of an attempt to note a leg in a pool.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Outcome {
    Put,
    Full,
    /// It is of another kind.
    Another,
}

/// The port of the newest leg of that kind, which is not to be had a second time.
#[inline(always)]
fn newest<E: Env>(env: &E, kind: (u32, u32, TcpOptions), idle: u64, now: u64) -> Option<[u8; 2]> {
    let (first, now) = (index(kind), milliseconds(now));
    let mut probe = 0;
    while probe < PROBES {
        let pool = env.pool(first ^ probe)?;
        let port = env.locked_pool(pool, |pool| {
            if !is_of(pool, kind) || pool.head == pool.tail {
                return [0, 0];
            }
            if is_stale(pool, now, idle) {
                pool.head = pool.tail;
                return [0, 0];
            }
            pool.tail = pool.tail.wrapping_sub(1);
            pool.places[pool.tail as usize & (POOL_PLACES - 1)].port
        });
        if port != [0, 0] {
            return Some(port);
        }
        probe += 1;
    }
    None
}

#[inline(always)]
fn is_of(pool: &Pool, kind: (u32, u32, TcpOptions)) -> bool {
    pool.endpoint == kind.0 && pool.endpoint_generation == kind.1 && pool.announced == kind.2
}

/// Whether no leg of the pool is to be had: even the newest is too old.
#[inline(always)]
fn is_stale(pool: &Pool, now: u32, idle: u64) -> bool {
    let newest = pool.places[pool.tail.wrapping_sub(1) as usize & (POOL_PLACES - 1)];
    pool.head == pool.tail || is_old(newest, now, idle)
}

#[inline(always)]
fn is_old(place: PooledPort, now: u32, idle: u64) -> bool {
    // What seems to come later still has waited for most of the 49 days that are counted.
    let age = now.wrapping_sub(place.since);
    age <= u32::MAX - AHEAD_MS && u64::from(age) * 1_000_000 >= idle
}

/// Where the pool of a kind is, or near it.
#[inline(always)]
const fn index((endpoint, generation, options): (u32, u32, TcpOptions)) -> u32 {
    let kind = (options.mss as u32) << 16 | (options.window_scale as u32) << 8 | options.flags as u32;
    let mixed = endpoint.wrapping_mul(0x9e37_79b1)
        ^ generation.wrapping_mul(0x85eb_ca6b)
        ^ kind.wrapping_mul(0xc2b2_ae35);
    (mixed ^ mixed >> 15) & (POOLS_MAX as u32 - 1)
}
const _: () =
    assert!(POOLS_MAX.is_power_of_two() && POOL_PLACES.is_power_of_two() && PROBES.is_power_of_two());

#[inline(always)]
const fn milliseconds(now: u64) -> u32 {
    (now / 1_000_000) as u32
}

/// A record in the scratch. Bytes there, for the kernel allows its lock only inside `POOLED_LEGS`.
#[inline(always)]
pub(super) const fn as_leg(words: &mut [u64; WORDS]) -> &mut PooledLeg {
    // SAFETY: size and alignment are those of a PooledLeg, for which any bits will do.
    unsafe { &mut *words.as_mut_ptr().cast::<PooledLeg>() }
}
