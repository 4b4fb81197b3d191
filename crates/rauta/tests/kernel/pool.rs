//! Legs that wait for the next client (`dataplane.poolIdle`), with nginx behind them. It says which of its connections answered; and
//! which request it answered, to the letter.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testkit::{Connection, Faults, Nginx, NginxOptions, Response};

use crate::leftovers;
use crate::world::{Network, World};
use crate::xdp::decided;

on_two_networks!(
    one_connection_of_the_endpoint_serves_client_after_client,
    every_client_gets_its_own_bytes,
    an_endpoint_that_closes_first_is_no_clients_trouble,
    every_client_gets_its_own_bytes_over_a_bad_wire,
    requests_of_one_client_share_legs_between_endpoints,
    requests_that_are_the_last_leave_their_leg,
    weights_hold_for_each_request,
    in_xdp_every_client_gets_its_own_bytes,
    in_xdp_every_client_gets_its_own_bytes_over_a_bad_wire,
    in_xdp_requests_that_are_the_last_leave_their_leg,
);

const POOLED: &[(&str, &str)] = &[("RAUTA_DATAPLANE_POOL_IDLE", "4s")];

/// Legs that may not be left to another: on a busy machine a segment may come again, which puts its leg in doubt.
const FEW: u8 = 3;

/// How many requests a run has; `POOL_REQUESTS` says another number.
fn requests() -> u32 {
    std::env::var("POOL_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

/// The number of nginx's connection.
fn serial(answer: &Response) -> &str {
    answer.header("x-connection").unwrap().split('/').next().unwrap()
}

fn one_connection_of_the_endpoint_serves_client_after_client(network: Network) {
    let world = World::tuned(network, POOLED);
    let pooled = world.counted("pooled");
    let mut serials = BTreeSet::from([serial(&world.get("/a")).to_owned()]);
    for turn in 0..100 {
        let path = format!("/a/{turn}");
        let answer = world.get(&path);
        assert!(answer.text().contains(&format!("uri={path}\n")), "{answer:?}");
        serials.insert(serial(&answer).to_owned());
    }
    assert!(serials.len() <= 1 + usize::from(FEW), "{serials:?}");
    if world.hook != "off" {
        assert!(
            world.counted("pooled") - pooled >= 100.0 - f64::from(FEW),
            "{}",
            world.gateway.metrics().unwrap()
        );
        assert!(world.gateway.metric("rauta_kernel_legs_waiting", "").unwrap() > 0.5);
    }
    leftovers::assert_none(&world);
}

/// Whether a client says that its request is the last, and what it does behind the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    No,
    /// It closes.
    Closes,
    /// It waits for the other side's end.
    Waits,
}

/// Asks once on `connection`, in one of many ways, and holds the answer against it.
fn ask(connection: &mut Connection, id: u32, last: Last) -> Result<(), String> {
    let (path, endpoint) = if id.is_multiple_of(3) { ("/b", "b1") } else { ("/a", "b0") };
    let connection_field = if last == Last::No { "" } else { "Connection: close\r\n" };
    let fields = format!("Host: a.test\r\nX-Test: {id}\r\n{connection_field}");
    // Knuth's multiplier: as if drawn, and the same in each run.
    let (request, method, whole) = match (id.wrapping_mul(2_654_435_761) >> 16) % 11 {
        0 => (format!("HEAD {path}/{id} HTTP/1.1\r\n{fields}\r\n"), "HEAD", None),
        1 => (format!("GET /128?{id} HTTP/1.1\r\n{fields}\r\n"), "GET", Some(128)),
        2 => (format!("GET /16k?{id} HTTP/1.1\r\n{fields}\r\n"), "GET", Some(16_384)),
        3 => (format!("GET /chunked?{id} HTTP/1.1\r\n{fields}\r\n"), "GET", Some(16_384)),
        4 => (format!("GET /status/404?{id} HTTP/1.1\r\n{fields}\r\n"), "GET", Some(9)),
        5 => (format!("POST {path}/{id} HTTP/1.1\r\n{fields}Content-Length: 5\r\n\r\nhello"), "POST", None),
        _ => (format!("GET {path}/{id} HTTP/1.1\r\n{fields}\r\n"), "GET", None),
    };
    let fail = |what: &dyn std::fmt::Debug| format!("{request:?}: {what:?}");
    connection.send(&request).map_err(|error| fail(&error))?;
    let answer = connection.response(method).map_err(|error| fail(&error))?;
    let is_right = match whole {
        Some(length) => answer.body.len() == length,
        None if method == "HEAD" => answer.body.is_empty(),
        None => {
            let text = answer.text();
            text.contains(&format!("uri={path}/{id}\n"))
                && text.contains(&format!("x-test={id}\n"))
                && text.contains(&format!("method={method}\n"))
        }
    };
    // All answers say whose they are, those without a body and those that are alike too.
    let is_right = is_right && answer.header("x-echo").is_some_and(|echo| echo == id.to_string());
    let is_by_it = whole.is_some() || answer.endpoint() == Some(endpoint);
    if !is_right || !is_by_it {
        return Err(fail(&answer));
    }
    if last != Last::No && answer.header("connection").map(str::trim) != Some("close") {
        return Err(fail(&"not told that the connection ends"));
    }
    if last == Last::Waits {
        let rest = connection.rest().map_err(|error| fail(&error))?;
        if !rest.is_empty() {
            return Err(fail(&rest));
        }
    }
    Ok(())
}

/// Clients that ask once or a few times on a connection, and leave in every way that there is.
fn clients(world: &World, clients: u32, requests: u32) {
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let next = &next;
            scope.spawn(move || world.lab.client().run(|| client_of(world, next, client, requests)).unwrap());
        }
    });
}

