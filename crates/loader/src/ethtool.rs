//! What an interface's driver says of itself (include/uapi/linux/ethtool.h).

use std::{
    collections::BTreeSet,
    ffi::CStr,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 3;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;

/// The set of strings that names features.
const ETH_SS_FEATURES: u32 = 4;

/// `ETH_GSTRING_LEN`: bytes of a name.
const NAME_LENGTH: usize = 32;

/// Features of Linux are fewer; they come in blocks of 32.
const FEATURES_MAX: usize = 256;
const BLOCKS_MAX: usize = FEATURES_MAX / 32;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}
const _: () = assert!(size_of::<DriverInfo>() == 196);

/// `struct ethtool_sset_info` for one set.
#[repr(C)]
struct SetInfo {
    command: u32,
    reserved: u32,
    mask: u64,
    length: u32,
    pad: u32,
}

/// `struct ethtool_gstrings`.
#[repr(C)]
struct Strings {
    command: u32,
    set: u32,
    count: u32,
    names: [[u8; NAME_LENGTH]; FEATURES_MAX],
}

/// `struct ethtool_gfeatures`; a block has what is available, requested, active and never changed.
#[repr(C)]
struct Features {
    command: u32,
    blocks: u32,
    words: [[u32; 4]; BLOCKS_MAX],
}

/// The driver behind the interface, `None` where it has none or does not say.
pub(crate) fn driver(interface: &str) -> Option<String> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    ask(interface, &mut info)?;
    let name = CStr::from_bytes_until_nul(&info.driver).ok()?.to_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The features that are on, such as `rx-lro`; `None` where nobody says.
pub(crate) fn features(interface: &str) -> Option<BTreeSet<String>> {
    let mut set =
        SetInfo { command: ETHTOOL_GSSET_INFO, reserved: 0, mask: 1 << ETH_SS_FEATURES, length: 0, pad: 0 };
    ask(interface, &mut set)?;
    let count = usize::try_from(set.length).ok().filter(|count| *count <= FEATURES_MAX)?;
    let mut strings = Box::new(Strings {
        command: ETHTOOL_GSTRINGS,
        set: ETH_SS_FEATURES,
        count: set.length,
        names: [[0; NAME_LENGTH]; FEATURES_MAX],
    });
    ask(interface, &mut *strings)?;
    let blocks = u32::try_from(count.div_ceil(32)).ok()?;
    let mut features = Features { command: ETHTOOL_GFEATURES, blocks, words: [[0; 4]; BLOCKS_MAX] };
    ask(interface, &mut features)?;
    let is_on =
        |at: usize| features.words.get(at / 32).is_some_and(|[_, _, active, _]| active >> (at % 32) & 1 != 0);
    let name =
        |name: &[u8; NAME_LENGTH]| CStr::from_bytes_until_nul(name).ok()?.to_str().ok().map(str::to_owned);
    let named = strings.names.iter().take(count).enumerate();
    Some(named.filter(|(at, _)| is_on(*at)).filter_map(|(_, text)| name(text)).collect())
}

/// Has the kernel fill a structure that begins with a command.
fn ask<T>(interface: &str, question: &mut T) -> Option<()> {
    let socket: OwnedFd =
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut *question).cast();
    // SAFETY: the request names an interface and points to a structure of the size that the command fills.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    (result == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_features_and_no_lro() {
        let features = features("lo").unwrap();
        assert!(features.contains("tx-checksum-ip-generic"), "{features:?}");
        assert!(!features.contains("rx-lro"), "{features:?}");
        assert_eq!(super::features("no such one"), None);
    }
}
