use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;

use crate::faults::bpf::{Counters, Link, Program};
use crate::faults::program::verdict_on_tcp;
use crate::{Lab, Netns, exec};

/// What a [`Neighbour`] says of TCP packets (enum `tcx_action_base` of include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next program decides.
    Next = -1,
    /// The stack gets it, and no other program sees it.
    Pass = 0,
    /// It is dropped.
    Drop = 2,
}

/// A filter of somebody else in an interface's clsact ingress, as there were before tcx, for as long as the interface lives. It
/// counts TCP packets and says the same of each.
#[derive(Debug)]
pub struct Filter {
    counters: Counters,
}

impl Filter {
    /// Adds it to `interface` of the gateway, at this priority; the least comes first. The hook is made where there is none.
    ///
    /// # Errors
    /// There is no such interface, the place is taken, or `tc` is missing.
    pub fn add(lab: &Lab, interface: &str, priority: u16, verdict: Verdict) -> Result<Self> {
        let counters = Counters::new()?;
        let program = Program::load("somebodys", &verdict_on_tcp(verdict as i32, counters.map()))?;
        let path = lab.bpffs()?.join(format!("{interface}-{priority}"));
        program.pin(&path)?;
        let tc = |arguments: &str| {
            let mut command = Command::new("tc");
            command.args(arguments.split(' '));
            exec(Some(lab.gateway()), command, Duration::from_secs(10))
        };
        // Fails where it is there already; then the filter finds it.
        tc(&format!("qdisc add dev {interface} clsact"))?;
        let pinned = path.display();
        let output = tc(&format!(
            "filter add dev {interface} ingress pref {priority} bpf object-pinned {pinned} direct-action"
        ))?;
        std::fs::remove_file(&path)?;
        ensure!(output.status.success(), "tc filter: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { counters })
    }

    /// How many TCP packets it has seen.
    ///
    /// # Errors
    /// The kernel refuses to read its own counter.
    pub fn seen(&self) -> Result<u64> {
        Ok(self.counters.read()?[0])
    }
}

/// Where a [`Neighbour`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Before all programs that are there.
    First,
    /// Behind them.
    Last,
}

/// A program of somebody else (a network plugin, a firewall) at an interface's tcx ingress, for as long as this lives. It
/// counts TCP packets and says the same of each.
#[derive(Debug)]
pub struct Neighbour {
    counters: Counters,
    _link: Link,
}

impl Neighbour {
    /// Attaches it to `interface` in `netns`.
    ///
    /// # Errors
    /// There is no such interface, or the kernel has no tcx hook (Linux 6.6).
    pub fn attach(netns: &Netns, interface: &str, order: Order, verdict: Verdict) -> Result<Self> {
        Self::named("neighbour", netns, interface, order, verdict)
    }

    /// The same under another name, of up to 15 characters.
    ///
    /// # Errors
    /// As [`Neighbour::attach`].
    pub fn named(name: &str, netns: &Netns, interface: &str, order: Order, verdict: Verdict) -> Result<Self> {
        let counters = Counters::new()?;
        let program = Program::load(name, &verdict_on_tcp(verdict as i32, counters.map()))?;
        let link = netns.run(|| -> Result<Link> {
            let index = if_nametoindex(interface).with_context(|| format!("no interface {interface}"))?;
            Ok(match order {
                Order::First => Link::ingress_first(&program, index)?,
                Order::Last => Link::ingress(&program, index)?,
            })
        })??;
        Ok(Self { counters, _link: link })
    }

    /// How many TCP packets it has seen.
    ///
    /// # Errors
    /// The kernel refuses to read its own counter.
    pub fn seen(&self) -> Result<u64> {
        Ok(self.counters.read()?[0])
    }
}
