//! What an endpoint is told first on its leg: who the client is, before the request that opens the leg.
//!
//! Those bytes are the leg's first ones and nobody's in the client's space: `Flow::seq_add` holds their length. They go with the
//! request, and with each repetition of it, until the endpoint has acknowledged them.

use wire::{Flow, TcpFlags};

use super::Plan;
use crate::image::Image;

/// The most bytes that an endpoint is told.
pub const TOLD_MAX: u32 = 52;

/// Whether the endpoint may still wait for them.
#[inline(always)]
#[must_use]
pub const fn is_due(flow: &Flow) -> bool {
    flow.told != 0 && flow.told & Flow::TOLD_HEARD == 0
}

/// Notes the endpoint's acknowledgement.
#[inline(always)]
pub(super) fn note(flow: &mut Flow, ack: u32) {
    if is_due(flow) && ack.wrapping_sub(flow.leg_isn).wrapping_sub(1) >= flow.told {
        flow.told |= Flow::TOLD_HEARD;
    }
}

/// How many bytes they take of a segment that is the request again.
#[inline(always)]
pub(super) fn due_with(flow: &Flow, image: &Image) -> u32 {
    if is_due(flow) && image.seq == flow.request_seq { flow.told } else { 0 }
}

/// Makes the plan of the request's repetition one of a segment that begins with them. The client repeats its FIN.
#[inline(always)]
pub(super) fn put_before(plan: &mut Plan, told: u32) {
    plan.seq = plan.seq.wrapping_sub(told);
    plan.flags &= !u32::from(TcpFlags::FIN);
}
