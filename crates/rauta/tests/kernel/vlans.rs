//! Frames with VLAN tags (IEEE 802.1Q): they are of another network than the device that they come in by.

use std::process::Command;
use std::time::Duration;

use testkit::{Lab, Netns, Options, RawHost, Segment, exec, flag};

use crate::attacks::{assert_lives, served};
use crate::options::{LIMIT, get};
use crate::world::{Network, World, hook};

on_every_network!(frames_of_a_vlan_are_left_to_its_device);

/// The frame in these VLANs, the outermost first.
fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

/// What the programs would have counted of them.
fn counted(world: &World) -> Vec<String> {
    let metrics = world.gateway.metrics().unwrap();
    let reasons = ["syn_cookie", "reset", "challenged", "pass_shape", "drop_checksum"];
    let is_one = |line: &&str| reasons.iter().any(|reason| line.contains(&format!("reason=\"{reason}\"")));
    metrics.lines().filter(is_one).map(str::to_owned).collect()
}

/// A world whose wires carry tags in frames where XDP is to see them: what a card takes off is the operator's to see to
/// (`docs/guide/kernel.md`, `rx-vlan-hw-parse`).
fn world(network: Network) -> World {
    if hook() != "xdp" {
        return World::new(network);
    }
    let lab: Lab = network.lab();
    let set = |netns: &Netns, device: &str, feature: &str| {
        let mut command = Command::new("ethtool");
        command.args(["-K", device, feature, "off"]);
        assert!(exec(Some(netns), command, LIMIT).unwrap().status.success(), "{device} {feature}");
    };
    set(lab.gateway(), "front0", "rxvlan");
    set(lab.switch(), "gw-front", "txvlan");
    World::early_in(network, lab)
}

fn frames_of_a_vlan_are_left_to_its_device(network: Network) {
    let world = world(network);
    let host = RawHost::new(&world.lab).unwrap();
    let mut connection = served(&world, &host, 4800);
    let local = host.address(world.address(), 4801);
    let syn = Segment::new(local, world.address(), flag::SYN, 9, 0);
    let before = counted(&world);
    for tags in [&[[0x81, 0, 0, 7]][..], &[[0x88, 0xa8, 0, 3], [0x81, 0, 0, 7]]] {
        // As if they were of the connection, and a new one.
        for segment in [
            connection.segment(flag::RST, b""),
            connection.segment(flag::FIN | flag::ACK, b""),
            connection.segment(flag::ACK | flag::PSH, &get("/user/evil")),
            Segment { options: Options::LINUX.to_vec(), ..syn.clone() },
        ] {
            host.send_frame(&tagged(&host.frame(&segment), tags)).unwrap();
        }
    }
    for local in [local, connection.local] {
        assert_eq!(host.receive(local, Duration::from_millis(200)).unwrap(), None);
    }
    assert_eq!(counted(&world), before);
    assert_lives(&host, &mut connection);
}
