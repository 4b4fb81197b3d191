use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many interfaces the XDP program can know.
pub const DEVICES_MAX: usize = 1024;

/// Value of map `XDP_DEVICES`, by the index of an interface. One that is not there is left to TC: what comes in by it, and
/// what leaves by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Device {
    /// Its link address: frames for another are not ours.
    pub address: [u8; 6],
    /// What it can do.
    pub flags: u16,
}
const _: () = assert!(size_of::<Device>() == 8 && align_of::<Device>() == 2);

impl Device {
    /// It sends frames that the XDP program of any interface gives it (`ndo_xdp_xmit`).
    pub const TRANSMITS: u16 = 1;
    /// It sends back frames that came in by itself (`XDP_TX`).
    pub const REFLECTS: u16 = 2;
}

/// Value of map `NOTES`, by the index of an interface that has the XDP program; one for each CPU. What becomes of the notes that XDP
/// leaves to TC there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Notes {
    /// Packets that XDP has left to TC with a note.
    pub left: u64,
    /// Packets that came to TC with one, each of those that were joined on the way.
    pub taken: u64,
    /// Frames of ours in front of which there was no room for a note.
    pub refused: u64,
}
const _: () = assert!(size_of::<Notes>() == 24);

impl Notes {
    /// The sum of two CPUs' counters.
    #[must_use]
    pub const fn merged(self, other: Self) -> Self {
        Self {
            left: self.left.wrapping_add(other.left),
            taken: self.taken.wrapping_add(other.taken),
            refused: self.refused.wrapping_add(other.refused),
        }
    }

    /// What was counted since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            left: self.left.wrapping_sub(before.left),
            taken: self.taken.wrapping_sub(before.taken),
            refused: self.refused.wrapping_sub(before.refused),
        }
    }
}
