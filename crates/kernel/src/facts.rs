use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::Why;

/// What the compiler needs to know of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether the kernel may forward at all; otherwise userspace serves everything.
    pub forwarding: bool,
    /// Why userspace serves every request, though the kernel may forward: what the settings ask for each of them.
    pub userspace: Option<Why>,
    /// Whether the writer of the tables waits behind new names of headers ([`crate::behind_names`]), so that routes may use them at once.
    pub names_at_once: bool,
    /// Addresses of this host that stand for listeners without addresses. Loopback ones are left out.
    pub addresses: Vec<IpAddr>,
    /// Sockets of listeners, by address (none: all) and port, that this host does not let us have: what comes there is another program's.
    pub closed: BTreeSet<(Option<IpAddr>, u16)>,
    /// How packets get to the addresses of endpoints; one that is missing cannot be reached.
    pub endpoints: HashMap<IpAddr, Reach>,
}

/// How packets get to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Through the kernel tier: every device that replies can take has its hook.
    From {
        /// Our address.
        source: IpAddr,
        /// Index of the device that its route leaves by.
        device: u32,
    },
    /// It lives on this host itself: replies never enter by a device.
    HostLocal,
    /// A device that replies can take has no hook yet.
    NoHook,
    /// Network policy is enforced on its device, which redirected packets would pass by.
    Policy,
    /// There is no way.
    NoRoute,
}
