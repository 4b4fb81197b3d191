//! The capabilities of this thread, as the kernel shows them (capabilities(7)).

use std::fs;

/// A capability that some part of RAUTA needs: its bit in `CapEff` (include/uapi/linux/capability.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Capability {
    /// Ports below 1024.
    NetBindService = 10,
    /// Interfaces, filters, links.
    NetAdmin = 12,
    /// The older, wider form of the next two.
    SysAdmin = 21,
    /// Tracing helpers; pointers in programs.
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
    pub(crate) const fn missing_to_attach(self) -> Option<&'static str> {
        match (self.allows(Capability::Bpf), self.allows(Capability::NetAdmin)) {
            (true, true) => None,
            (false, true) => Some("CAP_BPF"),
            (true, false) => Some("CAP_NET_ADMIN"),
            (false, false) => Some("CAP_BPF and CAP_NET_ADMIN"),
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
        assert_eq!(Effective(0).missing_to_attach(), Some("CAP_BPF and CAP_NET_ADMIN"));
        assert_eq!(Effective(1 << 12).missing_to_attach(), Some("CAP_BPF"));
        assert_eq!(Effective(1 << 39).missing_to_attach(), Some("CAP_NET_ADMIN"));
        assert_eq!(Effective(1 << 39 | 1 << 12).missing_to_attach(), None);
        assert_eq!(Effective(1 << 21 | 1 << 12).missing_to_attach(), None, "CAP_SYS_ADMIN implies CAP_BPF");
    }
}
