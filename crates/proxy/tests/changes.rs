//! Configuration changes, listening sockets and drain, under traffic.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proxy::{Config, TimeoutConfig};
use support::{
    Client, Lab, PATIENCE, Rule, Scripted, eventually, free_port, rule, snapshot, with_listener_for_all,
};

#[test]
fn a_change_decides_the_next_request_of_an_open_connection() {
    let (a, b) = (Scripted::echo("a"), Scripted::echo("b"));
    let mut lab = Lab::new(&[rule("/", &[a.address])]);
    let mut client = lab.client();
    assert!(client.get("/").text().starts_with("a\n"));
    lab.apply(&[rule("/", &[b.address])]);
    assert!(client.get("/").text().starts_with("b\n"));
    lab.apply(&[]);
    assert_eq!(client.get("/").status, 404);
}

/// What a change does not reach stays as it is; what it reaches is more than the routes that it names.
#[test]
fn a_change_of_a_backend_reaches_the_routes_that_send_or_copy_to_it() {
    let (a, b) = (Scripted::echo("a"), Scripted::echo("b"));
    let has_ended = Arc::new(AtomicBool::new(false));
    let ends = has_ended.clone();
    let new = Scripted::new(move |conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnew\n");
        }
        ends.store(true, Ordering::Relaxed);
    });
    let others = [Scripted::echo("old"), new];
    fn rules<'r>(a: &'r [SocketAddr], b: &'r [SocketAddr], c: &'r [SocketAddr]) -> [Rule<'r>; 4] {
        let backend = model::BackendId::service("test", "b2", 80);
        let mirrors = vec![model::Mirror { backend, numerator: 1, denominator: 1, form: None }];
        let copied = || model::Filters { mirrors: mirrors.clone(), ..Default::default() };
        let of_rule = Rule { filters: copied(), ..rule("/b", b) };
        [rule("/a", a), of_rule, rule("/c", c), Rule { backend_filters: copied(), ..rule("/d", b) }]
    }
    let mut lab = Lab::new(&[]);
    for at in [0, 1, 0, 0] {
        lab.apply(&rules(&[a.address], &[b.address], &[others[at].address]));
        let mut client = lab.client();
        assert!(client.get("/a").text().starts_with("a\n"));
        assert!(client.get("/c").text().starts_with(["old\n", "new\n"][at]));
        for path in ["/b", "/d"] {
            let copies = || others[at].received().matches(&format!("GET {path} ")).count();
            let before = copies();
            assert!(client.get(path).text().starts_with("b\n"));
            eventually("a copy", || copies() == before + 1);
        }
    }
    // Connections to where nothing leads any more are closed by and by; the others stay.
    eventually("the connection to the other one is closed", || has_ended.load(Ordering::Relaxed));
    assert!(lab.client().get("/a").text().starts_with("a\n"));
    assert_eq!(a.connections(), 1, "its connection is kept");
}

#[test]
fn connections_to_endpoints_are_counted_while_they_are_open() {
    let endpoint = Scripted::echo("a");
    let mut lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let metrics = lab.metrics.clone();
    let is = |open| eventually("the count", || metrics.upstream_connections_active.get() == open);
    is(0);
    let mut clients = [lab.client(), lab.client()];
    assert_eq!(clients[0].get("/").status, 200);
    is(1);
    // Two at once.
    clients[0].send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n");
    eventually("the first is on its way", || endpoint.received().contains("POST"));
    assert_eq!(clients[1].get("/").status, 200);
    is(2);
    clients[0].send("x");
    assert_eq!(clients[0].response().status, 200);
    lab.apply(&[]);
    is(0);
}

#[test]
fn no_request_fails_while_routes_change_under_load() {
    let (a, b) = (Scripted::echo("a"), Scripted::echo("b"));
    let mut lab = Lab::with(Config { threads: 2, ..Default::default() }, &[rule("/", &[a.address])]);
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, stop, served) = (lab.client(), stop.clone(), served.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.get("/x").status, 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..200 {
        let (both, one) = ([a.address, b.address], [b.address]);
        let endpoints: &[_] = if round % 2 == 0 { &both } else { &one };
        assert!(lab.apply(&[rule("/", endpoints), rule("/other", &both)]).is_empty());
        std::thread::sleep(Duration::from_millis(1));
    }
    let so_far = served.load(Ordering::Relaxed);
    eventually("requests after the last change", || served.load(Ordering::Relaxed) > so_far + 20);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn whoever_is_connected_when_a_listener_goes_is_answered() {
    let endpoint = Scripted::echo("one");
    let mut lab = Lab::with(Config { threads: 2, ..Default::default() }, &[rule("/", &[endpoint.address])]);
    let [served, refused] = [const { AtomicUsize::new(0) }; 2];
    for _ in 0..10 {
        let stop = AtomicBool::new(false);
        let old = lab.address;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        match TcpStream::connect_timeout(&old, Duration::from_secs(5)) {
                            Ok(stream) => {
                                let mut client = Client::over(stream);
                                client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
                                // 404: nothing listens there any more.
                                let status = client.response().status;
                                assert!(status == 200 || status == 404, "{status}");
                                served.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
            // The clients are stopped whatever comes of it.
            let wait_for_more = |count: &AtomicUsize, more| {
                let (least, deadline) = (count.load(Ordering::Relaxed) + more, Instant::now() + PATIENCE);
                while count.load(Ordering::Relaxed) < least && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(2));
                }
                count.load(Ordering::Relaxed) >= least
            };
            let was_busy = wait_for_more(&served, 20);
            lab.address = free_port();
            lab.apply(&[rule("/", &[endpoint.address])]);
            let is_gone = wait_for_more(&refused, 4);
            stop.store(true, Ordering::Relaxed);
            assert!(was_busy && is_gone, "{served:?} {refused:?}");
        });
    }
}

