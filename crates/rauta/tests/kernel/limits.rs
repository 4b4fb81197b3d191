//! What is finite in the kernel: connections and ports. What does not fit is userspace's (attack X-11).

use testkit::{Connection, until};

use crate::options::LIMIT;
use crate::world::{Network, World};

on_two_networks!(
    connections_beyond_the_kernels_table_are_served,
    connections_beyond_the_ports_for_legs_are_served,
);

/// Opens more connections than there is room for. Each is the kernel's or, for `reason` and nothing else, userspace's.
fn open_all(world: &World, reason: &str) -> Vec<Connection> {
    const COUNT: u32 = 1500;
    let (bound, no_room) = (world.counted("bound"), world.counted(reason));
    let connections = world.hands_off(|| open(world, COUNT as usize));
    if world.hook != "off" {
        let (bound, no_room) = (world.counted("bound") - bound, world.counted(reason) - no_room);
        assert!((bound + no_room - f64::from(COUNT)).abs() < 0.5, "{bound} and {no_room}");
        assert!(no_room >= f64::from(COUNT - 1024) - 0.5, "{bound} and {no_room}");
    }
    connections
}

/// The agent says it, and once for all of these.
fn said(world: &World, text: &str) {
    if world.hook == "off" {
        return;
    }
    let count = || world.gateway.log().matches(text).count();
    until(LIMIT, "a line in the log", || (count() > 0).then_some(())).unwrap();
    // Connections keep coming until the agent has looked again.
    let before = world.gateway.log().matches("userspace serves new connections").count();
    assert_eq!((count(), before), (1, 1), "{}", world.gateway.log());
}

/// Opens `count` connections, asks for `/b` on each, and keeps them.
fn open(world: &World, count: usize) -> Vec<Connection> {
    let open = || {
        (0..count)
            .map(|index| {
                let mut connection = world.dial().open_here().unwrap();
                let answer = connection.get("a.test", "/b");
                let answer = answer.unwrap_or_else(|error| panic!("connection {index}: {error}"));
                assert_eq!(answer.endpoint(), Some("b1"), "connection {index}");
                connection
            })
            .collect()
    };
    world.lab.client().run(open).unwrap()
}

/// All of them are served to the end, in whichever tier, and those that the kernel has are not thrown out for others.
#[track_caller]
fn assert_serves(world: &World, mut connections: Vec<Connection>) {
    for path in ["/a", "/b"] {
        let endpoint = if path == "/a" { "b0" } else { "b1" };
        for (index, connection) in connections.iter_mut().enumerate() {
            let answer = connection.get("a.test", path);
            let answer = answer.unwrap_or_else(|error| panic!("connection {index}, {path}: {error}"));
            assert_eq!(answer.endpoint(), Some(endpoint), "connection {index}");
        }
    }
    for connection in connections {
        connection.reset().unwrap();
    }
    // With room again, the kernel takes new ones.
    crate::leftovers::assert_none(world);
    world.decides(1, || assert_eq!(world.get("/b").endpoint(), Some("b1")));
}

fn connections_beyond_the_kernels_table_are_served(network: Network) {
    let world = World::tuned(network, &[("RAUTA_DATAPLANE_MAX_FLOWS", "1024")]);
    let connections = open_all(&world, "hand_off_no_room");
    said(&world, "the kernel's table of connections is full (dataplane.maxFlows)");
    if world.hook != "off" {
        let flows = world.gateway.metric("rauta_kernel_flows", "").unwrap();
        assert!(flows >= 1024.0, "{flows} connections in the kernel");
    }
    assert_serves(&world, connections);
}

fn connections_beyond_the_ports_for_legs_are_served(network: Network) {
    let world = World::tuned(network, &[("RAUTA_DATAPLANE_SNAT_PORTS", "10240-11263")]);
    let connections = open_all(&world, "hand_off_no_port");
    said(&world, "hardly any SNAT port is free for legs to some endpoint (dataplane.snat.ports)");
    if world.hook != "off" {
        let legs = world.gateway.metric("rauta_kernel_legs", "").unwrap();
        assert!((512.0..=1024.5).contains(&legs), "{legs} legs from 1,024 ports");
    }
    assert_serves(&world, connections);
}
