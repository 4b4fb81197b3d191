//! XDP: routes HTTP/1.1 for our sockets, passes everything else on to TC.
//!
//! The engine's parts are programs of their own, entered by tail calls, as at TC. What is a fragment, has options or is an ICMP
//! error is TC's.

use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};
use dataplane::engine::{Part, Scratch, ingress, resume};
use wire::Cursor;

use crate::maps::{SCRATCH, XDP_DEVICES};
use crate::xdp::{Xdp, finish, finish_leg, prepare};

/// Entry point, for every frame that an interface receives.
#[xdp]
pub fn rauta_ingress(ctx: XdpContext) -> u32 {
    // SAFETY: six bytes, copied at once.
    let Some(device) = (unsafe { XDP_DEVICES.get(&(ctx.ingress_ifindex() as u32)) }) else { return XDP_PASS };
    // SAFETY: the kernel keeps data..data_end readable until a helper moves the frame; what is read borrows nothing of it.
    let frame = unsafe { Cursor::from_raw(ctx.data() as *const u8, ctx.data_end() as *const u8) };
    // A switch floods what it has not learned, and another node may have the same listeners.
    if !frame.read::<[u8; 6]>().is_ok_and(|(receiver, _)| *receiver == device.address) {
        return XDP_PASS;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return XDP_PASS };
    // SAFETY: this CPU's own value; programs of this hook and of TC follow each other on one CPU.
    let scratch = unsafe { &mut *scratch };
    if scratch.segment.read(frame).is_ok() {
        // Comes back only with what is not ours, or not this hook's.
        ingress(&mut Xdp::world(&ctx), scratch);
    }
    XDP_PASS
}

/// The program of a part, entered from the first one or from another part.
macro_rules! part {
    ($name:ident, $part:ident, $is_ready:expr, $finish:expr, $what:literal) => {
        #[doc = $what]
        #[xdp]
        pub fn $name(ctx: XdpContext) -> u32 {
            let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return XDP_PASS };
            // SAFETY: as above; the program before this one left its findings there.
            let scratch = unsafe { &mut *scratch };
            if !$is_ready(&ctx, scratch) {
                return XDP_PASS;
            }
            let verdict = resume(Part::$part, &mut Xdp::world(&ctx), scratch);
            $finish(&ctx, scratch, verdict)
        }
    };
}

/// The part before has made the frame ready.
#[inline(always)]
const fn is_ready(_: &XdpContext, _: &Scratch) -> bool {
    true
}

part!(rauta_xdp_client, Client, prepare, finish, "A segment of a client.");
part!(rauta_xdp_first, First, is_ready, finish, "A segment of a client without a flow.");
part!(rauta_xdp_request, Request, is_ready, finish, "A request on a connection that has a flow.");
part!(rauta_xdp_bind, BindFirst, is_ready, finish, "Binding the first request of a connection.");
part!(rauta_xdp_rebind, BindAgain, is_ready, finish, "Binding a later one.");
part!(rauta_xdp_reopen, Reopen, is_ready, finish, "Sending the SYN of a leg again.");
part!(rauta_xdp_endpoint, Endpoint, prepare, finish_leg, "A segment of an endpoint.");
part!(rauta_xdp_open, Open, is_ready, finish_leg, "The SYN-ACK of an endpoint.");
part!(rauta_xdp_pooled, Pooled, is_ready, finish_leg, "A segment of an endpoint on a leg that waits.");
part!(rauta_xdp_other, Elsewhere, is_ready, finish_leg, "The refusal of an endpoint.");
