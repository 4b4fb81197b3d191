//! One Service that routes speak to in several ways: what these share, and what one must not take from the others.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use model::{
    Affinity, AppProtocol, Authorities, BackendId, BackendPolicy, BackendSecurity, BackendTls, Balancing,
    HashBy, ObjectKind, ObjectRef, RouteAffinity, Session, SessionCarrier, Speaks, SpokenTls, Timeouts,
};
use support::{Lab, Rule, Scripted, content_length, eventually, rule};

/// TLS with whoever answers.
fn tls() -> BackendSecurity {
    BackendSecurity::Tls(Arc::new(BackendTls {
        server_name: "a.test".into(),
        tells_name: true,
        names: vec![],
        authorities: Authorities::Anybody,
        certificate: None,
    }))
}

fn service(speaks: Option<Speaks>) -> Option<BackendId> {
    Some(BackendId { speaks: speaks.map(Arc::new), ..BackendId::service("test", "shop", 80) })
}

fn https(is_verified: bool, secret: Option<&str>) -> Speaks {
    let secret = secret.map(|name| ObjectRef::new(ObjectKind::Secret, "test", name));
    let tls = SpokenTls { is_verified, secret, ..SpokenTls::default() };
    Speaks { protocol: AppProtocol::Http1, tls: Some(tls) }
}

/// Ways to speak to it, as an operator goes through them.
fn ways() -> Vec<Option<Speaks>> {
    let plain = Speaks { protocol: AppProtocol::Http1, tls: None };
    let mut all = vec![None, Some(plain), Some(https(false, None)), Some(https(true, None))];
    all.extend(["a", "b", "c", "d", "e"].map(|name| Some(https(true, Some(name)))));
    all
}

fn session() -> Session {
    Session {
        name: "cart".into(),
        scope: "the rule".into(),
        carrier: SessionCarrier::Cookie {
            path: "/".into(),
            is_permanent: false,
            attributes: Default::default(),
        },
        absolute: None,
        idle: None,
    }
}

/// Answers with its name, and closes on whoever does not speak HTTP/1.
fn plain_only(name: &'static str) -> Scripted {
    Scripted::new(move |conn| {
        let mut first = [0; 3];
        while conn.stream.peek(&mut first).is_ok_and(|read| read > 0) && first == *b"GET" {
            let head = conn.head().unwrap();
            assert_eq!(content_length(&head), 0);
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()));
        }
    })
}

/// Who answers a request with this cookie, and the cookie that it gives.
fn ask(lab: &Lab, path: &str, cookie: Option<&str>) -> (u16, String, Option<String>) {
    let mut client = lab.client();
    let line = cookie.map_or(String::new(), |value| format!("Cookie: cart={value}\r\n"));
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{line}\r\n"));
    let response = client.response();
    let given = response.head.lines().find_map(|line| line.strip_prefix("Set-Cookie: cart="));
    let given = given.map(|given| given.split(';').next().unwrap().to_owned());
    (response.status, response.text().lines().next().unwrap_or_default().to_owned(), given)
}

#[test]
fn what_fails_in_one_way_is_not_passed_over_in_another() {
    let endpoints = [plain_only("a"), plain_only("b")];
    let both = [endpoints[0].address, endpoints[1].address];
    let mut config = proxy::Config { threads: 1, ..Default::default() };
    config.timeouts.endpoint_retry = Duration::from_secs(3600);
    let http2 = Speaks { protocol: AppProtocol::Http2, tls: None };
    let shop = Rule { session: Some(session()), backend: service(None), ..rule("/shop", &both) };
    let tested = Rule { security: tls(), backend: service(Some(https(true, None))), ..rule("/tls", &both) };
    let grpc = Rule { protocol: AppProtocol::Http2, backend: service(Some(http2)), ..rule("/grpc", &both) };
    let lab = Lab::with(config, &[shop, tested, grpc]);
    let held: Vec<_> = (0..2)
        .map(|_| {
            let (status, name, cookie) = ask(&lab, "/shop", None);
            assert_eq!(status, 200);
            (name, cookie.unwrap())
        })
        .collect();
    assert_ne!(held[0].0, held[1].0, "a session at each");
    for path in ["/tls", "/tls", "/grpc", "/grpc"] {
        assert!(ask(&lab, path, None).0 >= 500);
        for (name, cookie) in &held {
            assert_eq!(ask(&lab, "/shop", Some(cookie)), (200, name.clone(), None), "after {path}");
        }
    }
    // New ones are spread as before.
    let mut others: Vec<_> = (0..2).map(|_| ask(&lab, "/shop", None).1).collect();
    others.sort();
    assert_eq!(others, ["a", "b"]);
    let state = lab.gateway.state();
    for (id, views) in state.backends() {
        let over = views.iter().filter(|view| view.stats.is_passed_over).count();
        let failures: u64 = views.iter().map(|view| view.stats.connect_failures).sum();
        match id.speaks.as_deref() {
            None => assert_eq!((over, failures), (0, 0)),
            Some(Speaks { tls: Some(_), .. }) => assert_eq!((over, failures > 0), (2, true)),
            Some(_) => {}
        }
    }
}

