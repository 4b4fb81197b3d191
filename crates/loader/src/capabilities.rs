//! The capabilities of this thread, as the kernel shows them (capabilities(7)).

use std::{fmt, fs};

/// A capability that some part of RAUTA needs: its bit in `CapEff` (include/uapi/linux/capability.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Capability {
    /// Files of others.
    DacOverride = 1,
    /// Files and folders of others, to read.
    DacReadSearch = 2,
    /// Ports below 1024.
    NetBindService = 10,
    /// Interfaces, filters, links.
    NetAdmin = 12,
    /// Packet sockets.
    NetRaw = 13,
    /// The older, wider form of the next two.
    SysAdmin = 21,
    /// Pointer arithmetic in programs.
    Perfmon = 38,
    /// bpf(2) (Linux 5.8).
    Bpf = 39,
}

/// The effective set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effective(u64);

impl Effective {
    /// Of the calling thread; none where /proc is not mounted.
    pub(crate) fn current() -> Self {
        Self(fs::read_to_string("/proc/thread-self/status").ok().and_then(|text| parse(&text)).unwrap_or(0))
    }

    /// Whether the set holds `capability`, directly or by CAP_SYS_ADMIN, which implies the newer ones.
    pub(crate) const fn allows(self, capability: Capability) -> bool {
        let implied = matches!(capability, Capability::Bpf | Capability::Perfmon);
        self.has(capability) || (implied && self.has(Capability::SysAdmin))
    }

    const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// What loading and attaching lack, `None` if nothing.
    pub(crate) fn missing_to_attach(self) -> Option<MissingCapabilities> {
        let missing = MissingCapabilities {
            bpf: !self.allows(Capability::Bpf),
            net_admin: !self.allows(Capability::NetAdmin),
            perfmon: !self.allows(Capability::Perfmon),
        };
        (missing.bpf || missing.net_admin || missing.perfmon).then_some(missing)
    }
}

/// The capabilities that a process lacks to load and attach the kernel programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingCapabilities {
    /// CAP_BPF: bpf(2).
    pub bpf: bool,
    /// CAP_NET_ADMIN: network programs, and attaching them.
    pub net_admin: bool,
    /// CAP_PERFMON: without it the verifier forbids adding a length read from a packet to a pointer into it, as
    /// headers of variable length need (`sanitize_ptr_alu`, kernel/bpf/verifier.c: "pointer arithmetic with it
    /// prohibited for !root").
    pub perfmon: bool,
}

impl fmt::Display for MissingCapabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.bpf, "CAP_BPF"), (self.net_admin, "CAP_NET_ADMIN"), (self.perfmon, "CAP_PERFMON")];
        let names: Vec<&str> =
            all.into_iter().filter(|(missing, _)| *missing).map(|(_, name)| name).collect();
        match names.split_last() {
            Some((last, [])) => f.write_str(last),
            Some((last, first)) => write!(f, "{} and {last}", first.join(", ")),
            None => f.write_str("nothing"),
        }
    }
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_set() {
        assert_eq!(parse("CapPrm:\t0000000000000001\nCapEff:\t000000c000001000\n"), Some(0xc0_0000_1000));
        assert_eq!(parse("Name: x\n"), None);
    }

    #[test]
    fn says_what_attaching_lacks() {
        let missing = |bits: &[u8]| {
            let set = Effective(bits.iter().fold(0, |set, bit| set | 1 << bit));
            set.missing_to_attach().map(|missing| missing.to_string())
        };
        assert_eq!(missing(&[]).as_deref(), Some("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"));
        assert_eq!(missing(&[12]).as_deref(), Some("CAP_BPF and CAP_PERFMON"));
        assert_eq!(missing(&[12, 39]).as_deref(), Some("CAP_PERFMON"));
        assert_eq!(missing(&[12, 38, 39]), None);
        assert_eq!(missing(&[12, 21]), None, "CAP_SYS_ADMIN implies the newer two");
    }
}
