//! The engine's world at the TC hook: maps, and helpers on socket buffers.

mod packet;
mod socket;
mod tables;
mod world;

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};

/// include/uapi/linux/if_packet.h.
const PACKET_HOST: u32 = 0;

/// One packet at the TC hook.
pub struct Tc<'c> {
    ctx: &'c TcContext,
}

impl<'c> Tc<'c> {
    /// The engine's world for the packet of `ctx`.
    #[inline(always)]
    pub const fn new(ctx: &'c TcContext) -> Self {
        Self { ctx }
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
