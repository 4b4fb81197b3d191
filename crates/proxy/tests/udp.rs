//! Datagrams and their sessions, between real sockets.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{
    AppProtocol, Backend, BackendId, BackendSecurity, BackendTarget, Endpoint, EndpointCondition,
    L4BackendRef, L4Route, Listener, ListenerId, ObjectKind, ObjectRef, Protocol, RouteId, Snapshot,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway with a UDP listener.
struct Lab {
    gateway: proxy::Gateway,
    metrics: Arc<telemetry::Metrics>,
    port: u16,
}

impl Lab {
    fn new(
        change: impl FnOnce(&mut proxy::Config),
        addresses: &[&str],
        backends: &[(u32, &[SocketAddr])],
    ) -> Self {
        let mut config = proxy::Config { threads: 1, ..Default::default() };
        change(&mut config);
        let metrics = telemetry::Metrics::new(config.threads);
        let gateway = proxy::Gateway::start(config, metrics.clone()).unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let lab = Self { gateway, metrics, port };
        lab.serve(1, addresses, backends);
        lab
    }

    fn serve(&self, version: u64, addresses: &[&str], backends: &[(u32, &[SocketAddr])]) {
        let problems = self.gateway.apply(Arc::new(snapshot(version, addresses, self.port, backends)));
        assert!(problems.is_empty(), "{problems:?}");
    }

