//! The XDP program in the other mode, beside other programs and devices, and over the agent's death.

use std::process::Command;
use std::time::{Duration, Instant};

use testkit::{Addresses, Lab, Neighbour, Order, Verdict, exec, until};

use crate::world::{Network, World};
use crate::xdp::decided;

on_two_networks!(
    generic_mode_serves,
    a_connection_outlives_the_agent,
    where_another_program_comes_first_at_tc_there_is_no_xdp,
    a_veth_pair_inside_the_gateway_is_no_circle,
);
mod joined {
    #[test]
    fn notes_of_joined_segments_arrive_v4() {
        super::notes_of_joined_segments_arrive(super::Network::V4_WIRE);
    }
    #[test]
    fn notes_of_joined_segments_arrive_v6() {
        super::notes_of_joined_segments_arrive(super::Network::V6_WIRE);
    }
}

/// In front of the stack, where large packets and checksums that are left to a device come by, too.
fn generic_mode_serves(network: Network) {
    let world = World::early(network, &[("RAUTA_DATAPLANE_XDP_MODE", "skb")]);
    let before = decided(&world);
    world.decides(12, || {
        for _ in 0..3 {
            let mut connection = world.connect();
            for (path, endpoint) in [("/a", "b0"), ("/b", "b1"), ("/b/2", "b1"), ("/a/2", "b0")] {
                assert_eq!(connection.get("a.test", path).unwrap().endpoint(), Some(endpoint), "{path}");
            }
        }
    });
    assert_eq!(decided(&world) > before, !network.offloads.tx);
}

/// An agent that dies leaves both programs at work, and the next one takes both over.
fn a_connection_outlives_the_agent(network: Network) {
    let mut world = World::early(network, &[]);
    let mut connection = world.connect();
    assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    world.gateway.process().kill().unwrap();
    assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    world.restart();
    world.wait_for_the_kernel();
    let before = decided(&world);
    world.decides(2, || {
        for (path, endpoint) in [("/a", "b0"), ("/b", "b1")] {
            assert_eq!(connection.get("a.test", path).unwrap().endpoint(), Some(endpoint));
        }
    });
    assert_eq!(decided(&world) > before, !network.offloads.tx, "{}", world.gateway.metrics().unwrap());
    let text = world.gateway.cli(&["status"]).unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("front0 (native XDP, tcx)"), "{text}");
}

/// What XDP leaves to TC would never come to our program there.
fn where_another_program_comes_first_at_tc_there_is_no_xdp(network: Network) {
    let world = World::early(network, &[]);
    let attachments = || {
        let text = world.gateway.cli(&["status"]).unwrap();
        String::from_utf8(text.stdout).unwrap()
    };
    assert!(attachments().contains("front0 (native XDP, tcx)"), "{}", attachments());
    let _neighbour = Neighbour::attach(world.lab.gateway(), "front0", Order::First, Verdict::Pass).unwrap();
    until(Duration::from_secs(20), "XDP to be taken away", || {
        attachments().contains("front0 (tcx)").then_some(())
    })
    .unwrap();
    assert!(attachments().contains("back0 (native XDP, tcx)"), "{}", attachments());
    // It takes all: userspace serves.
    assert_eq!(world.get("/a").endpoint(), Some("b0"));
}

/// `ip` in the gateway's namespace.
fn ip(lab: &Lab, arguments: &str) {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    let output = exec(Some(lab.gateway()), command, Duration::from_secs(30)).unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The gateway's own address stands on a veth whose peer is a port of its bridge, as hosts of virtual machines have it: what TC sends
/// by the one, as XDP has noted, comes in by the other, with the note still in front of it.
fn a_veth_pair_inside_the_gateway_is_no_circle(network: Network) {
    let lab = network.lab();
    let (v4, v6) = (Addresses::GATEWAY_BACK, Addresses::GATEWAY_BACK_V6);
    for arguments in [
        "link add bridge0 type bridge mcast_snooping 0",
        "link add inner type veth peer name outer",
        "addr flush dev back0",
        "link set back0 master bridge0",
        "link set outer master bridge0",
        &format!("addr add {v4}/24 dev inner"),
        &format!("addr add {v6}/64 dev inner nodad"),
        "link set bridge0 up",
        "link set outer up",
        "link set inner up",
    ] {
        ip(&lab, arguments);
    }
    let world = World::early_in(network, lab);
    let before = decided(&world);
    world.decides(4, || {
        let mut connection = world.connect();
        for (path, endpoint) in [("/a", "b0"), ("/b", "b1"), ("/b/2", "b1"), ("/a/2", "b0")] {
            assert_eq!(connection.get("a.test", path).unwrap().endpoint(), Some(endpoint), "{path}");
        }
    });
    assert_eq!(decided(&world) > before, !network.offloads.tx, "{}", world.gateway.metrics().unwrap());
}

/// The gateway joins what endpoints send, each segment with a note, since the clients' device takes no frames from XDP: as many arrive at TC
/// as were left, and XDP stays.
fn notes_of_joined_segments_arrive(network: Network) {
    let lab = network.lab();
    let mut command = Command::new("ethtool");
    command.args(["-K", "back0", "gro", "on"]);
    assert!(exec(Some(lab.gateway()), command, Duration::from_secs(30)).unwrap().status.success());
    let world = World::early_in(network, lab);
    let before = decided(&world);
    let mut connection = world.connect();
    // The agent looks each second.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        assert_eq!(connection.get("a.test", "/1m").unwrap().body.len(), 1_000_000);
    }
    assert!(decided(&world) - before > 700.0, "{}", world.gateway.metrics().unwrap());
    let text = String::from_utf8(world.gateway.cli(&["status"]).unwrap().stdout).unwrap();
    assert!(text.contains("back0 (native XDP, tcx), front0 (native XDP, tcx)"), "{text}");
}