#[test]
fn a_listener_that_moves_closes_the_old_port_and_opens_the_new() {
    let endpoint = Scripted::echo("one");
    let mut lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let old = lab.address;
    let mut kept = lab.client();
    assert_eq!(kept.get("/").status, 200);
    lab.address = free_port();
    assert!(lab.apply(&[rule("/", &[endpoint.address])]).is_empty());
    assert_eq!(lab.gateway.listening(), [lab.address]);
    assert_eq!(lab.client().get("/").status, 200);
    assert!(TcpStream::connect(old).is_err());
    assert_eq!(kept.get("/").status, 404, "its listener is gone");
}

#[test]
fn a_listener_may_move_between_one_address_and_all() {
    let endpoint = Scripted::echo("one");
    let mut lab = Lab::with(Config { threads: 2, ..Default::default() }, &[rule("/", &[endpoint.address])]);
    let port = lab.address.port();
    for round in 0..50 {
        lab.address = if round % 2 == 0 { ([0, 0, 0, 0], port) } else { ([127, 0, 0, 1], port) }.into();
        let problems = lab.apply(&[rule("/", &[endpoint.address])]);
        assert!(problems.is_empty(), "round {round}: {}", problems[0]);
    }
    assert_eq!(Client::connect(([127, 0, 0, 1], port).into()).get("/").status, 200);
}

#[test]
fn connections_made_while_a_listener_goes_are_served() {
    let endpoint = Scripted::echo("one");
    let mut lab = Lab::with(Config { threads: 2, ..Default::default() }, &[rule("/", &[endpoint.address])]);
    for round in 0..10 {
        let waiting: Vec<_> = (0..64).map(|_| lab.client()).collect();
        lab.address = free_port();
        assert!(lab.apply(&[rule("/", &[endpoint.address])]).is_empty());
        for (number, mut client) in waiting.into_iter().enumerate() {
            assert_eq!(client.get("/").status, 404, "round {round} connection {number}");
        }
    }
}

#[test]
fn one_address_and_all_addresses_may_share_a_port() {
    let (endpoint, other) = (Scripted::echo("one"), free_port());
    let addresses = [endpoint.address];
    let rules = [rule("/", &addresses)];
    let lab = Lab::new(&rules);
    let problems = lab.gateway.apply(with_listener_for_all(9, lab.address, &rules));
    assert!(problems.is_empty(), "{}", problems[0]);
    assert_eq!(lab.gateway.listening().len(), 2);
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], lab.address.port()));
    for address in [lab.address, elsewhere] {
        assert_eq!(Client::connect(address).get("/").status, 200, "{address}");
    }
    // Another program is still told from ourselves.
    let taken = std::net::TcpListener::bind(other).unwrap();
    assert_eq!(lab.gateway.apply(snapshot(10, other, &rules)).len(), 1);
    drop(taken);
}

#[test]
fn a_taken_port_is_reported_the_rest_is_served_and_a_retry_succeeds() {
    let endpoint = Scripted::echo("one");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let wanted = snapshot(9, address, &[rule("/", &[endpoint.address])]);
    let problems = lab.gateway.apply(wanted.clone());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].address, address);
    drop(taken);
    assert!(lab.gateway.apply(wanted).is_empty());
    assert_eq!(Client::connect(address).get("/").status, 200);
}

#[test]
fn draining_finishes_what_is_under_way_and_closes_the_rest() {
    let go = Arc::new(AtomicBool::new(false));
    let gate = go.clone();
    let endpoint = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            while head.contains("/slow") && !gate.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let timeouts = TimeoutConfig { drain_idle: Duration::from_millis(300), ..Default::default() };
    let lab =
        Lab::with(Config { threads: 2, timeouts, ..Default::default() }, &[rule("/", &[endpoint.address])]);
    let mut slow = lab.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("the slow request is under way", || endpoint.received().contains("/slow"));
    let (mut idle, mut busy) = (lab.client(), lab.client());
    assert_eq!(idle.get("/").status, 200);
    assert_eq!(busy.get("/").status, 200);

    let address = lab.address;
    let gateway = Arc::new(lab.gateway);
    let draining = std::thread::spawn({
        let gateway = gateway.clone();
        move || gateway.drain()
    });
    eventually("the drain has begun", || gateway.listening().is_empty());
    let last = busy.get("/");
    assert!(last.status == 200 && last.has("Connection: close"), "{}", last.head);
    assert!(busy.is_closed());
    assert!(idle.is_closed());
    assert!(TcpStream::connect(address).is_err(), "no new connections");
    assert!(!draining.is_finished(), "the slow request is still under way");
    go.store(true, Ordering::SeqCst);
    let response = slow.response();
    assert!(response.text() == "ok" && response.has("Connection: close"));
    assert_eq!(draining.join().unwrap(), 0);
}

#[test]
fn draining_gives_up_at_its_limit() {
    let endpoint = Scripted::new(|conn| drop(conn.until(b"never")));
    let timeouts = TimeoutConfig { drain: Duration::from_millis(200), ..Default::default() };
    let lab =
        Lab::with(Config { threads: 1, timeouts, ..Default::default() }, &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("the request is under way", || endpoint.received().contains("GET"));
    let start = Instant::now();
    assert_eq!(lab.gateway.drain(), 1);
    assert!(start.elapsed() >= Duration::from_millis(200));
}
