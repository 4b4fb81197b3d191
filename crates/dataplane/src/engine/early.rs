//! What a hook before the stack's packets leaves to the one behind it: the XDP program to that of TC.

use wire::{PAYLOAD_MAX, Reason, Tuple};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Env, HandOff, Scratch, Verdict, drop};

/// In front of a packet that was decided, for who carries it out: out of a device that takes no frames from XDP, or to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Note {
    magic: [u8; 4],
    /// The verdict, its upper word.
    verdict: [u8; 4],
    device: [u8; 4],
    /// What a socket is told with [`Verdict::PASS`], as the kernel wants it.
    attributes: [u8; size_of::<HandOff>()],
}
const _: () = assert!(size_of::<Note>() == 32, "the most that drivers take before Linux 6.9");

/// Other programs have notes of their own.
const MAGIC: [u8; 4] = *b"rau\x05";

impl Note {
    /// `attributes` are looked at with [`Verdict::PASS`] alone: the packet's connection is a listener's then.
    #[inline(always)]
    pub const fn new(verdict: Verdict, attributes: &HandOff) -> Self {
        // SAFETY: numbers without padding.
        let attributes = unsafe { core::mem::transmute::<HandOff, [u8; size_of::<HandOff>()]>(*attributes) };
        let (kind, device) = ((verdict.0 >> 32) as u32, verdict.0 as u32);
        Self { magic: MAGIC, verdict: kind.to_ne_bytes(), device: device.to_ne_bytes(), attributes }
    }

    /// Whether it is one of ours.
    #[inline(always)]
    pub const fn is_ours(&self) -> bool {
        u32::from_ne_bytes(self.magic) == u32::from_ne_bytes(MAGIC)
    }

    /// The verdict.
    #[inline(always)]
    pub const fn verdict(&self) -> Verdict {
        Verdict((u32::from_ne_bytes(self.verdict) as u64) << 32 | u32::from_ne_bytes(self.device) as u64)
    }

    #[inline(always)]
    const fn attributes(&self) -> HandOff {
        // SAFETY: numbers, for which any bits will do.
        unsafe { core::mem::transmute::<[u8; size_of::<HandOff>()], HandOff>(self.attributes) }
    }
}

/// Whether the segment at hand, whose headers were read, can be decided before it is a packet of the stack. Not what stands for
/// several segments, and not what has its checksum left to a device: both are seen there alone.
#[inline(always)]
pub fn suits(scratch: &Scratch) -> bool {
    let image = &scratch.image;
    let pseudo = image.pseudo_sum(image.tcp_len + image.payload_len);
    image.payload_len < PAYLOAD_MAX as u32 && u16::from_ne_bytes(image.checksum()) != pseudo.folded()
}

/// What becomes of a packet with a note; `scratch.segment` has it.
#[inline(always)]
pub fn take_up<E: Env>(env: &mut E, verdict: Verdict, note: &Note, scratch: &mut Scratch) -> Verdict {
    if verdict != Verdict::PASS {
        return verdict;
    }
    let Scratch { segment, image, attributes, .. } = &mut *scratch;
    image.tuple = Tuple {
        source: segment.source,
        destination: segment.destination,
        source_port: segment.source_port,
        destination_port: segment.destination_port,
    };
    *attributes = note.attributes();
    if env.hand_off(&image.tuple, segment.is_v6, attributes) {
        return Verdict::PASS;
    }
    drop(env, Reason::DropHandOff)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn a_note_says_what_was_put_into_it() {
        let attributes = HandOff { rcv_tsval: 7, rcv_tsecr: 9, mss: 1460, sack_ok: 1, ..HandOff::default() };
        for verdict in [
            Verdict::PASS,
            Verdict::DROP,
            Verdict::send(u32::MAX, true),
            Verdict::send(7, false),
            Verdict::DEFER,
        ] {
            let note = Note::new(verdict, &attributes);
            assert!(note.is_ours());
            assert_eq!((note.verdict(), note.attributes()), (verdict, attributes));
        }
        assert!(!Note::new_zeroed().is_ours());
    }
}
