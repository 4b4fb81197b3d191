//! A faulty network: loss, duplication and reordering on every wire of a lab, by a small tc program of its own.
//!
//! Kernels without netem (and without any qdisc that delays) leave this way to reorder: the packet is redirected into
//! a spare veth pair whose token bucket is kept empty by a copy that goes before it, and put back on its way behind
//! packets that were sent after it.

pub(crate) mod bpf;
pub(crate) mod program;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;

use crate::lab::Lab;
use crate::{Netns, exec};
use bpf::{Counters, Link, Program};

/// One end of the wire that delays packets, and the other.
const DELAY: (&str, &str) = ("delay0", "delay1");

/// A full-sized packet waits 0.4 ms in the delaying wire, a 64 KiB one 13 ms: well behind its successors, well before any
/// retransmission timer.
const DELAY_RATE: &str = "40mbit";

/// What happens to TCP packets on each wire of the lab: each value is a probability, drawn for each packet alone. A
/// request and its answer pass four wires. Other protocols (ARP, ICMP) pass untouched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// The packet vanishes. A packet of 64 KiB (offloads on) vanishes as a whole.
    pub loss: f64,
    /// The packet comes twice.
    pub duplicate: f64,
    /// The packet comes late, after some that were sent behind it.
    pub reorder: f64,
}

/// How many packets met each fault so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Packets that vanished.
    pub lost: u64,
    /// Packets that came twice.
    pub duplicated: u64,
    /// Packets that came late.
    pub reordered: u64,
}

/// The network is faulty for as long as this lives.
#[derive(Debug)]
pub struct FaultyNetwork {
    switch: Netns,
    counters: Counters,
    // Each detaches its program when it is dropped.
    _links: Vec<Link>,
}

impl FaultyNetwork {
    /// Attaches the injector behind every port of the lab's switch.
    pub(crate) fn start(lab: &Lab, faults: Faults, ports: &[String]) -> Result<Self> {
        let switch = lab.switch().clone();
        for (program, arguments) in delaying_wire() {
            let mut command = Command::new(program);
            command.args(arguments);
            let output = exec(Some(&switch), command, Duration::from_secs(10))?;
            ensure!(
                output.status.success(),
                "`{program} {}` failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let counters = Counters::new().context("cannot make the injector's counters")?;
        let links = switch.run(|| attach(faults, ports, &counters))??;
        Ok(Self { switch, counters, _links: links })
    }

    /// How often each fault has struck.
    ///
    /// # Errors
    /// The kernel refuses to read its own counters.
    pub fn counts(&self) -> Result<FaultCounts> {
        let [lost, duplicated, reordered] = self.counters.read()?;
        Ok(FaultCounts { lost, duplicated, reordered })
    }
}

impl Drop for FaultyNetwork {
    fn drop(&mut self) {
        let mut command = Command::new("ip");
        command.args(["link", "del", DELAY.0]);
        // It goes with the lab at the latest.
        let _ = exec(Some(&self.switch), command, Duration::from_secs(10));
    }
}

fn delaying_wire() -> [(&'static str, &'static [&'static str]); 4] {
    [
        ("ip", &["link", "add", DELAY.0, "type", "veth", "peer", "name", DELAY.1]),
        ("ip", &["link", "set", DELAY.0, "up"]),
        ("ip", &["link", "set", DELAY.1, "up"]),
        // A bucket of one packet: `mpu` makes a bare ACK as long as any.
        (
            "tc",
            &[
                "qdisc", "add", "dev", DELAY.0, "root", "tbf", "rate", DELAY_RATE, "burst", "2000", "mpu",
                "2000", "limit", "4000000",
            ],
        ),
    ]
}

/// Runs in the switch's namespace.
fn attach(faults: Faults, ports: &[String], counters: &Counters) -> Result<Vec<Link>> {
    let delay = if_nametoindex(DELAY.0)?;
    let injector = Program::load("faults", &program::injector(faults, delay, counters.map()))?;
    let returner = Program::load("faults_return", &program::returner())?;
    let mut links = vec![Link::ingress(&returner, if_nametoindex(DELAY.1)?)?];
    for port in ports {
        let index = if_nametoindex(port.as_str()).with_context(|| format!("no port {port}"))?;
        links.push(Link::egress(&injector, index)?);
    }
    Ok(links)
}
