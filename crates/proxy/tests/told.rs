//! Endpoints that are told who the client is before anything else, by the PROXY protocol.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{
    AppProtocol, Authorities, BackendPolicy, BackendSecurity, BackendTls, CircuitLimits, HealthCheck,
    PeerName, Probe, ProxyProtocol,
};
use support::{Conn, Lab, Rule, Scripted, eventually, rule};

/// Bytes of a header of version 2 for IPv4.
const V2_BYTES: usize = 28;

fn told(endpoints: &[SocketAddr], version: ProxyProtocol) -> Rule<'_> {
    Rule { proxy_protocol: Some(version), ..rule("/", endpoints) }
}

/// The first bytes of a connection.
fn header(conn: &mut Conn, version: ProxyProtocol) -> Vec<u8> {
    match version {
        ProxyProtocol::V1 => conn.until(b"\r\n"),
        ProxyProtocol::V2 => conn.body(V2_BYTES),
    }
}

/// What they must be for a client.
fn expected(client: SocketAddr, gateway: SocketAddr, version: ProxyProtocol) -> String {
    let (from, to) = (client.port(), gateway.port());
    let bytes = match version {
        ProxyProtocol::V1 => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n").into_bytes(),
        ProxyProtocol::V2 => [
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01",
            &from.to_be_bytes()[..],
            &to.to_be_bytes(),
        ]
        .concat(),
    };
    bytes.escape_ascii().to_string()
}

