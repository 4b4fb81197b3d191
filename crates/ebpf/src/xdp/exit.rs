//! The beginning and the end of every part in XDP: room for a note in front of the frame, and what the kernel is told.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::generated::{bpf_redirect, bpf_xdp_adjust_meta},
    programs::XdpContext,
};
use dataplane::engine::{Env, Note, Scratch, Verdict, suits};
use wire::{Device, Reason};

use super::Xdp;
use crate::{
    maps::XDP_DEVICES,
    verdict::{Tier, count, count_decision, notes},
};

/// Bytes in front of the frame.
const ROOM: i32 = size_of::<Note>() as i32;

/// Whether the frame can be decided here. Room for a note is made before anything is changed: not every driver has it.
#[inline(always)]
pub fn prepare(ctx: &XdpContext, scratch: &Scratch) -> bool {
    if !suits(scratch) {
        return false;
    }
    if adjust(ctx, -ROOM) {
        return true;
    }
    Xdp::world(ctx).count(Reason::PassNoRoom);
    if let Some(notes) = notes(ctx.ingress_ifindex() as u32) {
        notes.refused += 1;
    }
    false
}

/// Counts the packet of a client and carries the verdict out.
#[inline(always)]
pub fn finish(ctx: &XdpContext, scratch: &mut Scratch, verdict: Verdict) -> u32 {
    if verdict != Verdict::DEFER {
        count(scratch, verdict, Tier::One);
    }
    carry_out(ctx, scratch.settings.note_owner, verdict)
}

/// The same for the packet of an endpoint.
#[inline(always)]
pub fn finish_leg(ctx: &XdpContext, scratch: &mut Scratch, verdict: Verdict) -> u32 {
    if verdict != Verdict::DEFER {
        count_decision(verdict, Tier::One);
    }
    carry_out(ctx, scratch.settings.note_owner, verdict)
}

#[inline(always)]
fn carry_out(ctx: &XdpContext, owner: u64, verdict: Verdict) -> u32 {
    if verdict == Verdict::DROP {
        return XDP_DROP;
    }
    if verdict.sends_by().or(verdict.resolves_by()).is_none() {
        // TC's, as it came.
        adjust(ctx, ROOM);
        return XDP_PASS;
    }
    let from = ctx.ingress_ifindex() as u32;
    if let Some(device) = verdict.sends_by()
        // SAFETY: two bytes, copied at once.
        && let Some(flags) = unsafe { XDP_DEVICES.get(&device) }.map(|device| device.flags)
    {
        if device == from && flags & Device::REFLECTS != 0 {
            adjust(ctx, ROOM);
            return XDP_TX;
        }
        if flags & Device::TRANSMITS != 0 {
            adjust(ctx, ROOM);
            // SAFETY: a plain helper; it remembers the device, and its answer sends the frame there.
            return unsafe { bpf_redirect(device, 0) as u32 };
        }
    }
    leave(ctx, &Note::new(owner, from, verdict))
}

/// Passes the frame to TC with a note on what to do.
#[inline(always)]
fn leave(ctx: &XdpContext, note: &Note) -> u32 {
    let at = ctx.metadata() as *mut u8;
    // Room was made; the verifier wants to see it.
    if at.wrapping_add(size_of::<Note>()) > ctx.metadata_end() as *mut u8 {
        return XDP_DROP;
    }
    // SAFETY: inside, compared above; a note has no alignment.
    unsafe { at.cast::<Note>().write(*note) };
    if let Some(notes) = notes(ctx.ingress_ifindex() as u32) {
        notes.left += 1;
    }
    XDP_PASS
}

/// Moves where the bytes in front of the frame begin.
#[inline(always)]
fn adjust(ctx: &XdpContext, by: i32) -> bool {
    // SAFETY: a plain helper; nothing points into the frame.
    unsafe { bpf_xdp_adjust_meta(ctx.ctx, by) == 0 }
}
