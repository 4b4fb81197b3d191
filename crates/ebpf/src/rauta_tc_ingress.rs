//! TC ingress: routes HTTP/1.1 for our sockets, passes everything else on.
//!
//! The engine's parts are programs of their own, entered by tail calls: the verifier looks at each by itself.

use aya_ebpf::{macros::classifier, programs::TcContext};
use dataplane::engine::{Env, Note, Part, Scratch, Verdict, ingress, resume, too_big};
use wire::{Cursor, Segment, SegmentError, TooBig};

use crate::maps::{SCRATCH, SETTINGS};
use crate::tc::Tc;
use crate::verdict::{NEXT, carry_out, finish, finish_leg, notes};

/// Ethernet, two VLAN tags, the longest IPv4 header, the fixed TCP header.
const HEADERS_MAX: u32 = 14 + 8 + 60 + 20;

/// Entry point, for every packet that enters an interface.
#[classifier]
pub fn rauta_tc_ingress(ctx: TcContext) -> i32 {
    if let Some(verdict) = noted(&ctx) {
        return carry_out(verdict);
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return NEXT };
    // SAFETY: this CPU's own value; a program of this hook is not preempted by itself on one CPU.
    let scratch = unsafe { &mut *scratch };
    let tc = Tc::new(&ctx);
    if tc.is_of_another_host() || tc.is_of_vlan() {
        return NEXT;
    }
    let read = match read(&ctx, &mut scratch.segment) {
        // The headers may lie in a page fragment of the buffer, where direct access does not reach.
        Err(SegmentError::Truncated) if ctx.pull_data(HEADERS_MAX.min(ctx.len())).is_ok() => {
            read(&ctx, &mut scratch.segment)
        }
        read => read,
    };
    match read {
        Ok(()) => {}
        Err(SegmentError::NotTcp) => return error(&ctx, scratch),
        Err(SegmentError::Fragment | SegmentError::Ipv6Extension) => {
            Tc::world(&ctx).go_on(Part::Shape, scratch);
            return NEXT;
        }
        Err(_) => return NEXT,
    }
    let verdict = ingress(&mut Tc::world(&ctx), scratch);
    finish(scratch, verdict)
}

/// What the XDP program of this interface has decided, and counted: it is in front of the packet.
#[inline(always)]
fn noted(ctx: &TcContext) -> Option<Verdict> {
    // SAFETY: fields of the context.
    let (start, device) = unsafe { ((*ctx.skb.skb).data_meta, (*ctx.skb.skb).ifindex) };
    // SAFETY: as in `read`, up to where the packet begins.
    let front = unsafe { Cursor::from_raw(start as usize as *const u8, ctx.data() as *const u8) };
    let (note, _) = front.read::<Note>().ok()?;
    let verdict = note.verdict(SETTINGS.get(0)?.note_owner, device)?;
    if let Some(notes) = notes(device) {
        // What was joined had a note each.
        // SAFETY: a field of the context.
        notes.taken += u64::from(unsafe { (*ctx.skb.skb).gso_segs }.max(1));
    }
    Some(verdict)
}

#[inline(always)]
fn read(ctx: &TcContext, segment: &mut Segment) -> Result<(), SegmentError> {
    // SAFETY: the kernel keeps data..data_end readable until a helper moves the packet; the result borrows nothing of it.
    segment.read(unsafe { Cursor::from_raw(ctx.data() as *const u8, ctx.data_end() as *const u8) })
}

/// An ICMP error for a connection of ours; anything else that is not TCP goes on.
#[inline(always)]
fn error(ctx: &TcContext, scratch: &mut Scratch) -> i32 {
    // SAFETY: as in `read`.
    let frame = unsafe { Cursor::from_raw(ctx.data() as *const u8, ctx.data_end() as *const u8) };
    let Ok(found) = TooBig::parse(frame) else { return NEXT };
    let verdict = too_big(&mut Tc::world(ctx), &found, scratch);
    if verdict == Verdict::PASS { NEXT } else { carry_out(verdict) }
}

/// The program of a part.
macro_rules! part {
    ($name:ident, $part:ident, $finish:expr, $what:literal) => {
        #[doc = $what]
        #[classifier]
        pub fn $name(ctx: TcContext) -> i32 {
            let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return NEXT };
            // SAFETY: as above; the program before this one left its findings there.
            let scratch = unsafe { &mut *scratch };
            let verdict = resume(Part::$part, &mut Tc::world(&ctx), scratch);
            $finish(scratch, verdict)
        }
    };
}

part!(rauta_tc_client, Client, finish, "A segment of a client.");
part!(rauta_tc_first, First, finish, "A segment of a client without a flow.");
part!(rauta_tc_request, Request, finish, "A request on a connection that has a flow.");
part!(rauta_tc_bind, BindFirst, finish, "Binding the first request of a connection.");
part!(rauta_tc_rebind, BindAgain, finish, "Binding a later one.");
part!(rauta_tc_reopen, Reopen, finish, "Sending the SYN of a leg again.");
part!(rauta_tc_endpoint, Endpoint, finish_leg, "A segment of an endpoint.");
part!(rauta_tc_open, Open, finish_leg, "The SYN-ACK of an endpoint.");
part!(rauta_tc_other, Elsewhere, finish_leg, "The refusal of an endpoint.");
part!(rauta_tc_pooled, Pooled, finish_leg, "A segment of an endpoint on a leg that waits.");
part!(rauta_tc_shape, Shape, finish, "A packet that is a fragment or has options.");
