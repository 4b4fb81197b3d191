//! Connections that nobody uses: what they hold is bounded, others are served beside them, and their time ends.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{Addresses, Connection, Http2, Netns, Process};

use crate::conformance::secured_gateway;
use crate::http2_floods::memory;
use crate::manifests::{all_to, documents, route, service};
use crate::secure::{eventually, pair, secret};
use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(60);
/// Those of 10,000 connections, and what else the tests of this process hold.
const DESCRIPTORS: u64 = 16_384;
const LONG: [(&str, &str); 1] = [("RAUTA_TIMEOUTS_IDLE", "1h")];

/// Lets this process, and those that it starts from now on, hold `count` descriptors.
fn raise_descriptors(count: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes to the struct that it is given, and nothing else.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    // More than the hard limit takes CAP_SYS_RESOURCE, which not every root has.
    limit = libc::rlimit { rlim_cur: limit.rlim_cur.max(count), rlim_max: limit.rlim_max.max(count) };
    // SAFETY: setrlimit only reads the struct.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0, "{count} descriptors are too many here: raise the hard limit with `ulimit -Hn`");
}

/// Opens `count` connections that are served once; then nobody says anything.
fn open(netns: &Netns, address: SocketAddr, count: usize) -> Vec<Connection> {
    let connect = || {
        (0..count)
            .map(|_| Connection::over(TcpStream::connect(address).unwrap()).unwrap())
            .collect::<Vec<_>>()
    };
    let mut all = netns.run(connect).unwrap();
    for connection in &mut all {
        connection.set_read_limit(PATIENCE).unwrap();
        assert_eq!(connection.get("a", "/128").unwrap().body.len(), 128);
    }
    all
}

fn is_served(world: &World) {
    for _ in 0..20 {
        assert_eq!(world.get("a", "/128").body.len(), 128, "others are served");
    }
}

/// What each of `count` connections that `open` makes costs, in bytes.
fn cost<T>(world: &mut World, count: usize, open: impl FnOnce(&World) -> T) -> u64 {
    is_served(world);
    let before = memory(&mut world.gateway);
    let kept = open(world);
    is_served(world);
    let held = world.gateway.metric("rauta_downstream_connections_active", "").unwrap();
    assert!(held >= count as f64, "{held} connections of {count}");
    let each = memory(&mut world.gateway).saturating_sub(before) / count as u64;
    eprintln!("{each} bytes a connection");
    drop(kept);
    eventually("they are gone", || {
        world.gateway.metric("rauta_downstream_connections_active", "").unwrap() < 10.0
    });
    is_served(world);
    each
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_hold_up_nobody() {
    const COUNT: usize = 10_000;
    raise_descriptors(DESCRIPTORS);
    let mut world = World::tuned(1, &all_to(&[0]), &LONG);
    let each = cost(&mut world, COUNT, |world| open(world.lab.client(), world.gateway.address(), COUNT));
    assert!(each < 16 << 10, "{each} bytes a connection");
}

#[test]
fn two_thousand_idle_connections_of_http_2_cost_little() {
    const COUNT: usize = 2000;
    raise_descriptors(DESCRIPTORS);
    let mut world = World::tuned(1, &all_to(&[0]), &LONG);
    let fields: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/128")];
    let each = cost(&mut world, COUNT, |world| {
        let open = |_| {
            let mut client = Http2::open(world.lab.client(), world.gateway.address(), &[]).unwrap();
            client.request(1, &fields, true).unwrap();
            client.ended(1).unwrap();
            client
        };
        (0..COUNT).map(open).collect::<Vec<_>>()
    });
    assert!(each < 48 << 10, "{each} bytes a connection");
}

/// The Gateway with a listener for HTTPS, too.
fn secured(settings: &[(&str, &str)]) -> World {
    let route = route("all", &[], &[("", "[{name: web, port: 80}]")]);
    let certificate = pair(&Addresses::GATEWAY.to_string());
    World::tuned(
        1,
        &documents(&[&secured_gateway(), &secret("any", &certificate), &service("web", &[0]), &route]),
        settings,
    )
}

/// A client of others that holds `count` TLS connections, each served once, until it is killed or they end.
fn hold(world: &World, count: usize) -> Process {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/programs/hold.py"));
    command.args([&Addresses::GATEWAY.to_string(), "8443", &count.to_string()]);
    let client = world.lab.spawn(world.lab.client(), "hold", command).unwrap();
    testkit::until(2 * PATIENCE, "all to be served", || {
        client.log().contains(&format!("{count} served")).then_some(())
    })
    .unwrap();
    client
}

#[test]
fn two_thousand_idle_connections_of_tls_cost_little() {
    const COUNT: usize = 2000;
    raise_descriptors(DESCRIPTORS);
    let mut world = secured(&LONG);
    let each = cost(&mut world, COUNT, |world| hold(world, COUNT));
    assert!(each < 40 << 10, "{each} bytes a connection");
}

#[test]
fn connections_of_every_kind_end_when_they_were_idle_for_long() {
    const COUNT: usize = 200;
    let world = secured(&[("RAUTA_TIMEOUTS_IDLE", "5s")]);
    let held = hold(&world, COUNT);
    // Each is asked as soon as it is open: the first ones' time ends while the last ones begin.
    let plain: Vec<_> =
        (0..COUNT).flat_map(|_| open(world.lab.client(), world.gateway.address(), 1)).collect();
    let silent: Vec<_> = (0..COUNT).map(|_| world.connect()).collect();
    let http2: Vec<_> =
        (0..COUNT).map(|_| Http2::open(world.lab.client(), world.gateway.address(), &[]).unwrap()).collect();
    let sockets = plain.iter().chain(&silent).map(Connection::stream).chain(http2.iter().map(Http2::stream));
    for mut socket in sockets {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // HTTP/2 says its settings and farewells before it ends.
        socket.read_to_end(&mut Vec::new()).unwrap();
    }
    eventually("those of TLS have ended", || held.log().contains(&format!("{COUNT} ended")));
    assert_eq!(world.get("a", "/128").body.len(), 128);
    let left = world.gateway.metric("rauta_downstream_connections_active", "").unwrap();
    assert!(left < 10.0, "{left} connections are left");
}
