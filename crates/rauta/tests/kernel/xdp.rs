//! The XDP program before that of TC: who decides, who sends, and that what XDP leaves to TC comes to the same.

use std::process::Command;
use std::time::Duration;

use testkit::{Offloads, RawHost, Segment, exec, flag};

use crate::world::{Network, World};

/// Whole checksums, and peers that take frames from XDP: on veth those that join segments on receipt.
const SENDS: Offloads = Offloads { gro: true, ..Offloads::OFF };

const V4_SENDS: Network = Network { offloads: SENDS, ..Network::V4_WIRE };
const V6_SENDS: Network = Network { offloads: SENDS, ..Network::V6_WIRE };

on_every_network!(
    requests_of_a_connection_are_answered,
    what_is_handed_off_is_answered,
    a_syn_without_options_is_answered,
);
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

/// Packets that XDP has decided.
pub(crate) fn decided(world: &World) -> f64 {
    world.gateway.metric("rauta_datapath_packets_tier1_total", "").unwrap()
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
    let (before, sent) = (decided(&world), redirected(&world, "back0"));
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
    let is_early = decided(&world) > before;
    assert_eq!(is_early, !network.offloads.tx, "{}", world.gateway.metrics().unwrap());
    let is_sent = redirected(&world, "back0") > sent;
    assert_eq!(is_sent, network.offloads == SENDS, "by XDP itself");
}

/// Userspace gets the connection from TC, with what came behind the request. Where the device joins segments, as cards do, nothing
/// overtakes the request, and nothing is sent twice; without, TC sees up to eight of them before the stack sees the first.
fn what_is_handed_off_is_answered(network: Network) {
    let world = World::early(network, &[]);
    let body = "x".repeat(20_000);
    let before = decided(&world);
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
    let is_early = decided(&world) > before;
    assert_eq!(is_early, !network.offloads.tx, "{}", world.gateway.metrics().unwrap());
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
