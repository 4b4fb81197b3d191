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
