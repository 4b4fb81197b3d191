//! Link addresses that change under connections, as when a router or a card fails and another takes its place.

use std::process::Command;
use std::time::Duration;

use testkit::{Addresses, Connection, Endpoints, Netns, Recorder, exec, one_megabyte, sha256_hex};

use crate::world::{Network, World};

on_two_networks!(
    an_endpoint_with_a_new_link_address_goes_on_answering,
    an_endpoint_with_a_new_link_address_gets_the_rest_of_a_body,
    a_client_with_a_new_link_address_gets_the_rest_of_an_answer,
);

const HALF: usize = 500_000;

pub(crate) fn ip(netns: &Netns, arguments: &str) {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    let output = exec(Some(netns), command, Duration::from_secs(5)).unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Gives `host` another link address, which the gateway's stack hears of, as it does from whatever takes an address over
/// (RFC 5227 section 3, RFC 9568 section 8.2).
fn change(world: &World, host: &Netns, address: std::net::IpAddr, gateway_interface: &str) {
    const NEW: &str = "02:00:5e:10:00:01";
    ip(host, &format!("link set eth0 address {NEW}"));
    let gateway = world.lab.gateway();
    ip(gateway, &format!("neigh replace {address} lladdr {NEW} dev {gateway_interface} nud reachable"));
}

/// Answers with half a megabyte, and the other half a second later.
fn slow_halves(netns: &Netns, address: std::net::SocketAddr) -> anyhow::Result<Recorder> {
    Recorder::start(netns, address, |peer| {
        loop {
            peer.request()?;
            let body = one_megabyte();
            let (first, rest) = body.split_at(HALF);
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
            peer.send(first)?;
            peer.pause(Duration::from_secs(1));
            peer.send(rest)?;
        }
    })
}

/// Half of an answer is there.
fn begin(world: &World) -> Connection {
    let mut connection = world.connect();
    connection.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    connection
}

fn end(mut connection: Connection) {
    assert_eq!(sha256_hex(&connection.response("GET").unwrap().body), sha256_hex(&one_megabyte()));
    assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
}

fn an_endpoint_with_a_new_link_address_goes_on_answering(network: Network) {
    let world = World::with_endpoint(network, slow_halves);
    let connection = begin(&world);
    change(&world, world.lab.backend(0), network.endpoint(0).ip(), "back0");
    end(connection);
}

/// It says nothing that shows the new address, for it hears nothing.
fn an_endpoint_with_a_new_link_address_gets_the_rest_of_a_body(network: Network) {
    let world =
        World::with_endpoint(network, |netns, address| Endpoints::digesting(netns, address, "digest"));
    let mut connection = world.connect();
    let body = one_megabyte();
    let (first, rest) = body.split_at(HALF);
    connection.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    connection.send(first).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    change(&world, world.lab.backend(0), network.endpoint(0).ip(), "back0");
    connection.send(rest).unwrap();
    assert_eq!(connection.response("PUT").unwrap().text(), sha256_hex(&body));
    assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
}

fn a_client_with_a_new_link_address_gets_the_rest_of_an_answer(network: Network) {
    let world = World::with_endpoint(network, slow_halves);
    let connection = begin(&world);
    let address = if network.is_v6 { Addresses::client_v6(0).into() } else { Addresses::client(0).into() };
    change(&world, world.lab.client(), address, "front0");
    end(connection);
}
