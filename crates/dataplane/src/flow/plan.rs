use wire::{Flow, Hop, TcpFlags, TcpOptions, Tuple};

use super::{closing, flag, to_client, to_leg};
use crate::image::Image;

/// How a segment leaves: what its headers will say, and what becomes of its payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Plan {
    /// Sender and receiver.
    pub tuple: Tuple,
    /// Next hop.
    pub hop: Hop,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Timestamp.
    pub tsval: u32,
    /// Timestamp echo.
    pub tsecr: u32,
    /// Added to each SACK edge; the option becomes padding if `drops_sack` is not 0.
    pub sack_add: u32,
    /// See `sack_add`.
    pub drops_sack: u32,
    /// Window as it will stand in the header.
    pub window: u32,
    /// Control bits.
    pub flags: u32,
    /// How many payload bytes stay, inserted ones not counted.
    pub keep: u32,
    /// Where text is inserted, in bytes from the start of the payload.
    pub insert_at: u32,
    /// Length of that text; 0: none.
    pub insert_len: u32,
    /// Where bytes of the payload are written over, from its start.
    pub patch_at: u32,
    /// Of `close` and the spaces behind it, the first one that is written.
    pub patch_from: u32,
    /// How many; 0: none.
    pub patch_len: u32,
    /// A SACK edge that is one more than the endpoint has sent: behind our FIN. Only if `has_fin` is not 0.
    pub behind_fin: u32,
    /// See `behind_fin`.
    pub has_fin: u32,
    /// What a SYN announces.
    pub options: TcpOptions,
}

impl Plan {
    /// A segment of the client for the endpoint, whole; insertion is decided by the caller.
    #[inline(always)]
    pub(super) fn up(&mut self, flow: &Flow, image: &Image) {
        self.tuple = flow.leg.reversed();
        self.hop = flow.up;
        self.seq = to_leg(flow, image.seq);
        self.ack = closing::without_fin(flow, image.ack).wrapping_add(flow.ack_add);
        self.behind_fin = flow.leg_fin.wrapping_add(1);
        self.has_fin = u32::from(closing::is_ours(flow));
        self.tsval = image.tsval.wrapping_add(flow.tsval_add);
        self.tsecr = image.tsecr.wrapping_add(flow.tsecr_add);
        self.sack_add = flow.ack_add;
        self.drops_sack = 0;
        // The leg's SYN announced the client's own scale.
        self.window = image.window;
        self.flags = image.flags;
        self.keep = image.payload_len;
        self.insert_at = 0;
        self.insert_len = 0;
        self.patch_len = 0;
    }

    /// A segment of the endpoint for the client, whole.
    #[inline(always)]
    pub(super) fn down(&mut self, flow: &Flow, image: &Image) {
        self.tuple = flow.client.reversed();
        self.hop = flow.down;
        self.seq = image.seq.wrapping_sub(flow.ack_add);
        self.ack = to_client(flow, image.ack);
        self.tsval = image.tsval.wrapping_sub(flow.tsecr_add);
        self.tsecr = image.tsecr.wrapping_sub(flow.tsval_add);
        self.sack_add = flow.seq_add.wrapping_neg();
        // Edges between insertion points would each need their own shift.
        self.drops_sack = u32::from(flow.points_used != 0);
        self.window = rescaled(image.window, flow.leg_options.window_scale, flow.vip_scale);
        self.flags = image.flags;
        self.keep = image.payload_len;
        self.insert_at = 0;
        self.insert_len = 0;
        self.patch_len = 0;
        self.has_fin = 0;
    }

    /// An answer to the client in the place of an endpoint: no data.
    #[inline(always)]
    pub(crate) fn answer_client(&mut self, flow: &Flow, image: &Image, flags: u8) {
        self.tuple = flow.client.reversed();
        self.hop = flow.down;
        self.seq = flow.sent_end;
        self.ack = flow.client_end;
        self.tsval = flow.sent_tsval;
        self.tsecr = image.tsval;
        self.drops_sack = 1;
        self.window = 65_535;
        self.flags = u32::from(flags);
        self.keep = 0;
        self.insert_len = 0;
    }

    /// A reset of the leg in answer to what the endpoint sent: it says what the endpoint expects next (RFC 5961 section 3).
    #[inline(always)]
    pub(super) fn reset_leg(&mut self, flow: &Flow, image: &Image) {
        self.tuple = flow.leg.reversed();
        self.hop = flow.up;
        self.seq = if image.has(TcpFlags::ACK) { image.ack } else { flow.leg_ack };
        self.ack = 0;
        self.drops_sack = 1;
        self.window = 0;
        self.flags = u32::from(TcpFlags::RST);
        self.keep = 0;
        self.insert_len = 0;
    }
}

/// The window that was announced with shift `from`, for a reader that shifts by `to`; a side without scaling announces as it
/// is, and then neither side scales.
#[inline(always)]
fn rescaled(window: u32, from: u8, to: u8) -> u32 {
    if to == TcpOptions::NO_SCALE {
        return window;
    }
    let from = if from == TcpOptions::NO_SCALE { 0 } else { u32::from(from & 15) };
    ((window << from) >> (u32::from(to) & 15)).min(65_535)
}

/// Whether both directions are closed and acknowledged.
#[inline(always)]
pub(super) const fn is_over(flags: u8) -> bool {
    const ALL: u8 = flag::CLIENT_FIN | flag::LEG_FIN | flag::CLIENT_FIN_ACKED | flag::LEG_FIN_ACKED;
    flags & ALL == ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_keep_their_size_but_for_the_lost_digits() {
        assert_eq!(rescaled(500, 7, 7), 500);
        assert_eq!(rescaled(500, 9, 7), 2000);
        assert_eq!(rescaled(500, 5, 7), 125);
        assert_eq!(rescaled(60_000, 14, 0), 65_535);
        assert_eq!(rescaled(60_000, 7, TcpOptions::NO_SCALE), 60_000);
        assert_eq!(rescaled(60_000, TcpOptions::NO_SCALE, 7), 468);
    }
}
