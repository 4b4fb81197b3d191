//! Threads without privileges: what they do, they do with descriptors that others have opened.

use std::io;

use nix::sys::utsname::uname;

use crate::capabilities::{Capability, Effective};

/// `_LINUX_CAPABILITY_VERSION_3` (include/uapi/linux/capability.h).
const VERSION: u32 = 0x2008_0522;
/// Since Linux 5.19 maps are read and written by whoever holds a descriptor, `kernel.unprivileged_bpf_disabled` or not
/// (`bpf_capable`, kernel/bpf/syscall.c, commit c8644cd0efe7).
const BY_DESCRIPTOR: (u32, u32) = (5, 19);

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`: the first holds the lower 32 bits of each set, the second the upper ones.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// What a thread goes on doing with privileges that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: what it needs others have opened.
    Nothing,
    /// Files and folders of any user, for agents outside of containers.
    Files,
    /// Addresses of interfaces, and raw sockets.
    Network,
}

impl Keep {
    const fn capabilities(self) -> &'static [Capability] {
        match self {
            Self::Nothing => &[],
            Self::Files => &[Capability::DacOverride, Capability::DacReadSearch],
            Self::Network => &[Capability::NetAdmin, Capability::NetRaw],
        }
    }
}

/// Takes all capabilities but `keep` from the calling thread for good, and so from the threads that it starts. Other threads keep
/// theirs. On kernels before 5.19 CAP_BPF stays, if it is there: maps are not read without it.
///
/// # Errors
/// The kernel's answer.
pub fn give_up_capabilities(keep: Keep) -> io::Result<()> {
    let maps = if by_descriptor() { None } else { Some(Capability::Bpf) };
    let kept = keep.capabilities().iter().copied().chain(maps);
    let had = Effective::current();
    let bits = kept.filter(|one| had.allows(*one)).fold(0_u64, |bits, one| bits | 1 << one as u8);
    let [low, high] = [bits & u64::from(u32::MAX), bits >> 32].map(|half| u32::try_from(half).unwrap_or(0));
    let sets = [low, high].map(|half| Sets { effective: half, permitted: half, inheritable: 0 });
    let header = Header { version: VERSION, pid: 0 };
    // SAFETY: both structures are the kernel's own, and live until the call returns; process 0 is the calling thread.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn by_descriptor() -> bool {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    parse(&release).is_some_and(|version| version >= BY_DESCRIPTOR)
}

/// Major and minor version of a release such as `6.1.0-28-amd64`.
fn parse(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert_eq!(parse("6.1.0-28-amd64"), Some((6, 1)));
        assert_eq!(parse("5.19+"), Some((5, 19)));
        assert!(parse("5.4").unwrap() < BY_DESCRIPTOR && parse("10.0").unwrap() > BY_DESCRIPTOR);
        assert_eq!(parse("x"), None);
    }

    #[test]
    fn a_thread_gives_up_its_own_and_no_other_thread_does() {
        let before = Effective::current();
        let within = std::thread::spawn(|| {
            give_up_capabilities(Keep::Nothing).unwrap();
            (Effective::current(), std::thread::spawn(Effective::current).join().unwrap())
        });
        let (own, started) = within.join().unwrap();
        assert!(!own.allows(Capability::NetAdmin) && !own.allows(Capability::NetBindService));
        assert_eq!(own, started);
        assert_eq!(Effective::current(), before);
    }

    #[test]
    fn a_thread_keeps_what_it_has_of_what_it_may_keep() {
        let before = Effective::current();
        let within = std::thread::spawn(|| {
            give_up_capabilities(Keep::Network).unwrap();
            Effective::current()
        });
        let own = within.join().unwrap();
        assert_eq!(own.allows(Capability::NetAdmin), before.allows(Capability::NetAdmin));
        assert!(!own.allows(Capability::NetBindService) && !own.allows(Capability::DacOverride));
    }
}
