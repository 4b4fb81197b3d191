//! The interfaces that programs would see packets on.

use super::{Report, Row, State};
use crate::{
    ethtool,
    interfaces::{self, Interface},
    links::{self, XdpAttached},
};

pub(super) fn check(report: &mut Report, named: &[String]) {
    let chosen = match interfaces::choose(named) {
        Ok(chosen) => chosen,
        Err(error) => {
            report.push(
                Row::new("interface", named.join(", "), State::Missing, error.to_string())
                    .effect("kernel programs have nothing to attach to"),
            );
            return;
        }
    };
    for interface in &chosen {
        report.push(row(interface));
    }
}

fn row(interface: &Interface) -> Row {
    let link = links::link(interface.index);
    let driver = ethtool::driver(&interface.name).unwrap_or_else(|| "unknown".into());
    let mtu = link.map_or_else(|| "unknown".into(), |link| link.mtu.to_string());
    let native = match links::has_native_xdp(interface.index) {
        Some(true) => "native",
        Some(false) => "generic only",
        None => "unknown, the kernel cannot say",
    };
    let attached = link.map_or(XdpAttached::None, |link| link.xdp);
    let taken = match attached {
        XdpAttached::None => "",
        XdpAttached::Native => ", taken by a native program",
        XdpAttached::Generic => ", taken by a generic program",
        XdpAttached::Offloaded => ", taken by an offloaded program",
        XdpAttached::Several => ", taken by several programs",
    };
    let up = if interface.up { "" } else { ", down" };
    let detail = format!("driver {driver}, MTU {mtu}, XDP {native}{taken}{up}");
    let row = Row::new(
        "interface",
        &interface.name,
        if interface.up { State::Ok } else { State::Degraded },
        detail,
    );
    match (interface.up, attached) {
        (false, _) => row.effect("no packets arrive").mend(format!("ip link set {} up", interface.name)),
        (true, _) => row,
    }
}
