//! Connections that are passed on: TCP, TLS by name, and the PROXY protocol, between real sockets.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use balance::{Balancer, EndpointKey, Maglev, Pick};
use model::{
    AppProtocol, Backend, BackendId, BackendPolicy, BackendSecurity, BackendTarget, Balancing, Endpoint,
    EndpointCondition, HostPattern, L4BackendRef, L4Route, Listener, ListenerId, ObjectKind, ObjectRef,
    Protocol, ProxyProtocol, RouteId, Snapshot, WildcardLabels,
};
use support::silent::{Silent, refusing};
use support::{PATIENCE, Scripted, free_port, reset};

/// A gateway in front of what a test makes up.
struct Lab {
    gateway: proxy::Gateway,
    metrics: Arc<telemetry::Metrics>,
    address: SocketAddr,
}

impl Lab {
    fn new(config: proxy::Config) -> Self {
        let metrics = telemetry::Metrics::new(config.threads);
        let gateway = proxy::Gateway::start(config, metrics.clone()).unwrap();
        Self { gateway, metrics, address: free_port() }
    }

    /// A TCP listener in front of these endpoints, each a backend of this weight.
    fn tcp(backends: &[(u32, &[SocketAddr])]) -> Self {
        let lab = Self::new(proxy::Config { threads: 2, ..Default::default() });
        lab.serve(snapshot(1, lab.address, Protocol::Tcp, &[], backends));
        lab
    }

    fn serve(&self, snapshot: Snapshot) {
        let problems = self.gateway.apply(Arc::new(snapshot));
        assert!(problems.is_empty(), "{problems:?}");
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.metrics.l4_refusals.values()
    }
}

fn listener(section: &str, address: SocketAddr, protocol: Protocol) -> Listener {
    Listener {
        id: ListenerId::new("test", "gateway", section),
        addresses: vec![address.ip()],
        port: address.port(),
        protocol,
        hostname: None,
        tls: None,
        forwarded_headers: true,
        proxy_protocol: false,
        reached_by: None,
        backend_certificate: None,
    }
}

fn snapshot(
    version: u64,
    address: SocketAddr,
    protocol: Protocol,
    hosts: &[&str],
    backends: &[(u32, &[SocketAddr])],
) -> Snapshot {
    let listener = listener("one", address, protocol);
    let records = backends.iter().enumerate().map(|(n, (_, endpoints))| backend(n, endpoints));
    let route = L4Route {
        id: RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", "r"), rule: 0 },
        listeners: vec![listener.id.clone()],
        hosts: hosts
            .iter()
            .map(|host| HostPattern::parse(host, WildcardLabels::OneOrMore).unwrap())
            .collect(),
        backends: backends.iter().enumerate().map(|(n, (weight, _))| reference(n, *weight)).collect(),
        created_unix_s: None,
    };
    Snapshot::new(version, [Arc::new(listener)], [], records, []).with_l4_routes([Arc::new(route)])
}

fn reference(number: usize, weight: u32) -> L4BackendRef {
    let target = BackendTarget::Backend(BackendId::service("test", &format!("b{number}"), 1));
    L4BackendRef { weight, target }
}

fn backend(number: usize, endpoints: &[SocketAddr]) -> Arc<Backend> {
    let endpoint = |&address: &SocketAddr| Endpoint {
        address,
        other: None,
        weight: 1,
        condition: EndpointCondition::Ready,
    };
    let mut endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
    endpoints.sort();
    let id = BackendId::service("test", &format!("b{number}"), 1);
    Arc::new(Backend {
        id,
        protocol: AppProtocol::Http1,
        endpoints,
        affinity: None,
        policy: None,
        security: BackendSecurity::Cleartext,
        proxy_protocol: None,
    })
}

/// Lets endpoints be told who the client is.
fn told(snapshot: &mut Snapshot, version: ProxyProtocol) {
    for backend in snapshot.backends.values_mut() {
        Arc::make_mut(backend).proxy_protocol = Some(version);
    }
}

/// The same with endpoints of two addresses, the preferred one first.
fn with_pairs(snapshot: Snapshot, pairs: &[(SocketAddr, SocketAddr)]) -> Snapshot {
    let mut snapshot = snapshot;
    for backend in snapshot.backends.values_mut() {
        for endpoint in &mut Arc::make_mut(backend).endpoints {
            let (_, other) = pairs.iter().find(|(preferred, _)| *preferred == endpoint.address).unwrap();
            endpoint.other = Some(model::OtherAddress { address: *other, is_first: false });
        }
    }
    snapshot
}

