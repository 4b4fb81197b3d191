//! The engine's world at the TC hook: maps, and helpers on socket buffers.

mod packet;
mod socket;
mod tables;
mod world;

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};

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

    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.ctx.skb.skb
    }
}
