//! Routers that forward no more than 1,300 bytes, which the ends learn of by ICMP alone (RFC 1191, RFC 8201).

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use testkit::{
    Connection, Lab, Netns, Nginx, ONE_MEGABYTE_SHA256, Offloads, PROXY_PORT, Response, exec, one_megabyte,
    sha256_hex, until,
};

use crate::proxy_protocol;
use crate::world::{Network, World};

on_every_network!(
    packets_too_big_for_the_way_to_an_endpoint,
    packets_too_big_for_the_way_to_an_endpoint_that_is_told,
    packets_too_big_for_the_way_to_a_client,
);

/// A host behind a router whose route to it is narrow: neither end can know but by ICMP.
struct Behind<'l> {
    host: &'l Netns,
    router: &'l Netns,
    /// The router as the gateway reaches it.
    router_address: &'static str,
    /// The gateway's interface to it.
    gateway_interface: &'static str,
    /// Prefix of the wire between them; the router is `1` in it, the host `2`.
    wire: &'static str,
}

fn ip(netns: &Netns, arguments: &str) {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    let output = exec(Some(netns), command, Duration::from_secs(5)).unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn narrow(lab: &Lab, network: Network, behind: &Behind<'_>) {
    let Behind { host, router, router_address, gateway_interface, wire } = *behind;
    let length = if network.is_v6 { 64 } else { 24 };
    ip(host, "link set eth0 down");
    ip(router, &format!("link add narrow type veth peer name wide netns {}", host.name()));
    for (netns, interface, number) in [(router, "narrow", 1), (host, "wide", 2)] {
        let nodad = if network.is_v6 { " nodad" } else { "" };
        ip(netns, &format!("addr add {wire}{number}/{length} dev {interface}{nodad}"));
        ip(netns, &format!("link set {interface} up"));
    }
    // Over IPv6 the connected route stays beside it, at 256; over IPv4 it is replaced.
    let (family, metric) = if network.is_v6 { ("-6 ", 1) } else { ("", 0) };
    ip(router, &format!("{family}route replace {wire}0/{length} dev narrow metric {metric} mtu lock 1300"));
    ip(host, &format!("{family}route replace default via {wire}1"));
    ip(
        lab.gateway(),
        &format!("{family}route add {wire}0/{length} via {router_address} dev {gateway_interface}"),
    );
    let forwarding = if network.is_v6 { "net/ipv6/conf/all/forwarding" } else { "net/ipv4/ip_forward" };
    router.sysctl(forwarding, "1").unwrap();
}

/// Until the endpoint is reached: a new interface with IPv6 is deaf for a second or two, in which an endpoint seems dead.
pub(crate) fn wait_for_the_way(lab: &Lab, socket: SocketAddr) {
    let connects = || {
        lab.gateway().run(|| TcpStream::connect_timeout(&socket, Duration::from_millis(200)).ok()).unwrap()
    };
    until(Duration::from_secs(10), "the way to the endpoint", connects).unwrap();
}

/// How often the router said so: a case without it would prove nothing.
fn too_big(network: Network, router: &Netns) -> u64 {
    let table = if network.is_v6 { "/proc/thread-self/net/snmp6" } else { "/proc/thread-self/net/snmp" };
    let text = router.run(|| std::fs::read_to_string(table)).unwrap().unwrap();
    if network.is_v6 {
        let line = text.lines().find_map(|line| line.strip_prefix("Icmp6OutPktTooBigs")).unwrap();
        return line.trim().parse().unwrap();
    }
    // A line of names, then one of values.
    let mut lines = text.lines().filter(|line| line.starts_with("Ip: "));
    let names = lines.next().unwrap().split(' ');
    names
        .zip(lines.next().unwrap().split(' '))
        .find(|(name, _)| *name == "FragFails")
        .unwrap()
        .1
        .parse()
        .unwrap()
}

#[track_caller]
fn assert_megabyte(answer: &Response) {
    assert_eq!((answer.endpoint(), sha256_hex(&answer.body).as_str()), (Some("b0"), ONE_MEGABYTE_SHA256));
}

/// A request that fits every link and what a client is promised over IPv6, but not the narrow route.
const LONG: usize = 1270;
/// One that fits the narrow route, too.
const SHORT: usize = 1000;

/// Three requests, the first with a field of `size` bytes.
fn exchange(connection: &mut Connection, prefix: &str, size: usize) {
    let filler = "y".repeat(size);
    let request = format!("GET {prefix}/a HTTP/1.1\r\nHost: a.test\r\nX-Big: {filler}\r\n\r\n");
    assert_eq!(connection.request(&request).unwrap().endpoint(), Some("b0"));
    let answer = connection.get("a.test", &format!("{prefix}/1m")).unwrap();
    if prefix.is_empty() {
        assert_megabyte(&answer);
    }
    assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
}

fn packets_too_big_for_the_way_to_an_endpoint(network: Network) {
    for forwarded_headers in ["true", "false"] {
        meet_a_narrow_way(network, forwarded_headers);
    }
}

/// A gateway and its first endpoint with a narrow way to it, and the endpoint's address there.
fn far_away(network: Network, settings: &[(&str, &str)]) -> (World, IpAddr) {
    let lab = network.lab();
    let (wire, router_address) =
        if network.is_v6 { ("fd78::", "fd77:0:0:1::12") } else { ("10.78.0.", "10.77.1.12") };
    let behind = Behind {
        host: lab.backend(0),
        router: lab.backend(1),
        router_address,
        gateway_interface: "back0",
        wire,
    };
    narrow(&lab, network, &behind);
    let nginx = (0..2).map(|index| Nginx::start(&lab, index).unwrap()).collect();
    let address = format!("{wire}2").parse().unwrap();
    wait_for_the_way(&lab, SocketAddr::new(address, network.endpoint(0).port()));
    (World::around(network, lab, nginx, None, settings), address)
}

/// What it is told first stands before the request, and makes the segments too long that the client was promised.
fn packets_too_big_for_the_way_to_an_endpoint_that_is_told(network: Network) {
    let (world, address) = far_away(network, &[]);
    proxy_protocol::tell(&world, "v2", &[SocketAddr::new(address, PROXY_PORT)]);
    for size in [LONG, SHORT, LONG] {
        let mut connection = world.connect();
        let own = proxy_protocol::told(&world, &connection);
        for _ in 0..2 {
            let filler = "y".repeat(size);
            let request = format!("GET / HTTP/1.1\r\nHost: told.test\r\nX-Big: {filler}\r\n\r\n");
            let text = connection.request(&request).unwrap().text();
            assert!(text.starts_with(&own), "{text} is not of {own}");
        }
    }
    assert!(too_big(network, world.lab.backend(1)) > 0);
}

fn meet_a_narrow_way(network: Network, forwarded_headers: &str) {
    let (world, _) = far_away(network, &[("RAUTA_FORWARDED_HEADERS", forwarded_headers)]);
    // On the leg that another request opened.
    let sends = |connection: &mut Connection| {
        assert_eq!(connection.get("a.test", "/far/first").unwrap().endpoint(), Some("b0"));
        let head = "PUT /far/upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n";
        connection.send([head.as_bytes(), &one_megabyte()].concat()).unwrap();
        // nginx has no such folder to put it in, but it has to read it all to say so.
        assert_eq!(connection.response("PUT").unwrap().endpoint(), Some("b0"));
    };
    let exchange_all = |size| {
        let mut connection = world.connect();
        exchange(&mut connection, "/far", size);
        sends(&mut connection);
    };
    let inserts = forwarded_headers == "true";
    if inserts && network.is_v6 {
        // With what is inserted the client's shortest segments would not fit: the request comes again in userspace, and the
        // endpoint is userspace's from then on.
        world.hands_off_for("undecidable", 1, || exchange_all(LONG));
        world.hands_off_for("no_endpoint", 1, || exchange_all(LONG));
    } else {
        let mut connection = world.connect();
        world.decides(3, || exchange(&mut connection, "/far", LONG));
        if inserts {
            world.hands_off_for("too_long", 1, || sends(&mut connection));
        } else {
            world.decides(2, || sends(&mut connection));
            world.decides(5, || exchange_all(SHORT));
        }
        // The client has learned of it, and sends such a request in two segments; with offloads in one packet, into which
        // nothing can be inserted.
        match (network.offloads == Offloads::ON, inserts) {
            (true, false) => world.decides(5, || exchange_all(LONG)),
            (true, true) => world.hands_off_for("too_long", 1, || exchange_all(LONG)),
            (false, _) => world.hands_off_for("undecidable", 1, || exchange_all(LONG)),
        }
    }
    assert!(too_big(network, world.lab.backend(1)) > 0);
}

fn packets_too_big_for_the_way_to_a_client(network: Network) {
    let lab = network.lab();
    let (wire, router_address) =
        if network.is_v6 { ("fd79::", "fd77::3") } else { ("10.79.0.", "10.77.0.3") };
    let behind = Behind {
        host: lab.client(),
        router: lab.client_two(),
        router_address,
        gateway_interface: "front0",
        wire,
    };
    narrow(&lab, network, &behind);
    let nginx = (0..2).map(|index| Nginx::start(&lab, index).unwrap()).collect();
    let world = World::around(network, lab, nginx, None, &[]);
    world.decides(3, || exchange(&mut world.connect(), "", LONG));
    // The endpoint now announces shorter segments to everyone on our address, which is userspace's for a while.
    world.counts(&[("drop_lacks_options", 1)], || {
        world.hands_off_for("no_endpoint", 1, || exchange(&mut world.connect(), "", LONG));
    });
    assert!(too_big(network, world.lab.client_two()) > 0);
}