/// An endpoint that says its name, then repeats what it hears, and closes behind the client.
fn repeating(name: &'static str) -> Scripted {
    Scripted::new(move |conn| {
        conn.stream.write_all(name.as_bytes()).unwrap();
        let mut bytes = [0; 8192];
        while let Ok(read) = conn.stream.read(&mut bytes) {
            if read == 0 {
                break;
            }
            if conn.stream.write_all(&bytes[..read]).is_err() {
                return;
            }
        }
        let _ = conn.stream.shutdown(Shutdown::Write);
    })
}

fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn name_of(stream: &mut TcpStream) -> String {
    let mut name = [0; 3];
    stream.read_exact(&mut name).unwrap();
    String::from_utf8(name.to_vec()).unwrap()
}

#[test]
fn bytes_pass_both_ways_and_each_end_closes_by_itself() {
    let endpoint = repeating("one");
    let lab = Lab::tcp(&[(1, &[endpoint.address])]);
    let mut client = lab.connect();
    let sent: Vec<u8> = (0..2_000_000u32).map(|i| (i % 251) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let expected = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(name_of(&mut client), "one");
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == expected, "{} of {} bytes", back.len(), expected.len());
    wait_for(|| lab.gateway.connections() == 0);
    let (key, passed) = &lab.metrics.passed_on()[0];
    assert_eq!((key.0.as_str(), key.1), ("test/gateway", "tcp"));
    let totals = passed.totals();
    assert_eq!(
        (totals.opened, totals.active, totals.bytes_in, totals.bytes_out),
        (1, 0, 2_000_000, 2_000_003)
    );
}

#[test]
fn a_connection_goes_to_whichever_address_answers() {
    let endpoint = repeating("one");
    let silent = Silent::new();
    for dead in [silent.address, refusing()] {
        let lab = Lab::new(proxy::Config { threads: 1, ..Default::default() });
        let made = snapshot(1, lab.address, Protocol::Tcp, &[], &[(1, &[dead])]);
        lab.serve(with_pairs(made, &[(dead, endpoint.address)]));
        for _ in 0..3 {
            assert_eq!(name_of(&mut lab.connect()), "one");
        }
        assert_eq!(lab.refusals(), []);
    }
}

#[test]
fn a_reset_passes_through_and_nothing_said_before_it_is_lost() {
    let endpoint = Scripted::new(|conn| {
        conn.stream.write_all(&[7; 300_000]).unwrap();
        // A reset takes with it what was not sent.
        std::thread::sleep(Duration::from_secs(1));
        reset(&conn.stream);
    });
    let lab = Lab::tcp(&[(1, &[endpoint.address])]);
    let mut client = lab.connect();
    std::thread::sleep(Duration::from_millis(100));
    let mut got = Vec::new();
    let error = client.read_to_end(&mut got).unwrap_err();
    assert_eq!((got.len(), error.kind()), (300_000, ErrorKind::ConnectionReset));
    wait_for(|| lab.gateway.connections() == 0);
}

#[test]
fn backends_get_their_weights() {
    let (one, two, none) = (repeating("one"), repeating("two"), repeating("not"));
    let lab = Lab::tcp(&[(3, &[one.address]), (1, &[two.address]), (0, &[none.address])]);
    let mut counts = [0, 0];
    for _ in 0..400 {
        match &*name_of(&mut lab.connect()) {
            "one" => counts[0] += 1,
            "two" => counts[1] += 1,
            other => panic!("{other}"),
        }
    }
    // Binomial, n = 400, p = 3/4: mean 300, five standard deviations 43.
    assert!((257..=343).contains(&counts[0]), "{counts:?}");
}

#[test]
fn an_endpoint_that_refuses_gives_way_to_another() {
    let one = repeating("one");
    let lab = Lab::tcp(&[(1, &[closed_port(), one.address, closed_port()])]);
    for _ in 0..50 {
        assert_eq!(name_of(&mut lab.connect()), "one");
    }
    assert!(lab.refusals().is_empty(), "{:?}", lab.refusals());
}

