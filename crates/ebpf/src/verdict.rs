//! The end of every program: the packet is counted, and, at TC, the kernel told what to do with it.

use aya_ebpf::helpers::generated::{bpf_redirect, bpf_redirect_neigh};
use dataplane::engine::{Scratch, Verdict};
use wire::{ListenerKey, Notes};

use crate::maps::{LISTENER_COUNTERS, METRICS, NOTES};

/// The next program of the hook decides (TCX_NEXT; the same value lets clsact go on to the next filter).
pub const NEXT: i32 = -1;

/// The packet ends here (TCX_DROP, TC_ACT_SHOT).
const DROP: i32 = 2;

/// Which hook has decided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// XDP.
    One,
    /// TC.
    Two,
}

/// Counts the packet of a client and carries the verdict out.
#[inline(always)]
pub fn finish(scratch: &mut Scratch, verdict: Verdict) -> i32 {
    count(scratch, verdict, Tier::Two);
    carry_out(verdict)
}

/// The same for the packet of an endpoint: no listener is asked, for it is for none.
#[inline(always)]
pub fn finish_leg(_: &mut Scratch, verdict: Verdict) -> i32 {
    if verdict != Verdict::PASS {
        count_decision(verdict, Tier::Two);
    }
    carry_out(verdict)
}

/// Tells the kernel.
#[inline(always)]
pub fn carry_out(verdict: Verdict) -> i32 {
    if let Some(device) = verdict.sends_by() {
        // SAFETY: a plain helper; it remembers the device, and its answer sends the packet there.
        return unsafe { bpf_redirect(device, 0) as i32 };
    }
    if let Some(device) = verdict.resolves_by() {
        // SAFETY: as above; without parameters the next hop is looked up by the packet's addresses.
        return unsafe { bpf_redirect_neigh(device, core::ptr::null_mut(), 0, 0) as i32 };
    }
    if verdict == Verdict::DROP { DROP } else { NEXT }
}

/// Counts packets from and, where the kernel routes, to our listeners.
#[inline(always)]
pub fn count(scratch: &mut Scratch, verdict: Verdict, tier: Tier) {
    let opens = scratch.arrived.opens_connection();
    let mut listener = LISTENER_COUNTERS.get_ptr_mut(&scratch.listener);
    if listener.is_none() {
        scratch.listener.address = ListenerKey::ANY;
        listener = LISTENER_COUNTERS.get_ptr_mut(&scratch.listener);
    }
    if let Some(listener) = listener {
        // SAFETY: a live value of this CPU; a program of this hook is not preempted by itself on one CPU.
        unsafe {
            (*listener).packets += 1;
            (*listener).connections += u64::from(opens);
        }
    } else if verdict == Verdict::PASS {
        // Not ours at all.
        return;
    }
    count_decision(verdict, tier);
}

/// Counts the packet alone.
#[inline(always)]
pub fn count_decision(verdict: Verdict, tier: Tier) {
    let Some(metrics) = METRICS.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    unsafe {
        (*metrics).packets_total += 1;
        match verdict {
            Verdict::PASS => (*metrics).packets_tier3 += 1,
            Verdict::DROP => (*metrics).packets_dropped += 1,
            _ if tier == Tier::One => (*metrics).packets_tier1 += 1,
            _ => (*metrics).packets_tier2 += 1,
        }
    }
}

/// What is counted of the notes at an interface. The agent looks whether those that are left arrive.
#[inline(always)]
pub fn notes(device: u32) -> Option<&'static mut Notes> {
    // SAFETY: a live value of this CPU, which this program alone changes meanwhile; nobody keeps the reference.
    NOTES.get_ptr_mut(&device).map(|notes| unsafe { &mut *notes })
}