fn client_of(world: &World, next: &AtomicU32, client: u32, requests: u32) {
    loop {
        let id = next.fetch_add(1, Ordering::Relaxed);
        if id >= requests {
            return;
        }
        let mut connection =
            world.dial().open_here().unwrap_or_else(|error| panic!("client {client}, {id}: {error}"));
        connection.set_read_limit(Duration::from_secs(20)).unwrap();
        let turns = if id % 7 == 6 { 3 } else { 1 };
        let last = match id % 5 {
            3 => Last::Closes,
            4 => Last::Waits,
            _ => Last::No,
        };
        for turn in 0..turns {
            // Numbers beyond those that are drawn.
            let id = id + turn * requests;
            let last = if turn + 1 == turns { last } else { Last::No };
            ask(&mut connection, id, last).unwrap_or_else(|what| panic!("{what}"));
        }
        match id % 17 {
            16 => connection.reset().unwrap(),
            15 => connection.finish().unwrap(),
            _ => drop(connection),
        }
    }
}

fn every_client_gets_its_own_bytes(network: Network) {
    every_client_of(World::tuned(network, POOLED));
}

fn in_xdp_every_client_gets_its_own_bytes(network: Network) {
    every_client_of(World::early(network, POOLED));
}

/// What a host leaves to its device is seen by TC alone.
fn assert_early(world: &World) {
    let is_early = decided(world) > 0.0;
    assert_eq!(is_early, !world.network.offloads.tx, "{}", world.gateway.metrics().unwrap());
}

fn every_client_of(mut world: World) {
    let (pooled, all) = (world.counted("pooled"), requests());
    // Who closes first keeps the port for a minute: so many clients have to use them again.
    world.lab.client().sysctl("net/ipv4/tcp_tw_reuse", "1").unwrap();
    world.lab.client().sysctl("net/ipv4/ip_local_port_range", "1024 65535").unwrap();
    let share = world.kernel_share_of(|world| clients(world, 8, all));
    assert!(share >= 0.99, "the kernel decided {share} of the requests");
    if world.hook != "off" {
        let pooled = world.counted("pooled") - pooled;
        assert!(pooled > f64::from(all) / 2.0, "{pooled}\n{}", world.gateway.metrics().unwrap());
    }
    leftovers::assert_none(&world);
}