#[test]
fn what_cannot_be_passed_on_is_reset_and_counted() {
    let one = repeating("one");
    let lab = Lab::tcp(&[(1, &[closed_port()])]);
    let is_reset = |lab: &Lab| {
        let read = lab.connect().read(&mut [0]);
        matches!(read, Err(error) if error.kind() == ErrorKind::ConnectionReset)
    };
    assert!(is_reset(&lab));
    lab.serve(snapshot(2, lab.address, Protocol::Tcp, &[], &[(1, &[])]));
    assert!(is_reset(&lab));
    let mut invalid = snapshot(3, lab.address, Protocol::Tcp, &[], &[(1, &[one.address])]);
    let mut route = (*invalid.l4_routes[0]).clone();
    route.backends[0].target = BackendTarget::Invalid(model::InvalidBackend::NotFound);
    invalid.l4_routes = vec![Arc::new(route)];
    lab.serve(invalid);
    assert!(is_reset(&lab));
    let mut none = snapshot(4, lab.address, Protocol::Tcp, &[], &[(1, &[one.address])]);
    none.l4_routes = vec![];
    lab.serve(none);
    assert!(is_reset(&lab));
    assert_eq!(
        lab.refusals(),
        [
            ("backend reference cannot be resolved", 1),
            ("endpoint refused the connection", 1),
            ("no endpoint is ready", 1),
            ("no route", 1)
        ]
    );
    lab.serve(snapshot(5, lab.address, Protocol::Tcp, &[], &[(1, &[one.address])]));
    assert_eq!(name_of(&mut lab.connect()), "one");
}

#[test]
fn connections_outlive_changes_and_none_fails_during_three_thousand() {
    let (one, two) = (repeating("one"), repeating("two"));
    let lab = Lab::tcp(&[(1, &[one.address])]);
    let mut old = lab.connect();
    assert_eq!(name_of(&mut old), "one");
    let (stop, served, address) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), lab.address);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.write_all(b"hello").unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut all = String::new();
                    stream.read_to_string(&mut all).unwrap();
                    assert!(all == "onehello" || all == "twohello", "{all}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for version in 0..3_000u64 {
        let endpoints: &[SocketAddr] = match version % 3 {
            0 => &[one.address],
            1 => &[two.address],
            _ => &[one.address, two.address],
        };
        lab.serve(snapshot(2 + version, address, Protocol::Tcp, &[], &[(1, endpoints)]));
    }
    wait_for(|| served.load(Ordering::Relaxed) > 100);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    assert!(lab.refusals().is_empty(), "{:?}", lab.refusals());
    old.write_all(b"still").unwrap();
    let mut still = [0; 5];
    old.read_exact(&mut still).unwrap();
    assert_eq!(&still, b"still");
}

#[test]
fn draining_waits_for_connections_as_long_as_it_may() {
    let endpoint = repeating("one");
    let mut config = proxy::Config { threads: 1, ..Default::default() };
    config.timeouts.drain = Duration::from_secs(3);
    let lab = Lab::new(config);
    lab.serve(snapshot(1, lab.address, Protocol::Tcp, &[], &[(1, &[endpoint.address])]));
    let (mut ends, mut stays) = (lab.connect(), lab.connect());
    assert_eq!((name_of(&mut ends), name_of(&mut stays)), ("one".into(), "one".into()));
    let ending = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        ends.write_all(b"last words").unwrap();
        ends.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        ends.read_to_string(&mut all).unwrap();
        all
    });
    let started = Instant::now();
    assert_eq!(lab.gateway.drain(), 1, "one is still open when the time is over");
    assert!(started.elapsed() >= Duration::from_millis(2900));
    assert_eq!(ending.join().unwrap(), "last words");
    assert!(TcpStream::connect(lab.address).is_err(), "no new ones");
}

#[test]
fn silent_connections_end() {
    let endpoint = repeating("one");
    let mut config = proxy::Config { threads: 1, ..Default::default() };
    config.timeouts.l4_idle = Duration::from_millis(200);
    let lab = Lab::new(config);
    lab.serve(snapshot(1, lab.address, Protocol::Tcp, &[], &[(1, &[endpoint.address])]));
    let mut client = lab.connect();
    assert_eq!(name_of(&mut client), "one");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn endpoints_are_told_who_the_client_is() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let endpoint = Scripted::new(|conn| {
            let mut bytes = [0; 200];
            while let Ok(read) = conn.stream.read(&mut bytes) {
                if read == 0 {
                    break;
                }
                conn.stream.write_all(&bytes[..read]).unwrap();
            }
        });
        let lab = Lab::new(proxy::Config { threads: 1, ..Default::default() });
        let mut snapshot = snapshot(1, lab.address, Protocol::Tcp, &[], &[(1, &[endpoint.address])]);
        told(&mut snapshot, version);
        lab.serve(snapshot);
        let mut client = lab.connect();
        let port = client.local_addr().unwrap().port();
        client.write_all(b"hello").unwrap();
        let expected = match version {
            ProxyProtocol::V1 => {
                format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}\r\nhello", lab.address.port()).into_bytes()
            }
            ProxyProtocol::V2 => [
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01",
                &port.to_be_bytes()[..],
                &lab.address.port().to_be_bytes(),
                b"hello",
            ]
            .concat(),
        };
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}

