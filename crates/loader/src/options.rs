//! What the operator chooses, and what came of it.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use thiserror::Error;

/// As many as the maps of the object have room for.
#[expect(clippy::cast_possible_truncation, reason = "far below")]
const FLOWS_MAX: u32 = wire::FLOWS_MAX as u32;
#[expect(clippy::cast_possible_truncation, reason = "far below")]
const FLOW_CACHE_MAX: u32 = wire::FLOW_CACHE_MAX as u32;

/// How to start the kernel programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Folder on a bpf file system; the layout version (`v3`) is a folder inside it. Agents that share a host and its
    /// bpf file system need one each.
    pub pin_root: PathBuf,
    /// Names of the interfaces to attach to; empty: every Ethernet interface that is up, but loopback.
    pub interfaces: Vec<String>,
    /// The hook.
    pub hook: Hook,
    /// Where XDP programs run.
    pub xdp_mode: XdpMode,
    /// Whether to try tcx (Linux 6.6) before clsact. Off only to test the fallback on a kernel that has both.
    pub tcx: bool,
    /// Whether to call the kernel functions that hand-off needs (Linux 6.9), where the kernel has them. Off only to test what an
    /// older kernel gets.
    pub kernel_functions: bool,
    /// How many client connections the kernel can splice at once; more are userspace's.
    pub max_flows: u32,
    /// How many routes have responses and times counted by themselves.
    pub counted_routes: u32,
    /// How many endpoints have.
    pub counted_endpoints: u32,
    /// How many clients the kernel remembers that keep their endpoint.
    pub affinity_entries: u32,
    /// How many entries tables of routes have room for, by name, where that is not what the object gives them.
    pub tables: BTreeMap<&'static str, u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pin_root: PathBuf::from("/sys/fs/bpf/rauta"),
            interfaces: Vec::new(),
            hook: Hook::Auto,
            xdp_mode: XdpMode::Auto,
            tcx: true,
            kernel_functions: true,
            max_flows: FLOWS_MAX,
            counted_routes: 0,
            counted_endpoints: 0,
            affinity_entries: FLOW_CACHE_MAX,
            tables: BTreeMap::new(),
        }
    }
}

/// Where programs see packets (`dataplane.hook`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Hook {
    /// XDP before TC on cards known to work with it, of which there are none yet; TC alone elsewhere.
    #[default]
    Auto,
    /// TC ingress.
    Tc,
    /// XDP wherever it works, and TC behind it.
    Xdp,
    /// No kernel programs.
    Off,
}

impl Hook {
    /// The name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Hook {
    type Err = HookError;

    fn from_str(name: &str) -> Result<Self, HookError> {
        [Self::Auto, Self::Tc, Self::Xdp, Self::Off]
            .into_iter()
            .find(|hook| hook.as_str() == name)
            .ok_or(HookError)
    }
}

/// Not the name of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a hook: use auto, tc, xdp or off")]
pub struct HookError;

/// Where XDP programs run (`dataplane.xdpMode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In front of the stack, in socket buffers ("generic"). Slower than TC; works with every driver.
    Skb,
    /// On the card. None has what the programs need.
    Hw,
}

impl XdpMode {
    const ALL: [Self; 4] = [Self::Auto, Self::Native, Self::Skb, Self::Hw];

    /// The name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Skb => "skb",
            Self::Hw => "hw",
        }
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for XdpMode {
    type Err = XdpModeError;

    fn from_str(name: &str) -> Result<Self, XdpModeError> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name).ok_or(XdpModeError)
    }
}

/// Not the name of a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a mode: use auto, native, skb or hw")]
pub struct XdpModeError;

/// A program on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// Its index; 0 where it is not known.
    pub index: u32,
    /// How it hangs there.
    pub mechanism: Mechanism,
    /// The pinned link that keeps it there; `None` with clsact, which has no links.
    pub pin: Option<PathBuf>,
    /// Where the XDP program runs that is before it there, if one is.
    pub xdp: Option<XdpMode>,
}

/// How a TC program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// A BPF link in the multi-program hook (Linux 6.6), before all others there.
    Tcx,
    /// A filter of the clsact qdisc, priority 1.
    Clsact,
}

impl Mechanism {
    /// The name in logs and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_read_back_as_written_and_nothing_else_is_one() {
        for hook in [Hook::Auto, Hook::Tc, Hook::Xdp, Hook::Off] {
            assert_eq!(hook.to_string().parse(), Ok(hook));
        }
        assert_eq!("TC".parse::<Hook>(), Err(HookError));
        assert_eq!("".parse::<Hook>(), Err(HookError));
        for mode in XdpMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!("generic".parse::<XdpMode>(), Err(XdpModeError));
    }
}
