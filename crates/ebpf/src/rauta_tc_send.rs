//! Sends a finished frame of the agent: never attached, only run on that frame (BPF_PROG_TEST_RUN).

use aya_ebpf::{helpers::generated::bpf_clone_redirect, macros::classifier, programs::TcContext};

/// Sends a clone of the frame from the device whose index the agent put into the mark; returns the helper's answer.
///
/// A clone, since the kernel does not act on the verdict of a test run, and frees the frame itself.
#[classifier]
pub fn rauta_tc_send(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context is valid during this call; no pointer into the packet outlives the helper.
    unsafe { bpf_clone_redirect(skb, (*skb).mark, 0) as i32 }
}