#[test]
fn trusted_proxies_say_who_the_client_is_and_others_cannot() {
    let trusted: ipnet::IpNet = "127.0.0.0/8".parse().unwrap();
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n";
    for (proxies, gets_through) in [(vec![trusted], true), (vec![], false)] {
        let endpoint = repeating("one");
        let config = proxy::Config { threads: 1, trusted_proxies: proxies, ..Default::default() };
        let lab = Lab::new(config);
        let mut with_option = snapshot(1, lab.address, Protocol::Tcp, &[], &[(1, &[endpoint.address])]);
        let mut listener = listener("one", lab.address, Protocol::Tcp);
        listener.proxy_protocol = true;
        with_option.listeners = [(listener.id.clone(), Arc::new(listener))].into();
        told(&mut with_option, ProxyProtocol::V1);
        lab.serve(with_option);
        let mut client = lab.connect();
        let port = client.local_addr().unwrap().port();
        client.write_all(header).unwrap();
        client.write_all(b"hello").unwrap();
        assert_eq!(name_of(&mut client), "one");
        let to = lab.address.port();
        let expected = if gets_through {
            format!("PROXY TCP4 192.0.2.7 127.0.0.1 40000 {to}\r\nhello")
        } else {
            // What the client says of itself is but bytes.
            format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {to}\r\nPROXY TCP4 192.0.2.7")
        };
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), expected);
        if gets_through {
            let mut bad = lab.connect();
            bad.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            assert!(matches!(bad.read(&mut [0; 10]), Ok(0) | Err(_)), "no header, no service");
            assert_eq!(lab.metrics.refusals.values(), [("no PROXY header", 1)]);
        }
    }
}

#[test]
fn an_http_listener_takes_the_client_from_its_proxy() {
    let endpoint = Scripted::echo("web");
    let config = proxy::Config {
        threads: 1,
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        ..Default::default()
    };
    let lab = support::Lab::with(config, &[support::rule("/", &[endpoint.address])]);
    let mut snapshot =
        (*support::snapshot(7, lab.address, &[support::rule("/", &[endpoint.address])])).clone();
    for listener in snapshot.listeners.values_mut() {
        *listener = Arc::new(Listener { proxy_protocol: true, ..(**listener).clone() });
    }
    assert!(lab.gateway.apply(Arc::new(snapshot)).is_empty());
    let mut client = lab.client();
    client.send("PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let heard = endpoint.received();
    assert!(heard.to_lowercase().contains("x-forwarded-for: 192.0.2.7\r\n"), "{heard}");
}

/// Slow start is for HTTP: clients would come to other endpoints from gateways that learned of the new one at other times.
#[test]
fn an_endpoint_that_joins_has_all_of_its_flows_at_once() {
    let [one, two, new] = ["one", "two", "new"].map(repeating);
    let lab = Lab::new(proxy::Config { threads: 1, ..Default::default() });
    let slow = |version, endpoints: &[SocketAddr]| {
        let mut snapshot = snapshot(version, lab.address, Protocol::Tcp, &[], &[(1, endpoints)]);
        for backend in snapshot.backends.values_mut() {
            let slow_start = Some(Duration::from_secs(3600));
            let policy = Some(Arc::new(BackendPolicy { slow_start, ..Default::default() }));
            *backend = Arc::new(Backend { policy, ..(**backend).clone() });
        }
        snapshot
    };
    let mut all = [one.address, two.address, new.address];
    lab.serve(slow(1, &all[..2]));
    lab.serve(slow(2, &all));
    all.sort();
    let Balancing::Maglev { table_size } = Balancing::default() else { panic!("flows go by Maglev") };
    let table = Maglev::build(&all.map(|address| EndpointKey::new(address, 1)), table_size).unwrap();
    let is_new = |_| {
        let mut client = lab.connect();
        let hash = balance::hash_flow(client.local_addr().unwrap(), lab.address, 0);
        let wanted = all[table.pick(&Pick { hash, ..Pick::default() }).unwrap()];
        let is_new = name_of(&mut client) == "new";
        assert_eq!(is_new, wanted == new.address);
        is_new
    };
    assert!((0..60).filter(|n| is_new(*n)).count() > 0);
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never so");
        std::thread::sleep(Duration::from_millis(5));
    }
}
