//! TC ingress on kernels that cannot route: counts what arrives at our listeners and passes everything on.

use aya_ebpf::{macros::classifier, programs::TcContext};
use wire::{Cursor, Segment, SegmentError, listener_of};

use crate::maps::{LISTENER_COUNTERS, METRICS};
use crate::tc::Tc;

/// The next program of the hook decides (TCX_NEXT; the same value lets clsact go on to the next filter).
const NEXT: i32 = -1;

/// Ethernet, two VLAN tags, the longest IPv4 header, the fixed TCP header.
const HEADERS_MAX: u32 = 14 + 8 + 60 + 20;

/// Entry point, for every packet that enters an interface.
#[classifier]
pub fn rauta_tc_count(ctx: TcContext) -> i32 {
    // Counted at the device of its VLAN.
    let tc = Tc::new(&ctx);
    if tc.is_of_another_host() || tc.is_of_vlan() {
        return NEXT;
    }
    let segment = match segment(&ctx) {
        // The headers may lie in a page fragment of the buffer, where direct access does not reach.
        Err(SegmentError::Truncated) if ctx.pull_data(HEADERS_MAX.min(ctx.len())).is_ok() => segment(&ctx),
        parsed => parsed,
    };
    if let Ok(segment) = segment {
        count(&segment);
    }
    NEXT
}

#[inline(always)]
fn segment(ctx: &TcContext) -> Result<Segment, SegmentError> {
    // SAFETY: the kernel keeps data..data_end readable until a helper moves the packet; the result borrows nothing of it.
    Segment::parse(unsafe { Cursor::from_raw(ctx.data() as *const u8, ctx.data_end() as *const u8) })
}

#[inline(always)]
fn count(segment: &Segment) {
    let Some(listener) = listener_of(segment, |key| LISTENER_COUNTERS.get_ptr_mut(key)) else { return };
    // SAFETY: a live value of this CPU; a program of this hook is not preempted by itself on one CPU.
    unsafe {
        (*listener).packets += 1;
        (*listener).connections += u64::from(segment.flags.opens_connection());
    }
    let Some(metrics) = METRICS.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    unsafe {
        (*metrics).packets_total += 1;
        (*metrics).packets_tier3 += 1;
    }
}
