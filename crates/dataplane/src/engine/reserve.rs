//! Choosing an endpoint for a request, and a port for the leg to it.

use wire::{EndpointHealth, Reason};

use super::first::fits_segment;
use super::{Env, Scratch, affinity, pool, told};
use crate::initial;
use crate::lookup::{Balancing, client_hash, endpoint, flow_hash};
use crate::repeat::{Step, repeat};

/// How many endpoints are looked at before userspace gets the request.
const CHOICES: u32 = 16;
/// How many ports are tried.
const PORTS: u32 = 6;

/// An endpoint, and the leg to it that was reserved.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Chosen {
    pub(super) backend: u32,
    pub(super) serial: u32,
    pub(super) endpoint: u32,
    pub(super) generation: u32,
    /// Not 0 if the client keeps the endpoint: for how many seconds.
    pub(super) affinity_s: u32,
    /// Bytes that it is told first; 0: nothing.
    pub(super) told: u32,
    /// Not 0 if the leg was in the pool: it is connected.
    pub(super) is_pooled: u32,
    /// Zero.
    pub(super) pad: u32,
    /// Where the leg's numbers begin: see [`initial::offsets`].
    pub(super) offsets: u64,
}

/// What came of choosing and reserving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Reserved {
    Yes,
    NoRoute,
    NoEndpoint,
    NoWay,
    NoPort,
    TooLong,
}

impl Reserved {
    #[inline(always)]
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::NoRoute => Reason::HandRoute,
            Self::NoEndpoint => Reason::HandNoEndpoint,
            Self::NoWay => Reason::HandNoWay,
            Self::Yes | Self::NoPort => Reason::HandNoPort,
            Self::TooLong => Reason::HandTooLong,
        }
    }
}

/// Chooses an endpoint for `scratch.request` and reserves a port for the leg: `leg_key`, `leg` and `chosen` in the scratch. If it `joins`
/// the leg may be one of the pool.
#[inline(never)]
pub(super) fn reserve<E: Env>(
    env: &mut E,
    scratch: &mut Scratch,
    legs: u32,
    avoided: u32,
    joins: bool,
) -> Reserved {
    // Whoever takes back what was not reserved must not find another connection's leg here.
    scratch.leg_key.destination_port = [0, 0];
    let Some(record) = env.action(scratch.request.action) else { return Reserved::NoRoute };
    let Some(drawn) = affinity::draw(env, record, &scratch.client.source) else { return Reserved::NoRoute };
    let now = env.now();
    let Some(record) = env.backend(drawn.backend) else { return Reserved::NoEndpoint };
    affinity::begin(scratch, scratch.client.source, drawn, record);
    let told = told::length(record, scratch.image.is_v6 != 0);
    if told != 0 && !fits_segment(scratch, told) {
        return Reserved::TooLong;
    }
    scratch.chosen.told = told;
    if drawn.affinity_s != 0 {
        affinity::recall(env, scratch, now);
        let Chosen { endpoint, generation, .. } = scratch.chosen;
        if endpoint == avoided || !may_use(env, &scratch.settings, endpoint, generation, now) {
            scratch.chosen.endpoint = u32::MAX;
        }
    }
    repeat(CHOICES, &mut Choice { env, scratch, now, legs, avoided }, |round, choice| choice.look(round));
    if scratch.chosen.endpoint == u32::MAX {
        return Reserved::NoEndpoint;
    }
    let chosen = scratch.chosen;
    let Some(record) = Balancing::endpoint(env, chosen.endpoint) else { return Reserved::NoEndpoint };
    let Some(up) = env.way(record) else { return Reserved::NoWay };
    let Scratch { leg, leg_key, image, client, .. } = &mut *scratch;
    // Headers are rewritten in place: both sides have the same family.
    if is_mapped(&record.address) != (image.is_v6 == 0) {
        return Reserved::NoWay;
    }
    leg.opened = now;
    leg.client = *client;
    leg.reset_seq = 0;
    leg.up = up;
    leg_key.source = record.address;
    leg_key.destination = record.source;
    leg_key.source_port = record.port;
    leg_key.destination_port = [0, 0];
    // The record may have been given to another endpoint while it was copied.
    if Balancing::endpoint(env, chosen.endpoint).is_none_or(|r| r.generation != chosen.generation) {
        return Reserved::NoEndpoint;
    }
    // A leg that is told who its client is belongs to that client alone.
    let joins = joins && told == 0 && is_proven(env, chosen.endpoint, chosen.generation);
    if !(joins && pool::take(env, scratch, now)) {
        repeat(PORTS, &mut Choice { env, scratch, now, legs, avoided }, |_, choice| choice.take_port());
    }
    if scratch.leg_key.destination_port == [0, 0] {
        return Reserved::NoPort;
    }
    scratch.chosen.offsets = initial::offsets(&scratch.settings.cookie_key, &scratch.leg_key);
    if chosen.affinity_s != 0 {
        affinity::keep(env, scratch, chosen.endpoint, now);
    }
    Reserved::Yes
}

