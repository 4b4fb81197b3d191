//! The XDP program before that of TC: who decides, who sends, and that what XDP leaves to TC comes to the same.

use std::process::Command;
use std::time::{Duration, Instant};

use testkit::{Addresses, Lab, Neighbour, Offloads, Order, RawHost, Segment, Verdict, exec, flag, until};

use crate::world::{Network, World};

/// Whole checksums, and peers that take frames from XDP: on veth those that join segments on receipt.
const SENDS: Offloads = Offloads { gro: true, ..Offloads::OFF };

const V4_SENDS: Network = Network { offloads: SENDS, ..Network::V4_WIRE };
const V6_SENDS: Network = Network { offloads: SENDS, ..Network::V6_WIRE };

on_every_network!(
    requests_of_a_connection_are_answered,
    what_is_handed_off_is_answered,
    generic_mode_serves,
    a_syn_without_options_is_answered,
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
mod v4_sends {
    #[test]
    fn requests_of_a_connection_are_answered() {
        super::requests_of_a_connection_are_answered(super::V4_SENDS);
    }
    #[test]
    fn what_is_handed_off_is_answered() {
        super::what_is_handed_off_is_answered(super::V4_SENDS);
    }
}
mod v6_sends {
    #[test]
    fn requests_of_a_connection_are_answered() {
        super::requests_of_a_connection_are_answered(super::V6_SENDS);
    }
    #[test]
    fn what_is_handed_off_is_answered() {
        super::what_is_handed_off_is_answered(super::V6_SENDS);
    }
}

/// Packets that a hook has decided.
fn decided(world: &World, tier: u8) -> f64 {
    world.gateway.metric(&format!("rauta_datapath_packets_tier{tier}_total"), "").unwrap()
}

/// Frames that XDP took off a device and sent to another, as its driver counts them.
fn redirected(world: &World, device: &str) -> u64 {
    let mut command = Command::new("ethtool");
    command.args(["-S", device]);
    let output = exec(Some(world.lab.gateway()), command, Duration::from_secs(30)).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let counts = text.lines().filter(|line| line.contains("xdp_redirect:"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// New connections and kept ones, the same leg and another, bodies of many segments in both directions.
fn requests_of_a_connection_are_answered(network: Network) {
    let world = World::early(network, &[]);
    let (before, sent) = (decided(&world, 1), redirected(&world, "back0"));
    world.decides(30, || {
        for _ in 0..5 {
            let mut connection = world.connect();
            for (path, endpoint) in
                [("/a", "b0"), ("/b", "b1"), ("/b/2", "b1"), ("/a/2", "b0"), ("/a/3", "b0"), ("/b", "b1")]
            {
                assert_eq!(connection.get("a.test", path).unwrap().endpoint(), Some(endpoint), "{path}");
            }
        }
    });
    // What a host leaves to its device is seen by TC alone.
    let is_early = decided(&world, 1) > before;
    assert_eq!(is_early, !network.offloads.tx, "{}", world.gateway.metrics().unwrap());
    let is_sent = redirected(&world, "back0") > sent;
    assert_eq!(is_sent, network.offloads == SENDS, "by XDP itself");
}

/// Userspace gets the connection from TC, with what came behind the request. Where the device joins segments, as cards do, nothing
/// overtakes the request, and nothing is sent twice; without, TC sees up to eight of them before the stack sees the first.
fn what_is_handed_off_is_answered(network: Network) {
    let world = World::early(network, &[]);
    let body = "x".repeat(20_000);
    let before = decided(&world, 1);
    let expected = [("drop_hand_off", 0), ("drop_early", 0)];
    world.counts(&expected[..if network.offloads.gro { 2 } else { 1 }], || {
        let mut connection = world.connect();
        world.hands_off_for("too_long", 1, || {
            let head = format!("POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len());
            connection.send(format!("{head}{body}").as_bytes()).unwrap();
            assert_eq!(connection.response("POST").unwrap().endpoint(), Some("b1"));
            assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
        });
        // In the middle of a connection.
        let mut connection = world.connect();
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
        world.hands_off_for("undecidable", 1, || {
            let request =
                format!("POST /%62 HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            connection.send(request.as_bytes()).unwrap();
            assert_eq!(connection.response("POST").unwrap().endpoint(), Some("b0"));
        });
    });
    // What a host leaves to its device is seen by TC alone.
    let is_early = decided(&world, 1) > before;
    assert_eq!(is_early, !network.offloads.tx, "{}", world.gateway.metrics().unwrap());
}

/// In front of the stack, where large packets and checksums that are left to a device come by, too.
fn generic_mode_serves(network: Network) {
    let world = World::early(network, &[("RAUTA_DATAPLANE_XDP_MODE", "skb")]);
    let before = decided(&world, 1);
    world.decides(12, || {
        for _ in 0..3 {
            let mut connection = world.connect();
            for (path, endpoint) in [("/a", "b0"), ("/b", "b1"), ("/b/2", "b1"), ("/a/2", "b0")] {
                assert_eq!(connection.get("a.test", path).unwrap().endpoint(), Some(endpoint), "{path}");
            }
        }
    });
    assert_eq!(decided(&world, 1) > before, !network.offloads.tx);
}

/// A frame may have no room for the options of the answer: then it is TC's, and no less answered in the kernel.
fn a_syn_without_options_is_answered(network: Network) {
    let world = World::early(network, &[]);
    let host = RawHost::new(&world.lab).unwrap();
    let local = host.address(world.address(), 4610);
    let answer = world.counts(&[("syn_cookie", 1)], || {
        host.send(&Segment::new(local, world.address(), flag::SYN, 9, 0)).unwrap();
        host.receive(local, Duration::from_secs(5)).unwrap().expect("an answer")
    });
    assert_eq!((answer.flags, answer.ack), (flag::SYN | flag::ACK, 10));
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
    let before = decided(&world, 1);
    world.decides(2, || {
        for (path, endpoint) in [("/a", "b0"), ("/b", "b1")] {
            assert_eq!(connection.get("a.test", path).unwrap().endpoint(), Some(endpoint));
        }
    });
    assert_eq!(decided(&world, 1) > before, !network.offloads.tx, "{}", world.gateway.metrics().unwrap());
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
    let before = decided(&world, 1);
    world.decides(4, || {
        let mut connection = world.connect();
        for (path, endpoint) in [("/a", "b0"), ("/b", "b1"), ("/b/2", "b1"), ("/a/2", "b0")] {
            assert_eq!(connection.get("a.test", path).unwrap().endpoint(), Some(endpoint), "{path}");
        }
    });
    assert_eq!(decided(&world, 1) > before, !network.offloads.tx, "{}", world.gateway.metrics().unwrap());
}

/// The gateway joins what endpoints send, each segment with a note, since the clients' device takes no frames from XDP: as many arrive at TC
/// as were left, and XDP stays.
fn notes_of_joined_segments_arrive(network: Network) {
    let lab = network.lab();
    let mut command = Command::new("ethtool");
    command.args(["-K", "back0", "gro", "on"]);
    assert!(exec(Some(lab.gateway()), command, Duration::from_secs(30)).unwrap().status.success());
    let world = World::early_in(network, lab);
    let before = decided(&world, 1);
    let mut connection = world.connect();
    // The agent looks each second.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        assert_eq!(connection.get("a.test", "/1m").unwrap().body.len(), 1_000_000);
    }
    assert!(decided(&world, 1) - before > 700.0, "{}", world.gateway.metrics().unwrap());
    let text = String::from_utf8(world.gateway.cli(&["status"]).unwrap().stdout).unwrap();
    assert!(text.contains("back0 (native XDP, tcx), front0 (native XDP, tcx)"), "{text}");
}
