//! The TC hook: socket buffers.

mod packet;

use core::{ffi::c_void, mem};

use aya_ebpf::{
    EbpfContext, bindings::__sk_buff, helpers::generated::bpf_skc_to_tcp_sock, programs::TcContext,
};
use dataplane::engine::{HandOff, Part, Verdict};

use crate::{
    maps::PARTS,
    world::{Hook, Socket, World},
};

/// include/uapi/linux/if_packet.h.
const PACKET_HOST: u32 = 0;

/// What the loader replaces: no kernel has a helper of this number.
const ASSIGN_TCP_REQSK: usize = 0x7ffe_0001;

/// One packet at the TC hook.
pub struct Tc<'c> {
    ctx: &'c TcContext,
}

impl<'c> Tc<'c> {
    /// The packet of `ctx`.
    #[inline(always)]
    pub const fn new(ctx: &'c TcContext) -> Self {
        Self { ctx }
    }

    /// The engine's world for it.
    #[inline(always)]
    pub const fn world(ctx: &'c TcContext) -> World<Self> {
        World(Self::new(ctx))
    }

    /// Whether the packet is for a VLAN. The kernel takes the tag off for the VLAN's device, whose hook sees it then; here
    /// it is nobody's. A tag without a VLAN (IEEE 802.1p) is not meant.
    #[inline(always)]
    pub fn is_of_vlan(&self) -> bool {
        // SAFETY: fields of the context.
        unsafe { (*self.skb()).vlan_present != 0 && (*self.skb()).vlan_tci & 0xfff != 0 }
    }

    /// Whether the frame is another machine's: one that was flooded by a switch, or that a promiscuous interface sees. The
    /// stack drops those; here two nodes with one address would both answer.
    #[inline(always)]
    pub fn is_of_another_host(&self) -> bool {
        // SAFETY: a field of the context.
        unsafe { (*self.skb()).pkt_type != PACKET_HOST }
    }

    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.ctx.skb.skb
    }
}

impl Hook for Tc<'_> {
    const PRECEDES: bool = false;

    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.ctx.as_ptr()
    }

    #[inline(always)]
    fn go_on(&self, part: Part) -> Verdict {
        // SAFETY: a plain helper. It returns only if the agent has not put the program there: the peer sends again.
        unsafe { PARTS.tail_call(self.ctx, part as u32) };
        Verdict::DROP
    }

    #[inline(always)]
    fn give(&self, listener: &Socket, attributes: &HandOff) -> bool {
        // SAFETY: a socket that is held; the kernel function wants what this helper returns.
        let listener = unsafe { bpf_skc_to_tcp_sock(listener.0.cast()) };
        if listener.is_null() {
            return false;
        }
        // SAFETY: the loader makes this a call of the kernel function `bpf_sk_assign_tcp_reqsk` (Linux 6.9), or of nothing,
        // which answers -EOPNOTSUPP.
        unsafe {
            let assign: unsafe extern "C" fn(*mut __sk_buff, *mut c_void, *const HandOff, i32) -> i32 =
                mem::transmute(ASSIGN_TCP_REQSK);
            assign(self.skb(), listener.cast(), &raw const *attributes, size_of::<HandOff>() as i32) == 0
        }
    }
}