    fn client(&self, dial: &str) -> UdpSocket {
        let dial: IpAddr = dial.parse().unwrap();
        let socket = UdpSocket::bind(if dial.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
        // Connected: an answer from any other address would not arrive.
        socket.connect((dial, self.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn refused(&self, reason: &str) -> u64 {
        self.metrics.l4_refusals.values().iter().find(|(r, _)| *r == reason).map_or(0, |(_, count)| *count)
    }
}

fn snapshot(version: u64, addresses: &[&str], port: u16, backends: &[(u32, &[SocketAddr])]) -> Snapshot {
    let listener = Listener {
        id: ListenerId::new("test", "gateway", "udp"),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        port,
        protocol: Protocol::Udp,
        hostname: None,
        tls: None,
        forwarded_headers: false,
        proxy_protocol: false,
        reached_by: None,
        backend_certificate: None,
    };
    let id = |n: usize| BackendId::udp_service("test", &format!("b{n}"), 1);
    let route = L4Route {
        id: RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", "r"), rule: 0 },
        listeners: vec![listener.id.clone()],
        hosts: vec![],
        backends: (0..backends.len())
            .map(|n| L4BackendRef { weight: backends[n].0, target: BackendTarget::Backend(id(n)) })
            .collect(),
        created_unix_s: None,
    };
    let records = backends.iter().enumerate().map(|(n, (_, endpoints))| {
        let endpoint = |&address: &SocketAddr| Endpoint {
            address,
            other: None,
            weight: 1,
            condition: EndpointCondition::Ready,
        };
        let mut endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
        endpoints.sort();
        Arc::new(Backend {
            id: id(n),
            protocol: AppProtocol::Http1,
            endpoints,
            affinity: None,
            policy: None,
            security: BackendSecurity::Cleartext,
            proxy_protocol: None,
        })
    });
    Snapshot::new(version, [Arc::new(listener)], [], records, []).with_l4_routes([Arc::new(route)])
}

/// An endpoint that repeats each datagram behind its name and the port it came from.
fn repeating(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 65_535];
        while let Ok((read, from)) = socket.recv_from(&mut bytes) {
            let answer = [format!("{name} {} ", from.port()).as_bytes(), &bytes[..read]].concat();
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

fn ask(client: &UdpSocket, question: &str) -> String {
    client.send(question.as_bytes()).unwrap();
    hear(client)
}

fn hear(client: &UdpSocket) -> String {
    let mut bytes = [0; 2048];
    let read = client.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..read].to_vec()).unwrap()
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never so");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_keeps_its_session_and_answers_come_from_where_it_asked() {
    let endpoint = repeating("one");
    let lab = Lab::new(|_| {}, &[], &[(1, &[endpoint])]);
    for dial in ["127.0.0.1", "127.0.0.77", "::1"] {
        let client = lab.client(dial);
        let first = ask(&client, "x");
        assert!(first.starts_with("one ") && first.ends_with(" x"), "{first}");
        assert_eq!(ask(&client, "x"), first, "the same port, so the same session");
        assert_ne!(ask(&lab.client(dial), "x"), first, "another client, another session");
    }
    let totals = lab.metrics.passed_on()[0].1.totals();
    assert_eq!((totals.opened, totals.active, totals.bytes_in), (6, 6, 9));
}

#[test]
fn datagrams_go_to_the_address_with_a_way_and_sessions_outlive_a_pairing() {
    let endpoint = repeating("one");
    let lab = Lab::new(|_| {}, &["127.0.0.1"], &[(1, &[endpoint])]);
    let client = lab.client("127.0.0.1");
    let first = ask(&client, "x");
    // Link-local without a link: nothing can be sent there.
    let nowhere: SocketAddr = "[fe80::1]:9".parse().unwrap();
    for (version, name, other) in [(2, endpoint, nowhere), (3, nowhere, endpoint)] {
        let mut paired = snapshot(version, &["127.0.0.1"], lab.port, &[(1, &[name])]);
        for backend in paired.backends.values_mut() {
            let other = Some(model::OtherAddress { address: other, is_first: false });
            Arc::make_mut(backend).endpoints[0].other = other;
        }
        assert!(lab.gateway.apply(Arc::new(paired)).is_empty());
        assert_eq!(ask(&client, "x"), first, "the same session");
        assert!(ask(&lab.client("127.0.0.1"), "x").starts_with("one "), "{name} {other}");
    }
}

#[test]
fn a_refusal_by_icmp_at_one_address_leads_to_the_other() {
    let closed = UdpSocket::bind("[::1]:0").unwrap().local_addr().unwrap();
    let endpoint = repeating("one");
    let lab = Lab::new(|_| {}, &["127.0.0.1"], &[(1, &[endpoint])]);
    let mut paired = snapshot(2, &["127.0.0.1"], lab.port, &[(1, &[closed])]);
    for backend in paired.backends.values_mut() {
        let other = Some(model::OtherAddress { address: endpoint, is_first: false });
        Arc::make_mut(backend).endpoints[0].other = other;
    }
    assert!(lab.gateway.apply(Arc::new(paired)).is_empty());
    let client = lab.client("127.0.0.1");
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    wait_for(|| client.send(b"x").is_ok() && client.recv(&mut [0; 100]).is_ok());
    let state = lab.gateway.state();
    let passed_over =
        state.backends().flat_map(|(_, views)| views).filter(|view| view.stats.is_passed_over).count();
    assert_eq!(passed_over, 0, "the endpoint has another address");
}

#[test]
fn sessions_go_by_weight() {
    let (one, two) = (repeating("one"), repeating("two"));
    let lab = Lab::new(|_| {}, &["127.0.0.1"], &[(3, &[one]), (1, &[two])]);
    let ones = (0..200).filter(|_| ask(&lab.client("127.0.0.1"), "x").starts_with("one")).count();
    // Binomial, n = 200, p = 3/4: mean 150, five standard deviations 31.
    assert!((119..=181).contains(&ones), "{ones}");
}

#[test]
fn idle_sessions_end_and_a_datagram_in_either_direction_keeps_one() {
    let endpoint = repeating("one");
    let lab = Lab::new(|c| c.timeouts.udp_idle = Duration::from_secs(4), &["127.0.0.1"], &[(1, &[endpoint])]);
    let client = lab.client("127.0.0.1");
    let first = ask(&client, "x");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(ask(&client, "x"), first);
    }
    wait_for(|| lab.metrics.passed_on()[0].1.totals().active == 0);
    assert_ne!(ask(&client, "x"), first, "a new session");
}

#[test]
fn of_too_many_sessions_the_longest_idle_goes_first() {
    let endpoint = repeating("one");
    let lab = Lab::new(|c| c.udp_sessions_max = 2, &["127.0.0.1"], &[(1, &[endpoint])]);
    let clients: Vec<_> = (0..3).map(|_| lab.client("127.0.0.1")).collect();
    let pause = || std::thread::sleep(Duration::from_millis(150));
    let old = ask(&clients[0], "x");
    pause();
    let second = ask(&clients[1], "x");
    pause();
    assert_eq!(ask(&clients[0], "x"), old);
    pause();
    ask(&clients[2], "x");
    assert_eq!(lab.refused("UDP session displaced"), 1);
    assert_eq!(ask(&clients[0], "x"), old, "used lately");
    assert_ne!(ask(&clients[1], "x"), second, "was the longest idle");
    assert_eq!(lab.metrics.passed_on()[0].1.totals().active, 2);
}

#[test]
fn a_refusal_by_icmp_ends_the_session_and_another_endpoint_serves() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let one = repeating("one");
    let lab = Lab::new(|_| {}, &["127.0.0.1"], &[(1, &[closed, one])]);
    for _ in 0..8 {
        let client = lab.client("127.0.0.1");
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let answered = || {
            client.send(b"x").unwrap();
            client.recv(&mut [0; 100]).is_ok()
        };
        while !answered() {
            assert!(Instant::now() < deadline, "never answered");
        }
    }
    assert!(lab.refused("endpoint refused the datagram") >= 1);
}

#[test]
fn sessions_of_an_endpoint_that_is_gone_move_to_another() {
    let (one, two) = (repeating("one"), repeating("two"));
    let lab = Lab::new(|_| {}, &["127.0.0.1"], &[(1, &[one])]);
    let client = lab.client("127.0.0.1");
    let first = ask(&client, "x");
    assert!(first.starts_with("one"));
    lab.serve(2, &["127.0.0.1"], &[(1, &[one, two])]);
    assert_eq!(ask(&client, "x"), first, "it stays as long as its endpoint");
    lab.serve(3, &["127.0.0.1"], &[(1, &[two])]);
    assert!(ask(&client, "x").starts_with("two"));
}

#[test]
fn without_a_route_nothing_is_sent_to_anyone() {
    let lab = Lab::new(|_| {}, &["127.0.0.1"], &[]);
    let client = lab.client("127.0.0.1");
    client.send(b"x").unwrap();
    wait_for(|| lab.refused("no backend has weight") == 1);
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(client.recv(&mut [0; 10]).is_err());
}

#[test]
fn a_listener_that_goes_takes_its_sessions_along_and_frees_the_port() {
    let one = repeating("one");
    let lab = Lab::new(|c| c.threads = 2, &["127.0.0.1"], &[(1, &[one])]);
    ask(&lab.client("127.0.0.1"), "x");
    assert!(lab.gateway.apply(Arc::new(Snapshot::new(2, [], [], [], []))).is_empty());
    assert_eq!(lab.metrics.passed_on()[0].1.totals().active, 0);
    assert!(UdpSocket::bind(("127.0.0.1", lab.port)).is_ok());
}

#[test]
fn large_datagrams_pass_whole() {
    let endpoint = repeating("one");
    let lab = Lab::new(|_| {}, &["127.0.0.1"], &[(1, &[endpoint])]);
    let client = lab.client("127.0.0.1");
    let sent = vec![b'z'; 60_000];
    client.send(&sent).unwrap();
    let mut bytes = vec![0; 65_535];
    let read = client.recv(&mut bytes).unwrap();
    assert!(bytes[..read].ends_with(&sent));
}