/// Whether an address is IPv4 (RFC 4291 section 2.5.5.2).
#[inline(always)]
const fn is_mapped(address: &[u8; 16]) -> bool {
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *address;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h]) == 0 && u32::from_be_bytes([i, j, k, l]) == 0xffff
}

/// A search for an endpoint, then for a port.
struct Choice<'c, E> {
    env: &'c mut E,
    scratch: &'c mut Scratch,
    now: u64,
    legs: u32,
    avoided: u32,
}

impl<E: Env> Choice<'_, E> {
    #[inline(always)]
    fn look(&mut self, round: u32) -> Step {
        // The endpoint that the client has.
        if round == 0 && self.scratch.chosen.endpoint != u32::MAX {
            return Step::Stop;
        }
        let hash = if self.scratch.chosen.affinity_s != 0 {
            client_hash(&self.scratch.client.source, self.scratch.cached_key.subject, round)
        } else {
            flow_hash(&self.scratch.client, self.legs.wrapping_add(round))
        };
        let Some(found) = endpoint(self.env, self.scratch.chosen.backend, hash) else { return Step::Next };
        if !may_use(self.env, &self.scratch.settings, found.endpoint, found.generation, self.now) {
            return Step::Next;
        }
        self.scratch.chosen.endpoint = found.endpoint;
        self.scratch.chosen.generation = found.generation;
        // An endpoint that was just left is kept only if there seems to be no other.
        if found.endpoint == self.avoided { Step::Next } else { Step::Stop }
    }

    #[inline(always)]
    fn take_port(&mut self) -> Step {
        let settings = &self.scratch.settings;
        let offset = (u64::from(self.env.random()) * u64::from(settings.port_count)) >> 32;
        let port = settings.port_first.wrapping_add(offset as u16);
        self.scratch.leg_key.destination_port = port.to_be_bytes();
        if self.env.insert_leg(&self.scratch.leg_key, &self.scratch.leg) {
            return Step::Stop;
        }
        self.scratch.leg_key.destination_port = [0, 0];
        Step::Next
    }
}

/// Calls `change` with what is known of an endpoint; what was known of another one in its place is forgotten.
#[inline(always)]
pub(super) fn with_health<E: Env, R>(
    env: &E,
    endpoint: u32,
    generation: u32,
    change: impl FnOnce(&mut EndpointHealth) -> R,
) -> Option<R> {
    // SAFETY: a live map value; its words are read and written one by one, and a lost race costs one try.
    let health = unsafe { &mut *env.health(endpoint)? };
    if health.generation != generation {
        health.failures = 0;
        health.flags = 0;
        health.ejected_until = 0;
        health.generation = generation;
    }
    Some(change(health))
}

/// Whether the endpoint's past allows a leg. One whose time out of use is over gets a single try until that succeeds.
#[inline(always)]
fn may_use<E: Env>(env: &E, settings: &wire::Settings, endpoint: u32, generation: u32, now: u64) -> bool {
    let answer = with_health(env, endpoint, generation, |health| {
        let lacks = health.flags & EndpointHealth::LACKS_OPTIONS != 0;
        let is_out = settings.eject_after != 0 && health.failures >= settings.eject_after;
        if !lacks && !is_out {
            return true;
        }
        if now < health.ejected_until {
            return false;
        }
        health.flags = 0;
        health.ejected_until = now + settings.eject_for;
        true
    });
    answer.unwrap_or(true)
}

/// Whether no leg to the endpoint has failed since one opened: a leg that waits proves nothing, and would not heal it.
#[inline(always)]
fn is_proven<E: Env>(env: &E, endpoint: u32, generation: u32) -> bool {
    with_health(env, endpoint, generation, |health| health.failures == 0).unwrap_or(true)
}

/// A leg to the endpoint that was another client's says nothing: until one opens, no other is taken up. That is no failure beside those
/// of legs that did not open: a client's own segment may be what was lost.
#[inline(always)]
pub(super) fn note_silence<E: Env>(env: &E, endpoint: u32, generation: u32) {
    with_health(env, endpoint, generation, |health| health.failures = health.failures.max(1));
}

/// A leg to the endpoint did not open.
#[inline(always)]
pub(super) fn note_failure<E: Env>(env: &E, scratch: &Scratch, endpoint: u32, generation: u32) {
    let until = env.now() + scratch.settings.eject_for;
    with_health(env, endpoint, generation, |health| {
        health.failures = health.failures.saturating_add(1);
        health.ejected_until = until;
    });
}
