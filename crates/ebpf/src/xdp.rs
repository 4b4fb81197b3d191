//! The XDP hook: frames as the driver has them, before the stack knows of them. The program of TC is behind it on the same
//! interface, and gets what cannot be done here.

mod exit;
mod packet;

use core::ffi::c_void;

use aya_ebpf::{EbpfContext, programs::XdpContext};
use dataplane::engine::{HandOff, Part, Verdict};

use crate::{
    maps::XDP_PARTS,
    world::{Hook, Socket, World},
};

pub use exit::{finish, finish_leg, prepare};

/// One frame at the XDP hook.
pub struct Xdp<'c> {
    ctx: &'c XdpContext,
}

impl<'c> Xdp<'c> {
    /// The engine's world for the frame of `ctx`.
    #[inline(always)]
    pub const fn world(ctx: &'c XdpContext) -> World<Self> {
        World(Self { ctx })
    }
}

impl Hook for Xdp<'_> {
    const PRECEDES: bool = true;

    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.ctx.as_ptr()
    }

    #[inline(always)]
    fn go_on(&self, part: Part) -> Verdict {
        // SAFETY: a plain helper. It returns where there is no program, as for shapes.
        unsafe { XDP_PARTS.tail_call(self.ctx, part as u32) };
        Verdict::DEFER
    }

    /// Sockets take packets of the stack only; the engine asks for none here.
    #[inline(always)]
    fn give(&self, _: &Socket, _: &HandOff) -> bool {
        false
    }
}
