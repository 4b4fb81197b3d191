//! Session persistence: which endpoint a client gets for the value that it brings, and what it is given.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use model::{
    Action, Backend, CookieAttributes, EndpointCondition, Retry, SameSite, Session, SessionCarrier, Snapshot,
};
use policy::SessionToken;
use support::{Lab, Rule, Scripted, rule};
use tls::MacKey;

const SECRET: [u8; 32] = [7; 32];

fn config() -> proxy::Config {
    proxy::Config { threads: 1, session_key: Some(MacKey::new(&SECRET)), ..Default::default() }
}

fn cookie(name: &str) -> Session {
    Session {
        name: name.into(),
        scope: "the rule".into(),
        carrier: SessionCarrier::Cookie {
            path: "/shop".into(),
            is_permanent: false,
            attributes: Default::default(),
        },
        absolute: None,
        idle: None,
    }
}

fn header(name: &str) -> Session {
    Session { carrier: SessionCarrier::Header, ..cookie(name) }
}

fn with<'r>(session: &Session, endpoints: &'r [SocketAddr]) -> Rule<'r> {
    Rule { session: Some(session.clone()), ..rule("/", endpoints) }
}

fn now_s() -> u32 {
    u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// The name of an endpoint of the first rule's backend.
fn named(endpoint: SocketAddr) -> u64 {
    let tag = MacKey::new(&SECRET).tag(&[b"endpoint\0", format!("test/b0:80\0{endpoint}").as_bytes()]);
    u64::from_be_bytes(tag[..8].try_into().unwrap())
}

/// A value as gateways write it.
fn value(secret: &[u8], scope: &str, token: SessionToken) -> String {
    let body = token.to_bytes();
    let tag = MacKey::new(secret).tag(&[b"value\0", &body, scope.as_bytes()]);
    URL_SAFE_NO_PAD.encode([&body[..], &tag].concat())
}

/// What a value says, if it is one of ours.
fn read(text: &str) -> SessionToken {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
    let token = SessionToken::from_bytes(bytes[..17].try_into().unwrap()).unwrap();
    assert_eq!(value(&SECRET, "the rule", token), text);
    token
}

/// The endpoint that answers a GET with these lines, and the value in its first header line, if that gives one.
fn get(lab: &Lab, lines: &str) -> (String, Option<String>) {
    let mut client = lab.client();
    client.send(format!("GET /shop HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
    let response = client.response();
    assert_eq!(response.status, 200, "{}", response.text());
    let first = response.head.lines().nth(1).unwrap();
    let given = first.strip_prefix("Set-Cookie: cart=").or(first.strip_prefix("X-Session: "));
    let value = given.map(|given| given.split(';').next().unwrap().to_owned());
    (response.text().lines().next().unwrap().to_owned(), value)
}

fn refusals(lab: &Lab) -> Vec<(&'static str, u64)> {
    lab.metrics.session_refusals.values()
}

#[test]
fn a_cookie_is_given_once_and_brings_its_client_back() {
    let endpoints = [Scripted::echo("a"), Scripted::echo("b"), Scripted::echo("c")];
    let addresses: Vec<_> = endpoints.iter().map(|e| e.address).collect();
    let lab = Lab::with(config(), &[with(&cookie("cart"), &addresses)]);
    let mut client = lab.client();
    let response = client.get("/shop");
    let begin = "HTTP/1.1 200 OK\r\nSet-Cookie: cart=";
    let value = response.head.strip_prefix(begin).unwrap_or_else(|| panic!("{}", response.head));
    let (value, rest) = value.split_at(44);
    let length = response.body.len();
    assert_eq!(rest, format!("; Path=/shop; HttpOnly; SameSite=Lax\r\nContent-Length: {length}\r\n\r\n"));
    let token = read(value);
    assert_eq!(token.issued_s, token.seen_s);
    assert!(now_s() - token.seen_s < 20);

    let first = response.text().lines().next().unwrap().to_owned();
    for _ in 0..6 {
        let lines = format!("Cookie: a=1; cart={value}; cart=other\r\n");
        client.send(format!("GET /shop HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
        let response = client.response();
        assert!(!response.head.contains("Set-Cookie"), "{}", response.head);
        // The endpoint gets the cookie as it came.
        assert!(
            response.text().starts_with(&first) && response.text().contains(&lines),
            "{}",
            response.text()
        );
    }
    let others: Vec<_> = (0..6).map(|_| get(&lab, "").0).collect();
    assert!(others.iter().any(|other| *other != first), "without it they take turns: {others:?}");
    assert!(refusals(&lab).is_empty());
}

#[test]
fn a_header_does_the_same() {
    let endpoints = [Scripted::echo("a"), Scripted::echo("b"), Scripted::echo("c")];
    let addresses: Vec<_> = endpoints.iter().map(|e| e.address).collect();
    let lab = Lab::with(config(), &[with(&header("X-Session"), &addresses)]);
    let (first, value) = get(&lab, "");
    let value = value.unwrap();
    read(&value);
    for _ in 0..6 {
        assert_eq!(get(&lab, &format!("x-session: {value}\r\n")), (first.clone(), None));
    }
    assert!(get(&lab, &format!("Cookie: X-Session={value}\r\n")).1.is_some(), "a cookie is no header");
}

#[tokio::test]
async fn sessions_hold_over_http2_whose_cookies_come_in_crumbs() {
    let endpoints = [Scripted::echo("a"), Scripted::echo("b"), Scripted::echo("c")];
    let addresses: Vec<_> = endpoints.iter().map(|e| e.address).collect();
    let lab = Lab::with(config(), &[with(&cookie("cart"), &addresses)]);
    let stream = tokio::net::TcpStream::connect(lab.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let mut client = send.ready().await.unwrap();
    let mut brought = None::<String>;
    let mut answers = Vec::new();
    for _ in 0..5 {
        let mut request = Request::get("http://a.test/shop").header("cookie", "a=1");
        if let Some(brought) = &brought {
            request = request.header("cookie", brought);
        }
        let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        let (parts, mut body) = response.await.unwrap().into_parts();
        let data = body.data().await.unwrap().unwrap();
        answers.push(data[0]);
        let given = parts.headers.get("set-cookie").map(|given| given.to_str().unwrap().to_owned());
        assert_eq!(given.is_some(), brought.is_none(), "once");
        brought = brought.or(given.map(|given| given.split(';').next().unwrap().to_owned()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[test]
fn forged_foreign_and_expired_values_are_as_none_and_counted() {
    let one = Scripted::echo("one");
    let session = Session {
        absolute: Some(Duration::from_secs(3600)),
        idle: Some(Duration::from_secs(600)),
        ..cookie("cart")
    };
    let lab = Lab::with(config(), &[with(&session, &[one.address])]);
    let (now, endpoint) = (now_s(), named(one.address));
    let token = |issued_s, seen_s| SessionToken { endpoint, issued_s, seen_s };
    let good = value(&SECRET, "the rule", token(now, now));
    assert_eq!(get(&lab, &format!("Cookie: cart={good}\r\n")), ("one".to_owned(), None));
    assert!(refusals(&lab).is_empty());

    let mut forged = good.clone().into_bytes();
    forged[20] ^= 1;
    for bad in [
        String::from_utf8(forged).unwrap(),
        value(&SECRET, "another rule", token(now, now)),
        value(&[8; 32], "the rule", token(now, now)),
        "x".repeat(44),
        String::new(),
    ] {
        let (_, given) = get(&lab, &format!("Cookie: cart={bad}\r\n"));
        let given = read(&given.unwrap());
        assert!(given.issued_s >= now && given.endpoint == endpoint, "{bad}");
    }
    assert_eq!(refusals(&lab), [("forged", 5)]);
    for (issued_s, seen_s) in [(now - 3600, now), (now - 700, now - 600)] {
        let old = value(&SECRET, "the rule", token(issued_s, seen_s));
        let (_, given) = get(&lab, &format!("Cookie: cart={old}\r\n"));
        assert!(read(&given.unwrap()).issued_s >= now, "another session");
    }
    // Of several values the one that holds counts.
    let old = value(&SECRET, "the rule", token(now - 3600, now));
    assert_eq!(get(&lab, &format!("Cookie: cart=x; cart={old}; cart={good}\r\n")).1, None);
    assert_eq!(refusals(&lab), [("expired", 2), ("forged", 5)]);
}

#[test]
fn a_value_is_renewed_when_half_of_its_idle_time_is_over() {
    let one = Scripted::echo("one");
    let session = Session {
        absolute: Some(Duration::from_secs(36_000)),
        idle: Some(Duration::from_secs(6000)),
        carrier: SessionCarrier::Cookie {
            path: "/".into(),
            is_permanent: true,
            attributes: Default::default(),
        },
        ..cookie("cart")
    };
    let lab = Lab::with(config(), &[with(&session, &[one.address])]);
    let (now, endpoint) = (now_s(), named(one.address));
    let bring = |seen_s| {
        let token = SessionToken { endpoint, issued_s: now - 10_000, seen_s };
        let lines = format!("Cookie: cart={}\r\n", value(&SECRET, "the rule", token));
        let mut client = lab.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
        client.response().head
    };
    assert!(!bring(now - 2900).contains("Set-Cookie"));
    let head = bring(now - 3100);
    let given = head.split_once("Set-Cookie: cart=").unwrap_or_else(|| panic!("{head}")).1;
    let token = read(&given[..44]);
    assert_eq!((token.issued_s, token.endpoint), (now - 10_000, endpoint), "the same session");
    assert!(token.seen_s >= now);
    let left = given.split_once("; Max-Age=").unwrap().1.split(';').next().unwrap();
    let left: u32 = left.parse().unwrap();
    assert!((25_900..=26_000).contains(&left), "what is left of 36,000 s after 10,000: {left}");
    assert!(given[44..].starts_with("; Path=/; Max-Age=") && given.contains("; HttpOnly; SameSite=Lax\r\n"));
}

#[test]
fn gateways_with_one_key_know_each_others_values_and_others_do_not() {
    let endpoints = [Scripted::echo("a"), Scripted::echo("b"), Scripted::echo("c")];
    let addresses: Vec<_> = endpoints.iter().map(|e| e.address).collect();
    let rules = [with(&cookie("cart"), &addresses)];
    let (one, other) = (Lab::with(config(), &rules), Lab::with(config(), &rules));
    let (first, value) = get(&one, "");
    let lines = format!("Cookie: cart={}\r\n", value.unwrap());
    for _ in 0..4 {
        assert_eq!(get(&other, &lines), (first.clone(), None));
    }
    let alone = Lab::new(&rules);
    assert!(get(&alone, &lines).1.is_some());
    assert_eq!(refusals(&alone), [("forged", 1)]);
}

/// The snapshot with another backend.
fn changed(version: u64, lab: &Lab, rule: &Rule<'_>, change: impl Fn(&mut Backend)) -> Arc<Snapshot> {
    let made = support::snapshot(version, lab.address, std::slice::from_ref(rule));
    let backends = made.backends.values().map(|backend| {
        let mut backend = (**backend).clone();
        change(&mut backend);
        Arc::new(backend)
    });
    Arc::new(Snapshot::new(version, made.listeners.values().cloned(), made.routes.clone(), backends, []))
}

#[test]
fn an_endpoint_that_is_gone_drains_or_refuses_is_replaced() {
    let (a, b) = (Scripted::echo("a"), Scripted::echo("b"));
    let both = [a.address, b.address];
    let lab = Lab::with(config(), &[with(&cookie("cart"), &both)]);
    let now = now_s();
    let of = |endpoint| {
        let token = SessionToken { endpoint: named(endpoint), issued_s: now - 100, seen_s: now - 100 };
        format!("Cookie: cart={}\r\n", value(&SECRET, "the rule", token))
    };
    let lines = of(a.address);
    assert_eq!(get(&lab, &lines), ("a".to_owned(), None));
    let drain = |backend: &mut Backend| {
        let endpoint = backend.endpoints.iter_mut().find(|e| e.address == a.address).unwrap();
        endpoint.condition = EndpointCondition::Draining;
    };
    let to_b = |given: (String, Option<String>)| {
        let token = read(&given.1.unwrap());
        assert_eq!((given.0.as_str(), token.endpoint), ("b", named(b.address)));
        assert!(token.issued_s >= now, "a new session");
    };
    let rule = with(&cookie("cart"), &both);
    assert!(lab.gateway.apply(changed(20, &lab, &rule, drain)).is_empty());
    to_b(get(&lab, &lines));
    let remove = |backend: &mut Backend| backend.endpoints.retain(|e| e.address != a.address);
    assert!(lab.gateway.apply(changed(21, &lab, &rule, remove)).is_empty());
    to_b(get(&lab, &lines));
    assert_eq!(refusals(&lab), [("endpoint gone", 2)]);

    // Nobody listens there.
    let dead = support::free_port();
    let with_dead = [dead, b.address];
    let lab = Lab::with(config(), &[with(&cookie("cart"), &with_dead)]);
    let lines = of(dead);
    to_b(get(&lab, &lines));
    assert!(refusals(&lab).is_empty(), "the value was good");
}

#[test]
fn a_session_keeps_its_backend_whatever_the_weights_are() {
    let (a, b) = (Scripted::echo("a"), Scripted::echo("b"));
    let session = cookie("cart");
    let rules =
        [with(&session, std::slice::from_ref(&a.address)), rule("/b", std::slice::from_ref(&b.address))];
    let lab = Lab::with(config(), &rules);
    let split = |version, weights: [u32; 2]| {
        let made = support::snapshot(version, lab.address, &rules);
        let shares = made.routes.iter().filter_map(|route| match &route.action {
            Action::Forward(backends) => backends.first().cloned(),
            _ => None,
        });
        let shares =
            shares.zip(weights).map(|(share, weight)| model::BackendRef { weight, ..share }).collect();
        let mut first = (*made.routes[0]).clone();
        first.action = Action::Forward(shares);
        let backends = made.backends.values().cloned();
        Arc::new(Snapshot::new(version, made.listeners.values().cloned(), [Arc::new(first)], backends, []))
    };
    assert!(lab.gateway.apply(split(30, [1, 0])).is_empty());
    let (first, value) = get(&lab, "");
    assert_eq!(first, "a");
    let lines = format!("Cookie: cart={}\r\n", value.unwrap());
    for (version, weights) in [(31, [1, 99]), (32, [0, 1])] {
        assert!(lab.gateway.apply(split(version, weights)).is_empty());
        for _ in 0..20 {
            assert_eq!(get(&lab, &lines), ("a".to_owned(), None), "{weights:?}");
        }
    }
    assert_eq!(get(&lab, "").0, "b", "who is new goes by weight");
}

#[test]
fn answers_of_the_gateway_give_no_session_and_a_retried_one_moves() {
    let busy = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let good = Scripted::echo("good");
    let both = [busy.address, good.address];
    let retry = Some(Retry { codes: vec![503], attempts: 1, backoff: Duration::from_millis(1) });
    let lab = Lab::with(config(), &[Rule { retry, ..with(&cookie("cart"), &both) }]);
    let token = SessionToken { endpoint: named(busy.address), issued_s: now_s(), seen_s: now_s() };
    let (answered, given) = get(&lab, &format!("Cookie: cart={}\r\n", value(&SECRET, "the rule", token)));
    assert_eq!((answered.as_str(), read(&given.unwrap()).endpoint), ("good", named(good.address)));

    let lab = Lab::with(config(), &[with(&cookie("cart"), &[])]);
    let response = lab.client().get("/");
    assert_eq!(response.status, 503);
    assert!(!response.head.contains("Set-Cookie"), "{}", response.head);
}

#[test]
fn a_filter_has_the_last_word() {
    let one = Scripted::echo("one");
    let mut filters = model::Filters::default();
    filters.response_headers.remove.push("Set-Cookie".into());
    let lab = Lab::with(config(), &[Rule { filters, ..with(&cookie("cart"), &[one.address]) }]);
    assert_eq!(get(&lab, ""), ("one".to_owned(), None));
}

#[test]
fn an_upgrade_and_cors_lines_go_with_a_session() {
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        conn.head();
    });
    let cors = model::Cors {
        allow_origins: vec!["https://a.test".into()],
        allow_methods: vec![],
        allow_headers: vec![],
        expose_headers: vec![],
        allow_credentials: false,
        max_age_s: 5,
    };
    let filters = model::Filters { cors: Some(cors), ..Default::default() };
    let lab = Lab::with(config(), &[Rule { filters, ..with(&cookie("cart"), &[endpoint.address]) }]);
    let mut client = lab.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nOrigin: https://a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let head = client.response_head().head;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for line in ["\r\nSet-Cookie: cart=", "\r\nAccess-Control-Allow-Origin: https://a.test\r\n"] {
        assert!(head.contains(line), "{head}");
    }
}

#[test]
fn a_cookie_says_of_itself_what_the_route_asks_and_old_browsers_are_spared() {
    let one = Scripted::echo("one");
    let said = |attributes| Session {
        carrier: SessionCarrier::Cookie { path: "/".into(), is_permanent: false, attributes },
        ..cookie("cart")
    };
    let given = |attributes: CookieAttributes, agent: &str| {
        let lab = Lab::with(config(), &[with(&said(attributes), &[one.address])]);
        let mut client = lab.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: {agent}\r\n\r\n"));
        let head = client.response().head;
        let line = head.split_once("Set-Cookie: cart=").unwrap().1.split_once("\r\n").unwrap().0;
        line[44..].to_owned()
    };
    let none = CookieAttributes {
        domain: Some("shop.test".into()),
        same_site: SameSite::None,
        is_secure: Some(true),
        spares_old_browsers: true,
    };
    assert_eq!(given(none.clone(), "curl/8"), "; Path=/; Domain=shop.test; HttpOnly; Secure; SameSite=None");
    assert_eq!(given(none.clone(), "Chrome/60.0"), "; Path=/; Domain=shop.test; HttpOnly; Secure");
    let to_all = CookieAttributes { spares_old_browsers: false, ..none };
    assert_eq!(given(to_all, "Chrome/60.0"), "; Path=/; Domain=shop.test; HttpOnly; Secure; SameSite=None");
    let strict = CookieAttributes { same_site: SameSite::Strict, ..Default::default() };
    assert_eq!(given(strict, "Chrome/60.0"), "; Path=/; HttpOnly; SameSite=Strict");
}