/// Answers each request with the header of its connection and the connection's number.
fn saying(version: ProxyProtocol) -> Scripted {
    Scripted::new(move |conn| {
        let header = header(conn, version).escape_ascii().to_string();
        while conn.head().is_some() {
            let body = format!("{} {header}", conn.number);
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

#[test]
fn a_connection_is_told_of_one_client_and_carries_no_others_requests() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let endpoint = saying(version);
        let all = [endpoint.address];
        let config = proxy::Config { threads: 1, ..Default::default() };
        let lab = Lab::with(config, &[told(&all, version)]);
        let mut clients = [lab.client(), lab.client()];
        for round in 0..3 {
            for (number, client) in clients.iter_mut().enumerate() {
                let own = expected(client.stream.local_addr().unwrap(), lab.address, version);
                assert_eq!(client.get("/").text(), format!("{number} {own}"), "{version:?} {round}");
            }
        }
        assert_eq!(endpoint.connections(), 2, "{version:?}");
    }
}

#[test]
fn backends_that_are_told_and_that_are_not_share_no_connections_to_an_endpoint() {
    let endpoint = Scripted::new(|conn| {
        let mut body = "plain";
        while let Some(head) = conn.head() {
            if head.starts_with("PROXY TCP4 ") {
                body = "told";
            }
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let all = [endpoint.address];
    let config = proxy::Config { threads: 1, ..Default::default() };
    let rules = [Rule { prefix: "/told", ..told(&all, ProxyProtocol::V1) }, rule("/", &all)];
    let lab = Lab::with(config, &rules);
    assert_eq!(lab.client().get("/plain").text(), "plain");
    assert_eq!(lab.client().get("/told").text(), "told");
    assert_eq!(lab.client().get("/plain").text(), "plain");
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn the_header_comes_before_tls_and_before_http2() {
    let tls = BackendTls {
        server_name: "endpoint.test".into(),
        tells_name: true,
        names: vec![PeerName::Dns("endpoint.test".into())],
        authorities: Authorities::Anybody,
        certificate: None,
    };
    let version = ProxyProtocol::V2;
    for (is_tls, start) in [(true, &b"\x16\x03"[..]), (false, b"PRI * HTTP/2.0\r\n")] {
        let endpoint = Scripted::new(move |conn| {
            header(conn, version);
            conn.body(start.len());
        });
        let all = [endpoint.address];
        let rule = match is_tls {
            true => Rule { security: BackendSecurity::Tls(Arc::new(tls.clone())), ..told(&all, version) },
            false => Rule { protocol: AppProtocol::Http2, ..told(&all, version) },
        };
        let lab = Lab::new(&[rule]);
        let mut client = lab.client();
        let own = expected(client.stream.local_addr().unwrap(), lab.address, version);
        let status = client.get("/").status;
        assert!(matches!(status, 502 | 503), "{status}: the endpoint has nothing more to say");
        let received = endpoint.first();
        assert_eq!(received[..V2_BYTES].escape_ascii().to_string(), own, "TLS: {is_tls}");
        assert!(received[V2_BYTES..].starts_with(start), "TLS: {is_tls}: {}", received.escape_ascii());
    }
}

#[test]
fn a_probe_says_that_the_gateway_speaks_for_itself() {
    for (version, own) in [
        (ProxyProtocol::V1, &b"PROXY UNKNOWN\r\n"[..]),
        (ProxyProtocol::V2, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
    ] {
        let endpoint = Scripted::new(move |conn| {
            if conn.body(own.len()) == own && conn.head().is_some_and(|head| head.starts_with("GET /ready "))
            {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let check = HealthCheck {
            probe: Probe::Http { path: "/ready".into(), host: None, statuses: vec![] },
            interval: Duration::from_millis(5),
            timeout: Duration::from_secs(5),
            healthy_after: 1,
            unhealthy_after: 1,
        };
        let policy = Some(Arc::new(BackendPolicy { health_check: Some(check), ..Default::default() }));
        let all = [endpoint.address];
        let lab = Lab::new(&[Rule { policy, ..told(&all, version) }]);
        eventually("probes pass", || {
            lab.metrics.health().probes().iter().any(|(result, count)| *result == "passed" && *count > 1)
        });
        assert_eq!(lab.metrics.health().probes().len(), 1, "{:?}", lab.metrics.health().probes());
    }
}

#[test]
fn who_comes_by_a_trusted_proxy_is_who_its_header_names() {
    let endpoint = saying(ProxyProtocol::V2);
    let all = [endpoint.address];
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let config = proxy::Config { threads: 1, trusted_proxies, ..Default::default() };
    let rules = [told(&all, ProxyProtocol::V2)];
    let lab = Lab::with(config, &rules);
    let mut snapshot = (*support::snapshot(7, lab.address, &rules)).clone();
    for listener in snapshot.listeners.values_mut() {
        Arc::make_mut(listener).proxy_protocol = true;
    }
    assert!(lab.gateway.apply(Arc::new(snapshot)).is_empty());
    let mut client = lab.client();
    client.send("PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n");
    let told = client.get("/").text();
    let own = [&b"\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x9c\x40"[..], &lab.address.port().to_be_bytes()]
        .concat();
    assert!(told.ends_with(&own.escape_ascii().to_string()), "{told}");
}

#[test]
fn a_connection_that_was_told_ends_with_the_clients() {
    let endpoint = saying(ProxyProtocol::V2);
    let all = [endpoint.address];
    let lab = Lab::new(&[told(&all, ProxyProtocol::V2)]);
    for round in 1..20 {
        let mut client = lab.client();
        assert_eq!(client.get("/").status, 200);
        drop(client);
        eventually("the endpoint's connection to end", || lab.metrics.upstream_connections_active.get() == 0);
        assert_eq!(endpoint.connections(), round);
    }
}

#[test]
fn a_limit_of_connections_is_one_for_all_clients() {
    let endpoint = saying(ProxyProtocol::V2);
    let all = [endpoint.address];
    let limits = CircuitLimits { connections: Some(2), ..Default::default() };
    let policy = Some(Arc::new(BackendPolicy { limits: Some(limits), ..Default::default() }));
    let lab = Lab::new(&[Rule { policy, ..told(&all, ProxyProtocol::V2) }]);
    let mut clients: Vec<_> = (0..6).map(|_| lab.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200, "an idle one of another client's makes room");
        let active = lab.metrics.upstream_connections_active.get();
        assert!(active <= 2, "{active}");
    }
}