fn an_endpoint_that_closes_first_is_no_clients_trouble(network: Network) {
    let lab = network.lab();
    let options = NginxOptions { keepalive: Duration::from_secs(1), ..NginxOptions::default() };
    let nginx = (0..2).map(|index| Nginx::with(&lab, index, options).unwrap()).collect();
    let world = World::around(network, lab, nginx, None, POOLED);
    let ended = world.counted("pool_ended");
    for turn in 0..24u32 {
        // Around the moment at which nginx closes.
        std::thread::sleep(Duration::from_millis(u64::from(970 + 5 * turn)));
        let path = format!("/a/{turn}");
        let answer = world.get(&path);
        assert!(answer.text().contains(&format!("uri={path}\n")), "{answer:?}");
    }
    assert!(world.hook == "off" || world.counted("pool_ended") > ended, "nginx closes legs that wait");
}

fn every_client_gets_its_own_bytes_over_a_bad_wire(network: Network) {
    over_a_bad_wire(&World::tuned(network, POOLED));
}

fn in_xdp_every_client_gets_its_own_bytes_over_a_bad_wire(network: Network) {
    over_a_bad_wire(&World::early(network, POOLED));
}

fn over_a_bad_wire(world: &World) {
    let faulty = world.lab.faults(Faults { loss: 0.02, duplicate: 0.02, reorder: 0.05 }).unwrap();
    let pooled = world.counted("pooled");
    clients(world, 16, 600);
    let counts = faulty.counts().unwrap();
    assert!(counts.lost > 0 && counts.duplicated > 0 && counts.reordered > 0, "{counts:?}");
    assert!(world.hook == "off" || world.counted("pooled") > pooled + 100.0);
}

/// Each request goes elsewhere, and finds the leg that was left.
fn requests_of_one_client_share_legs_between_endpoints(network: Network) {
    let world = World::tuned(network, POOLED);
    let mut connection = world.connect();
    let mut serials = BTreeSet::new();
    for turn in 0..60 {
        let path = if turn % 2 == 0 { "/a" } else { "/b" };
        let answer = connection.get("a.test", &format!("{path}/{turn}")).unwrap();
        assert!(answer.text().contains(&format!("uri={path}/{turn}\n")), "{answer:?}");
        serials.insert((path, serial(&answer).to_owned()));
    }
    assert!(serials.len() <= 2 + usize::from(FEW), "{serials:?}");
}

fn requests_that_are_the_last_leave_their_leg(network: Network) {
    last_requests_of(&World::tuned(network, POOLED));
}

fn in_xdp_requests_that_are_the_last_leave_their_leg(network: Network) {
    let world = World::early(network, POOLED);
    last_requests_of(&world);
    assert_early(&world);
}

/// As `wrk`, `ab` and proxies ask that keep no connections. nginx keeps its own for ten minutes: what ends in time, we end.
fn last_requests_of(world: &World) {
    const CLIENTS: u32 = 300;
    let before = ["bound", "pooled"].map(|reason| world.counted(reason));
    for id in 0..CLIENTS {
        let last = if id % 2 == 0 { Last::Closes } else { Last::Waits };
        let mut connection = world.connect();
        connection.set_read_limit(Duration::from_secs(5)).unwrap();
        ask(&mut connection, id, last).unwrap_or_else(|what| panic!("{what}"));
    }
    if world.hook != "off" {
        let [bound, pooled] = ["bound", "pooled"].map(|reason| world.counted(reason));
        let (opened, shared) = (bound - before[0], pooled - before[1]);
        assert!(opened <= 10.0 && shared >= f64::from(CLIENTS - 10), "{opened} legs opened, {shared} shared");
    }
    leftovers::assert_none(world);
}

/// 20 % of 3,000 requests that are drawn one by one are 600, give or take five times 22; of legs that are drawn each 32 requests it would be
/// five times 124.
fn weights_hold_for_each_request(network: Network) {
    let world = World::tuned(network, POOLED);
    if world.hook == "off" {
        return;
    }
    let mut second = 0;
    for _ in 0..10 {
        let mut connection = world.connect();
        for _ in 0..300 {
            let answer = connection.get("a.test", "/mixed").unwrap();
            second += u32::from(answer.endpoint() == Some("b1"));
        }
    }
    assert!((490..=710).contains(&second), "{second} of 3,000");
    // A connection to each for each client that asks at the same time, and no more.
    assert!(world.counted("pooled") > 700.0, "{}", world.gateway.metrics().unwrap());
}
