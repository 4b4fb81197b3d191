//! Bridges, veth pairs, addresses and routes.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::builder::Offloads;
use super::netns::Netns;
use super::{Lab, run};
use crate::address::Addresses;

/// One end of a wire: an interface in `netns` on the bridge `segment`, and its port there.
struct End<'l> {
    netns: &'l Netns,
    interface: &'static str,
    segment: &'static str,
    port: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    gateway: Option<(Ipv4Addr, Ipv6Addr)>,
}

/// Wires the namespaces of `lab` together.
pub(super) fn connect(lab: &Lab, mtu: u16) -> Result<()> {
    let ends = ends(lab);
    let mut switch = String::from(
        "link add front type bridge\nlink add back type bridge\nlink set front up\nlink set back up\n",
    );
    for End { netns, interface, segment, port, .. } in &ends {
        writeln!(
            switch,
            "link add {port} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {}\nlink set {port} master {segment} up",
            netns.name()
        )?;
    }
    batch(&lab.switch, &switch)?;
    for end in &ends {
        batch(end.netns, &addresses(end))?;
    }
    lab.gateway.run(|| -> std::io::Result<()> {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
    })??;
    Ok(())
}

/// Sets the offloads of every interface, on both ends of each wire.
pub(super) fn set_offloads(lab: &Lab, offloads: Offloads) -> Result<()> {
    let word = |on: bool| if on { "on" } else { "off" };
    let Offloads { tx, tso, gso, gro } = offloads;
    let settings = ["tx", word(tx), "tso", word(tso), "gso", word(gso), "gro", word(gro)];
    for end in ends(lab) {
        for (netns, interface) in [(end.netns, end.interface), (&lab.switch, end.port.as_str())] {
            let mut arguments = vec!["netns", "exec", netns.name(), "ethtool", "-K", interface];
            arguments.extend(settings);
            run("ip", "iproute2", &arguments, None)?;
        }
    }
    Ok(())
}

/// The switch's ports: what leaves by one of them arrives at the namespace behind it.
pub(super) fn ports(lab: &Lab) -> Vec<String> {
    ends(lab).into_iter().map(|end| end.port).collect()
}

fn ends(lab: &Lab) -> Vec<End<'_>> {
    let front = Some((Addresses::GATEWAY, Addresses::GATEWAY_V6));
    let back = Some((Addresses::GATEWAY_BACK, Addresses::GATEWAY_BACK_V6));
    let mut ends = vec![
        End {
            netns: &lab.gateway,
            interface: "front0",
            segment: "front",
            port: "gw-front".into(),
            v4: Addresses::GATEWAY,
            v6: Addresses::GATEWAY_V6,
            gateway: None,
        },
        End {
            netns: &lab.gateway,
            interface: "back0",
            segment: "back",
            port: "gw-back".into(),
            v4: Addresses::GATEWAY_BACK,
            v6: Addresses::GATEWAY_BACK_V6,
            gateway: None,
        },
    ];
    for (index, netns) in (0_u8..).zip(&lab.clients) {
        let (v4, v6) = (Addresses::client(index), Addresses::client_v6(index));
        let port = format!("client{}", index + 1);
        ends.push(End { netns, interface: "eth0", segment: "front", port, v4, v6, gateway: front });
    }
    for (index, netns) in (0_u8..).zip(&lab.backends) {
        let (v4, v6) = (Addresses::backend(index), Addresses::backend_v6(index));
        let port = format!("b{index}");
        ends.push(End { netns, interface: "eth0", segment: "back", port, v4, v6, gateway: back });
    }
    ends
}

fn addresses(end: &End<'_>) -> String {
    let End { interface, v4, v6, .. } = end;
    // Without `nodad` an IPv6 address cannot be bound for a second.
    let mut commands = format!(
        "addr add {v4}/24 dev {interface}\naddr add {v6}/64 dev {interface} nodad\nlink set {interface} up\n"
    );
    if let Some((v4, v6)) = end.gateway {
        commands.push_str(&format!("route add default via {v4}\n-6 route add default via {v6}\n"));
    }
    commands
}

fn batch(netns: &Netns, commands: &str) -> Result<()> {
    // Options are not taken inside a batch, so the families go apart.
    let (v6, v4): (Vec<&str>, Vec<&str>) = commands.lines().partition(|line| line.starts_with("-6 "));
    run("ip", "iproute2", &["-n", netns.name(), "-batch", "-"], Some(&(v4.join("\n") + "\n")))?;
    for line in v6 {
        let mut arguments = vec!["-n", netns.name()];
        arguments.extend(line.split(' '));
        run("ip", "iproute2", &arguments, None)?;
    }
    Ok(())
}
