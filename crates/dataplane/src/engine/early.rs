//! What a hook before the stack's packets leaves to the one behind it: the XDP program to that of TC.

use wire::PAYLOAD_MAX;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Scratch, Verdict};

/// In front of a packet that was decided and rewritten, for who sends it: out of a device that takes no frames from XDP, or by a way
/// that the stack has to find. The same for all segments of a leg that go by one device: GRO joins none whose notes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Note {
    magic: [u8; 4],
    /// The verdict, its upper word.
    verdict: [u8; 4],
    device: [u8; 4],
}

/// Other programs have notes of their own.
const MAGIC: [u8; 4] = *b"rau\x05";

impl Note {
    /// A note of what `verdict` says.
    #[inline(always)]
    pub const fn new(verdict: Verdict) -> Self {
        let (kind, device) = ((verdict.0 >> 32) as u32, verdict.0 as u32);
        Self { magic: MAGIC, verdict: kind.to_ne_bytes(), device: device.to_ne_bytes() }
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
}

/// Whether the segment at hand, whose headers were read, can be decided before it is a packet of the stack. Not what stands for
/// several segments, and not what has its checksum left to a device: both are seen there alone.
#[inline(always)]
pub fn suits(scratch: &Scratch) -> bool {
    let image = &scratch.image;
    let pseudo = image.pseudo_sum(image.tcp_len + image.payload_len);
    image.payload_len < PAYLOAD_MAX as u32 && u16::from_ne_bytes(image.checksum()) != pseudo.folded()
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn a_note_says_what_was_put_into_it() {
        for verdict in [Verdict::send(u32::MAX, true), Verdict::send(7, false)] {
            let note = Note::new(verdict);
            assert!(note.is_ours());
            assert_eq!(note.verdict(), verdict);
        }
        assert!(!Note::new_zeroed().is_ours());
    }
}
