//! Clients that keep their endpoint, whichever connection a request comes by.
//!
//! The first choice is a hash of client and backend, so that both tiers and all machines make the same one without asking
//! each other. `FLOW_CACHE` keeps the client there when the backend's endpoints change, if it comes back in time.

use wire::{BackendRecord, CachedClient, CachedEndpoint, EndpointRecord, Member, RouteAction};

use super::reserve::Chosen;
use super::{Env, Scratch};
use crate::lookup::{Balancing, Drawn, choose, client_draw};

/// Draws a backend: the client's own on a route that keeps clients, any otherwise.
#[inline(always)]
pub(super) fn draw<E: Env>(env: &E, action: &RouteAction, client: &[u8; 16]) -> Option<Drawn> {
    let keeps = action.flags & RouteAction::AFFINITY != 0;
    choose(action, if keeps { client_draw(action, client) } else { env.random() })
}

/// Whether clients of the route keep their endpoint, at least those of its first backend.
#[inline(always)]
pub(super) fn is_kept<E: Env>(env: &E, action: u32) -> bool {
    env.action(action).is_some_and(|action| action.backends[0].affinity_s != 0)
}

/// Begins the choice of an endpoint of the backend that was drawn.
#[inline(always)]
pub(super) fn begin(scratch: &mut Scratch, client: [u8; 16], drawn: Drawn, record: &BackendRecord) {
    scratch.cached_key = CachedClient { client, subject: record.subject };
    scratch.chosen = Chosen {
        backend: drawn.backend,
        serial: record.serial,
        endpoint: u32::MAX,
        generation: 0,
        affinity_s: drawn.affinity_s,
        told: 0,
        is_pooled: 0,
        pad: 0,
        offsets: 0,
    };
}

/// Chooses the endpoint that the client has of the backend, if it came back in time and the backend still has it.
#[inline(never)]
pub(super) fn recall<E: Env>(env: &E, scratch: &mut Scratch, now: u64) {
    let Some(found) = env.cached(&scratch.cached_key) else { return };
    // SAFETY: a live map value; volatile, for it may be replaced at any time. What is torn is no member.
    scratch.cached = unsafe { found.read_volatile() };
    // Another CPU may be in the next second already.
    if seconds(now).saturating_sub(scratch.cached.used_s) > scratch.chosen.affinity_s {
        return;
    }
    let CachedEndpoint { address, port, .. } = scratch.cached;
    scratch.member = Member { address, port, pad: [0; 2], backend: scratch.chosen.backend };
    let Some(endpoint) = env.member(&scratch.member) else { return };
    let Some(record) = Balancing::endpoint(env, endpoint) else { return };
    let serves = EndpointRecord::USABLE | EndpointRecord::DRAINING;
    if record.flags & serves == EndpointRecord::USABLE {
        scratch.chosen.generation = record.generation;
        scratch.chosen.endpoint = endpoint;
    }
}

/// Whether a leg to `endpoint` is the client's: it has this one, or none that it could have. Begins the choice as [`begin`].
#[inline(always)]
pub(super) fn has<E: Env>(env: &E, scratch: &mut Scratch, drawn: Drawn, endpoint: u32, now: u64) -> bool {
    let Some(record) = env.backend(drawn.backend) else { return false };
    begin(scratch, scratch.image.tuple.source, drawn, record);
    recall(env, scratch, now);
    let fits = match scratch.chosen.endpoint {
        u32::MAX => is_member(env, scratch, endpoint),
        kept => kept == endpoint,
    };
    if fits {
        keep(env, scratch, endpoint, now);
    }
    fits
}

#[inline(always)]
fn is_member<E: Env>(env: &E, scratch: &mut Scratch, endpoint: u32) -> bool {
    let Some(record) = Balancing::endpoint(env, endpoint) else { return false };
    let (address, port) = (record.address, record.port);
    scratch.member = Member { address, port, pad: [0; 2], backend: scratch.chosen.backend };
    env.member(&scratch.member) == Some(endpoint)
}

/// Notes that the client uses this endpoint now: a write a second at most.
#[inline(never)]
pub(super) fn keep<E: Env>(env: &E, scratch: &mut Scratch, endpoint: u32, now: u64) {
    let Some(record) = Balancing::endpoint(env, endpoint) else { return };
    let used_s = seconds(now);
    if let Some(found) = env.cached(&scratch.cached_key) {
        // SAFETY: as in `recall`.
        scratch.cached = unsafe { found.read_volatile() };
        if scratch.cached.address == record.address && scratch.cached.port == record.port {
            if scratch.cached.used_s != used_s {
                // SAFETY: a live map value; one word of it.
                unsafe { (&raw mut (*found).used_s).write_volatile(used_s) };
            }
            return;
        }
    }
    scratch.cached = CachedEndpoint { address: record.address, port: record.port, pad: [0; 2], used_s };
    env.cache(&scratch.cached_key, &scratch.cached);
}

/// Seconds since boot.
#[inline(always)]
const fn seconds(now: u64) -> u32 {
    (now / 1_000_000_000) as u32
}
