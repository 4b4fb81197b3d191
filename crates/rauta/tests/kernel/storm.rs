//! Clients that use their ports again at once, a hundred thousand times.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::leftovers;
use crate::world::{Network, World};

on_two_networks!(a_hundred_thousand_connections_from_few_ports);

const CONNECTIONS: u32 = 100_000;
const CLIENTS: u16 = 4;
/// Of each client: each port is used 2,500 times.
const PORTS: u16 = 10;

fn a_hundred_thousand_connections_from_few_ports(network: Network) {
    let mut world = World::new(network);
    let done = AtomicU32::new(0);
    let share = world.kernel_share_of(|world| {
        let world = &*world;
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let done = &done;
                scope.spawn(move || world.lab.client().run(|| storm(world, client, done)).unwrap());
            }
        });
    });
    assert_eq!(done.into_inner(), CONNECTIONS);
    assert!(share >= 0.999, "the kernel decided {share} of the requests");
    leftovers::assert_none(&world);
    assert_eq!(crate::requests::established(&world, 0) + crate::requests::established(&world, 1), 0);
}

/// One request on each connection. The client resets one in four, the endpoint closes the others: to close first would
/// block the port on the client's own side.
fn storm(world: &World, client: u16, done: &AtomicU32) {
    for turn in 0..CONNECTIONS / u32::from(CLIENTS) {
        let port = 8000 + client * 100 + u16::try_from(turn % u32::from(PORTS)).unwrap();
        let context = |what: &dyn std::fmt::Display| {
            let client = std::net::SocketAddr::new(world.network.client().parse().unwrap(), port);
            let asked = [client.to_string(), world.address().to_string()];
            let flow = world.gateway.cli(&["explain", "flow", &asked[0], &asked[1]]).unwrap();
            let drops = world.gateway.cli(&["drops"]).unwrap();
            let text = [flow.stdout, flow.stderr, drops.stdout].concat();
            format!("port {port}, turn {turn}: {what}\n{}", String::from_utf8_lossy(&text))
        };
        let mut connection =
            world.dial().from_port(port).open_here().unwrap_or_else(|error| panic!("{}", context(&error)));
        let (path, endpoint) = if turn % 2 == 0 { ("/a", "b0") } else { ("/b", "b1") };
        let resets = turn % 4 == 3;
        let closing = if resets { "keep-alive" } else { "close" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: {closing}\r\n\r\n");
        let answer = connection.request(&request).unwrap_or_else(|error| panic!("{}", context(&error)));
        assert_eq!(answer.endpoint(), Some(endpoint), "port {port}, turn {turn}");
        if resets {
            connection.reset().unwrap();
        } else {
            let rest = connection.rest().unwrap_or_else(|error| panic!("{}", context(&error)));
            assert_eq!(rest, b"");
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}
