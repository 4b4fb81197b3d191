//! The ways that the segments of a connection take, as far as the tables know of them.

use wire::Flow;

use super::{Env, Scratch};
use crate::flow::state;
use crate::lookup::Balancing;

/// Whether a segment came in by a device that segments of its leg come by: that of the SYN-ACK, or that of the endpoint's route.
/// Anybody on another network could send one with the endpoint's address (RFC 3704 section 2.2).
#[inline(always)]
pub(super) fn is_expected<E: Env>(env: &E, flow: *mut Flow) -> bool {
    let device = env.device();
    // SAFETY: a live map value; words, each read at once. Torn ones, of a leg that just ended, fit no segment under the lock.
    let (up, endpoint, generation, state) = unsafe {
        (
            (&raw const (*flow).up.device).read_volatile(),
            (&raw const (*flow).endpoint).read_volatile(),
            (&raw const (*flow).endpoint_generation).read_volatile(),
            (&raw const (*flow).state).read_volatile(),
        )
    };
    if device == up || state != state::SPLICED {
        return true;
    }
    Balancing::endpoint(env, endpoint)
        .is_some_and(|record| record.generation == generation && record.device == device)
}

/// Where the plan leaves the way to the endpoint to the host: by the device that the endpoint's route leaves by now.
#[inline(always)]
pub(super) fn find_device<E: Env>(env: &E, scratch: &mut Scratch, flow: *mut Flow) {
    let (endpoint, generation) = env.locked(flow, |flow| (flow.endpoint, flow.endpoint_generation));
    let Some(record) = Balancing::endpoint(env, endpoint) else { return };
    if record.generation == generation && record.device != 0 {
        scratch.plan.hop.device = record.device;
    }
}
