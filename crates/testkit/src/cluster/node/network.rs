//! Addresses and wires of nodes and Pods.
//!
//! ```text
//!  control 10.90.0.1 ── nodes ──┬── 10.90.0.10 node0 10.91.0.1 ── pods ──┬── 10.91.0.2 Pod
//!                               └── 10.90.0.11 node1 …                    └── 10.91.0.3 Pod
//! ```
//!
//! Each has an IPv6 address like it: `fd00:90::a`, `fd00:91:0:0::2`.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::Netns;
use crate::lab::run;

/// The control plane's addresses among the nodes.
pub(in crate::cluster) const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 1);
const CONTROL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x90, 0, 0, 0, 0, 0, 1);

/// Addresses of a node.
pub(super) fn node_addresses(node: u8) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(10, 90, 0, 10 + node), Ipv6Addr::new(0xfd00, 0x90, 0, 0, 0, 0, 0, 10 + u16::from(node)))
}

/// Addresses of Pod `index` of a node; 1 is the node's own.
pub(super) fn pod_addresses(node: u8, index: u8) -> (Ipv4Addr, Ipv6Addr) {
    let v6 = Ipv6Addr::new(0xfd00, 0x91, 0, u16::from(node), 0, 0, 0, u16::from(index));
    (Ipv4Addr::new(10, 91, node, index), v6)
}

/// Makes the bridge of the nodes in the control plane's namespace.
pub(in crate::cluster) fn control(control: &Netns) -> Result<()> {
    batch(
        control,
        &format!(
            "link add nodes type bridge
link set nodes up
addr add {CONTROL}/24 dev nodes
addr add {CONTROL_V6}/64 dev nodes nodad
"
        ),
    )?;
    forward(control)
}

/// Wires the namespace of `node` to the control plane's and makes the bridge of its Pods.
pub(super) fn node(control: &Netns, netns: &Netns, node: u8) -> Result<()> {
    let (v4, v6) = node_addresses(node);
    let (pods_v4, pods_v6) = pod_addresses(node, 1);
    let (net_v4, net_v6) = pod_addresses(node, 0);
    let name = netns.name();
    batch(
        control,
        &format!(
            "link add node{node} type veth peer name eth0 netns {name}
link set node{node} master nodes
link set node{node} up
"
        ),
    )?;
    batch(
        netns,
        &format!(
            "link set eth0 up
addr add {v4}/24 dev eth0
addr add {v6}/64 dev eth0 nodad
route add default via {CONTROL}
link add pods type bridge
link set pods up
addr add {pods_v4}/24 dev pods
addr add {pods_v6}/64 dev pods nodad
"
        ),
    )?;
    forward(netns)?;
    route_v6(netns, &format!("default via {CONTROL_V6}"))?;
    batch(control, &format!("route add {net_v4}/24 via {v4}\n"))?;
    route_v6(control, &format!("{net_v6}/64 via {v6}"))
}

/// Wires the namespace `pod` to the bridge of its node.
pub(super) fn pod(node_netns: &Netns, pod: &Netns, node: u8, index: u8) -> Result<()> {
    let (v4, v6) = pod_addresses(node, index);
    let (gateway, gateway_v6) = pod_addresses(node, 1);
    let name = pod.name();
    batch(
        node_netns,
        &format!(
            "link add pod{index} type veth peer name eth0 netns {name}
link set pod{index} master pods
link set pod{index} up
"
        ),
    )?;
    batch(
        pod,
        &format!(
            "link set eth0 up
addr add {v4}/24 dev eth0
addr add {v6}/64 dev eth0 nodad
route add default via {gateway}
"
        ),
    )?;
    route_v6(pod, &format!("default via {gateway_v6}"))
}

fn forward(netns: &Netns) -> Result<()> {
    netns.sysctl("net/ipv4/ip_forward", "1")?;
    netns.sysctl("net/ipv4/conf/all/send_redirects", "0")?;
    netns.sysctl("net/ipv6/conf/all/forwarding", "1")
}

fn batch(netns: &Netns, commands: &str) -> Result<()> {
    run("ip", "iproute2", &["-n", netns.name(), "-batch", "-"], Some(commands))
}

/// A batch takes no option for the family.
fn route_v6(netns: &Netns, route: &str) -> Result<()> {
    let mut arguments = vec!["-n", netns.name(), "-6", "route", "add"];
    arguments.extend(route.split(' '));
    run("ip", "iproute2", &arguments, None)
}