/// What is said of the Service names the backend; the endpoints speak HTTP all the time.
#[test]
fn sessions_and_affinity_stay_when_it_is_spoken_to_in_another_way() {
    let endpoints = ["a", "b", "c"].map(Scripted::echo);
    let addresses = endpoints.each_ref().map(|endpoint| endpoint.address);
    let rules = |speaks: Option<Speaks>, endpoints| {
        let affinity = RouteAffinity::Client(Affinity::default());
        let backend = service(speaks);
        [
            Rule { session: Some(session()), backend: backend.clone(), ..rule("/session", endpoints) },
            Rule { affinity, backend, ..rule("/address", endpoints) },
        ]
    };
    let mut lab = Lab::new(&rules(None, &addresses));
    let (_, by_session, cookie) = ask(&lab, "/session", None);
    let by_address = ask(&lab, "/address", None).1;
    for speaks in ways() {
        lab.apply(&rules(speaks.clone(), &addresses));
        let again = ask(&lab, "/session", cookie.as_deref());
        assert_eq!(again, (200, by_session.clone(), None), "{speaks:?}");
        assert_eq!(ask(&lab, "/address", None).1, by_address, "{speaks:?}");
    }
    assert!(lab.metrics.session_refusals.values().is_empty());
}

/// By gateways that remember nobody.
#[test]
fn a_clients_first_endpoint_is_the_same_however_it_is_spoken_to() {
    let endpoints = ["a", "b", "c"].map(Scripted::echo);
    let addresses = endpoints.each_ref().map(|endpoint| endpoint.address);
    let kept = |speaks: &Option<Speaks>, endpoints| Rule {
        affinity: RouteAffinity::Client(Affinity::default()),
        balancing: Balancing::default(),
        backend: service(speaks.clone()),
        ..rule("/", endpoints)
    };
    let hashed = |speaks: &Option<Speaks>, endpoints| {
        let balancing = Some(Balancing::default());
        let policy = BackendPolicy { balancing, hash_by: Some(HashBy::SourceAddress), ..Default::default() };
        Rule { policy: Some(Arc::new(policy)), backend: service(speaks.clone()), ..rule("/", endpoints) }
    };
    let first = |rule: Rule<'_>| ask(&Lab::new(&[rule]), "/", None).1;
    let expected = first(kept(&None, &addresses));
    for speaks in ways() {
        assert_eq!(first(kept(&speaks, &addresses)), expected, "{speaks:?}");
        assert_eq!(first(hashed(&speaks, &addresses)), expected, "{speaks:?}");
    }
}

#[test]
fn who_waits_for_the_connection_of_another_says_nothing_of_the_endpoint() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let endpoint = Scripted::new(move |_| {
        let _ = wait.lock().unwrap().recv();
    });
    let addresses: [SocketAddr; 1] = [endpoint.address];
    let patient = |prefix| Rule {
        security: tls(),
        protocol: AppProtocol::Negotiated,
        backend: service(None),
        ..rule(prefix, &addresses)
    };
    let connect = Some(Duration::from_millis(100));
    let timeouts = Timeouts { connect, ..Timeouts::default() };
    let mut config = proxy::Config { threads: 1, ..Default::default() };
    config.timeouts.connect = 10 * support::PATIENCE;
    let lab = Lab::with(config, &[patient("/first"), Rule { timeouts, ..patient("/second") }]);
    let mut first = lab.client();
    first.send("GET /first HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("the first opens a connection", || endpoint.connections() == 1);
    let (status, reason, _) = ask(&lab, "/second", None);
    assert_eq!((status, &*reason), (504, "endpoint did not accept the connection in time"));
    let failures = || -> u64 {
        let state = lab.gateway.state();
        state.backends().flat_map(|(_, views)| views).map(|view| view.stats.connect_failures).sum()
    };
    assert_eq!((endpoint.connections(), failures()), (1, 0));
    // Who opened it tells.
    drop(release);
    assert_eq!(first.response().status, 502);
    assert_eq!(failures(), 1);
}
