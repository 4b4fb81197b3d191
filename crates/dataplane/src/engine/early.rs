//! What a hook before the stack's packets leaves to the one behind it: the XDP program to that of TC.

use wire::PAYLOAD_MAX;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Scratch, Verdict};

/// In front of a packet that was decided and rewritten, for who sends it: out of a device that takes no frames from XDP, or by a way
/// that the stack has to find. The same for all segments of a leg that go by one device: GRO joins none whose notes differ.
///
/// It outlives its use: a packet that was redirected may come in by another device, of another namespace even, with the note still in
/// front of it; and any program of XDP may write one. So it says for whom it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Note {
    /// [`wire::Settings::note_owner`] of who wrote it.
    owner: [u8; 8],
    /// The device that the packet came in by.
    from: [u8; 4],
    /// The verdict, its upper word.
    verdict: [u8; 4],
    device: [u8; 4],
}
const _: () = assert!(size_of::<Note>() <= 32, "the most that the kernel takes before Linux 6.9");

impl Note {
    /// What `owner` says of a packet that came in by the device `from`.
    #[inline(always)]
    pub const fn new(owner: u64, from: u32, verdict: Verdict) -> Self {
        let (kind, device) = ((verdict.0 >> 32) as u32, verdict.0 as u32);
        Self {
            owner: owner.to_ne_bytes(),
            from: from.to_ne_bytes(),
            verdict: kind.to_ne_bytes(),
            device: device.to_ne_bytes(),
        }
    }

    /// Where to send the packet, which came in by `device`; none if `owner` has not said so of it there.
    #[inline(always)]
    pub const fn verdict(&self, owner: u64, device: u32) -> Option<Verdict> {
        let kind = u32::from_ne_bytes(self.verdict) as u64;
        let verdict = Verdict(kind << 32 | u32::from_ne_bytes(self.device) as u64);
        let is_ours = owner != 0 && u64::from_ne_bytes(self.owner) == owner;
        let is_sent = verdict.sends_by().is_some() || verdict.resolves_by().is_some();
        if is_ours && u32::from_ne_bytes(self.from) == device && is_sent { Some(verdict) } else { None }
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
    use super::*;

    const OWNER: u64 = 0x1234_5678_9abc_def0;

    #[test]
    fn a_note_is_for_one_owner_at_one_device() {
        for verdict in [Verdict::send(u32::MAX, true), Verdict::send(7, false)] {
            let note = Note::new(OWNER, 3, verdict);
            assert_eq!(note.verdict(OWNER, 3), Some(verdict));
            assert_eq!(note.verdict(OWNER, 4), None);
            for other in [0, OWNER ^ 1, OWNER ^ 1 << 63] {
                assert_eq!(note.verdict(other, 3), None);
            }
            assert_eq!(Note::new(0, 3, verdict).verdict(0, 3), None, "nobody");
        }
    }

    #[test]
    fn a_note_sends_and_nothing_else() {
        for verdict in [Verdict::PASS, Verdict::DROP, Verdict::DEFER, Verdict(u64::MAX)] {
            assert_eq!(Note::new(OWNER, 3, verdict).verdict(OWNER, 3), None);
        }
    }
}
