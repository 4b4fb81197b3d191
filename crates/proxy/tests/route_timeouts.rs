//! How long a route lets endpoints take to be connected to, to send and to take: each instead of what the gateway has.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use model::Timeouts;
use support::silent::Silent;
use support::{Lab, PATIENCE, Rule, Scripted, rule};

const SHORT: Option<Duration> = Some(Duration::from_millis(300));

/// A gateway whose own limits end no test.
fn lab(rules: &[Rule<'_>]) -> Lab {
    let mut config = proxy::Config { threads: 1, ..Default::default() };
    config.timeouts.connect = 2 * PATIENCE;
    config.timeouts.idle = 2 * PATIENCE;
    config.timeouts.stall = 2 * PATIENCE;
    config.timeouts.tunnel_idle = 2 * PATIENCE;
    Lab::with(config, rules)
}

#[test]
fn an_endpoint_that_answers_no_connection_is_given_up() {
    let silent = Silent::new();
    let timeouts = Timeouts { connect: SHORT, ..Timeouts::default() };
    let lab = lab(&[Rule { timeouts, ..rule("/", &[silent.address]) }]);
    let begun = Instant::now();
    assert_eq!(lab.client().get("/").status, 504);
    assert!(begun.elapsed() < PATIENCE);
}

/// What the counters say of an endpoint: how often it took no connection, and whether everybody passes it over.
fn connect_failures(lab: &Lab, address: SocketAddr) -> (u64, bool) {
    let state = lab.gateway.state();
    let views = state.backends().flat_map(|(_, views)| views).find(|view| view.address == address);
    let stats = views.unwrap().stats;
    (stats.connect_failures, stats.is_passed_over)
}

#[test]
fn who_gives_endpoints_little_time_passes_them_over_for_itself() {
    let (silent, good) = (Silent::new(), Scripted::echo("good"));
    let both = [silent.address, good.address];
    let second = Some(Duration::from_secs(1));
    let connect = Timeouts { connect: second, ..Timeouts::default() };
    let request = Timeouts { request: second, ..Timeouts::default() };
    // The second one's time is over with its first endpoint's.
    for (timeouts, late) in [(connect, 200), (request, 504)] {
        let mut config = proxy::Config { threads: 1, ..Default::default() };
        config.timeouts.connect = 2 * PATIENCE;
        config.timeouts.endpoint_retry = Duration::from_secs(3600);
        let lab = Lab::with(config, &[Rule { timeouts, ..rule("/", &both) }]);
        let mut client = lab.client();
        let statuses: Vec<_> = (0..20).map(|_| client.get("/").status).collect();
        assert!(statuses.iter().all(|status| [200, late].contains(status)), "{statuses:?}");
        let (failures, is_passed_over) = connect_failures(&lab, silent.address);
        // Each second one, if nobody passed it over. One would do, but for a machine that had no time for the gateway.
        assert!((1..5).contains(&failures), "{failures}");
        assert!(!is_passed_over, "those who would wait longer do not");
    }
    let mut config = proxy::Config { threads: 1, ..Default::default() };
    config.timeouts.connect = Duration::from_secs(1);
    config.timeouts.endpoint_retry = Duration::from_secs(3600);
    let lab = Lab::with(config, &[rule("/", &both)]);
    let mut client = lab.client();
    assert_eq!([(); 4].map(|()| client.get("/").status), [200; 4]);
    let (failures, is_passed_over) = connect_failures(&lab, silent.address);
    assert!((1..3).contains(&failures) && is_passed_over, "{failures}");
}

#[test]
fn an_endpoint_that_sends_nothing_is_given_up_and_one_that_goes_on_is_not() {
    let (never, _told) = Scripted::silent();
    let steady = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
            for _ in 0..8 {
                // Slower in all than the limit, and never as slow as that between two bytes.
                std::thread::sleep(Duration::from_millis(500));
                conn.send("x");
            }
        }
    });
    let timeouts = Timeouts { read: Some(Duration::from_secs(3)), ..Timeouts::default() };
    let lab = lab(&[
        Rule { timeouts, ..rule("/never", &[never.address]) },
        Rule { timeouts, ..rule("/steady", &[steady.address]) },
    ]);
    let begun = Instant::now();
    let answer = lab.client().get("/never");
    assert_eq!((answer.status, answer.text().as_str()), (504, "endpoint did not answer in time\n"));
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(lab.client().get("/steady").text(), "xxxxxxxx");
}

#[test]
fn an_endpoint_that_takes_nothing_is_given_up() {
    const LENGTH: usize = 64 << 20;
    let (done, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    // It reads the head and what came with it, and nothing more.
    let full = Scripted::new(move |conn| {
        conn.head();
        let _ = wait.lock().unwrap().recv();
    });
    let timeouts = Timeouts { send: SHORT, ..Timeouts::default() };
    let lab = lab(&[Rule { timeouts, ..rule("/", &[full.address]) }]);
    let begun = Instant::now();
    let mut client = lab.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let mut sending = client.stream.try_clone().unwrap();
    // Ends when the gateway closes.
    let sender = std::thread::spawn(move || {
        let piece = [b'x'; 1 << 14];
        while sending.write_all(&piece).is_ok() {}
    });
    assert_eq!(client.response_head().status, 504);
    assert!(begun.elapsed() < PATIENCE);
    drop((client, done));
    sender.join().unwrap();
}

#[test]
fn another_protocol_on_which_nothing_moves_is_closed() {
    let (done, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let endpoint = Scripted::new(move |conn| {
        conn.head();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        let _ = wait.lock().unwrap().recv();
    });
    let timeouts = Timeouts { read: SHORT, ..Timeouts::default() };
    let lab = lab(&[Rule { timeouts, ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response_head().status, 101);
    let begun = Instant::now();
    assert!(client.is_closed());
    assert!(begun.elapsed() < PATIENCE);
    drop(done);
}
