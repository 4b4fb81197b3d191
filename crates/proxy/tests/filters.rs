//! Filters of rules and backends: what the endpoint gets and what the client gets, byte for byte.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use model::{
    BackendId, CopyForm, Cors, Filters, HeaderLine, HeaderModifier, Mirror, PathRewrite, UrlRewrite,
};
use support::{Lab, Rule, Scripted, eventually, rule};

fn modifier(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderModifier {
    let line = |(name, value): &(&str, &str)| HeaderLine { name: (*name).into(), value: (*value).into() };
    HeaderModifier {
        remove: remove.iter().map(|name| (*name).into()).collect(),
        set: set.iter().map(line).collect(),
        add: add.iter().map(line).collect(),
    }
}

fn on_request(modifier: HeaderModifier) -> Filters {
    Filters { request_headers: modifier, ..Default::default() }
}

fn on_response(modifier: HeaderModifier) -> Filters {
    Filters { response_headers: modifier, ..Default::default() }
}

#[test]
fn request_headers_are_removed_replaced_and_added_and_all_else_stays_as_it_came() {
    let endpoint = Scripted::echo("one");
    let filters =
        on_request(modifier(&["x-GONE"], &[("X-Set", "new")], &[("X-Add", "more, and"), ("X-New", "1")]));
    let lab = Lab::new(&[Rule { filters, ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    client.send(
        "POST /a?b HTTP/1.1\r\nHost: a.test\r\nX-Gone: 1\r\nx-set: 1\r\nX-Add:  first\r\nX-SET: 2\r\nX-gone: 2\r\n\
         Content-Length: 3\r\n\r\nabc",
    );
    assert_eq!(client.response().status, 200);
    assert_eq!(
        endpoint.received(),
        "POST /a?b HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nHost: a.test\r\n\
         X-Add:  first\r\nContent-Length: 3\r\nX-Set: new\r\nX-Add: more, and\r\nX-New: 1\r\n\r\nabc"
    );
}

#[test]
fn a_backends_filters_act_on_the_outcome_of_the_rules() {
    let endpoint = Scripted::echo("one");
    let filters = on_request(modifier(&[], &[("X-A", "rule"), ("X-B", "rule")], &[("X-C", "rule")]));
    let backend_filters = on_request(modifier(&["x-b"], &[("x-a", "backend")], &[("X-C", "backend")]));
    let lab = Lab::new(&[Rule { filters, backend_filters, ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\nX-B: 1\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert!(
        endpoint
            .received()
            .ends_with("\r\nHost: a.test\r\nX-C: rule\r\nx-a: backend\r\nX-C: backend\r\n\r\n"),
        "{}",
        endpoint.received()
    );
}

#[test]
fn a_filter_has_the_last_word_on_forwarded_headers() {
    let endpoint = Scripted::echo("one");
    let filters = on_request(modifier(&["X-Forwarded-For"], &[("X-Forwarded-Proto", "https")], &[]));
    let lab = Lab::new(&[Rule { filters, ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(endpoint.received(), "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n");
}

#[test]
fn response_headers_change_in_the_final_response_only() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send(
                "HTTP/1.1 103 Early Hints\r\nServer: one\r\n\r\n\
                 HTTP/1.1 200 Fine\r\nServer: one\r\nX-Powered-By: x\r\nVary: Accept\r\nContent-Length: 2\r\n\r\nok",
            );
        }
    });
    let filters = on_response(modifier(&["x-powered-by"], &[("server", "two")], &[]));
    let backend_filters = on_response(modifier(&[], &[], &[("Vary", "Origin")]));
    let lab = Lab::new(&[Rule { filters, backend_filters, ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    for _ in 0..2 {
        let hints = client.get("/");
        assert_eq!(hints.head, "HTTP/1.1 103 Early Hints\r\nServer: one\r\n\r\n");
        let response = client.response();
        assert_eq!(
            response.head,
            "HTTP/1.1 200 Fine\r\nVary: Accept\r\nContent-Length: 2\r\nserver: two\r\nVary: Origin\r\n\r\n"
        );
        assert_eq!(response.text(), "ok");
    }
}

#[test]
fn a_request_that_is_sent_again_is_changed_once() {
    // The first connection takes the head and dies: the second try must not carry the lines twice.
    let endpoint = Scripted::new(|conn| {
        let head = conn.head();
        if conn.number > 0 && head.is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let other = Scripted::echo("other");
    let filters = on_request(modifier(&[], &[], &[("X-Once", "1")]));
    let lab = Lab::new(&[Rule { filters, ..rule("/", &[endpoint.address, other.address]) }]);
    let mut client = lab.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").status, 200);
    }
    for received in [endpoint.received(), other.received()] {
        let (heads, lines) = (received.matches("GET / ").count(), received.matches("X-Once: 1").count());
        assert_eq!(heads, lines, "{received}");
    }
}

fn rewriting(hostname: Option<&str>, path: Option<PathRewrite>) -> Filters {
    let url_rewrite = Some(UrlRewrite { hostname: hostname.map(Into::into), path });
    Filters { url_rewrite, ..Default::default() }
}

#[test]
fn host_and_path_are_rewritten_and_the_query_and_all_else_stay() {
    let endpoint = Scripted::echo("one");
    let path = PathRewrite::Prefix { matched: "/foo".into(), replacement: "/xyz/".into() };
    let filters = rewriting(Some("inner.test"), Some(path));
    let lab = Lab::new(&[Rule { filters, ..rule("/foo", &[endpoint.address]) }]);
    let mut client = lab.client();
    let forwarded = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nHost: inner.test\r\n";
    let mut expected = String::new();
    for (line, rewritten) in [
        ("GET /foo/b%2Fc//d?q=/foo&&x HTTP/1.1", "GET /xyz/b%2Fc//d?q=/foo&&x HTTP/1.1"),
        ("GET /foo HTTP/1.1", "GET /xyz/ HTTP/1.1"),
        ("GET /foo? HTTP/1.1", "GET /xyz/? HTTP/1.1"),
        ("GET http://a.test:80/foo/1?q HTTP/1.1", "GET /xyz/1?q HTTP/1.1"),
    ] {
        client.send(format!("{line}\r\nX-A: 1\r\nHost: a.test\r\nX-B: 2\r\n\r\n"));
        assert_eq!(client.response().status, 200);
        expected += &format!("{rewritten}\r\n{forwarded}X-A: 1\r\nX-B: 2\r\n\r\n");
    }
    assert_eq!(endpoint.received(), expected);
    assert_eq!(client.get("/foobar").status, 404);
}

#[test]
fn a_backends_rewrite_wins_part_by_part() {
    let endpoint = Scripted::echo("one");
    let filters = rewriting(Some("rule.test"), Some(PathRewrite::Full("/rule".into())));
    let backend_filters = rewriting(None, Some(PathRewrite::Full("/backend".into())));
    let lab = Lab::new(&[Rule { filters, backend_filters, ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    client.send("GET /any?q HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert!(endpoint.received().starts_with("GET /backend?q HTTP/1.1\r\n"), "{}", endpoint.received());
    assert!(endpoint.received().ends_with("\r\nHost: rule.test\r\n\r\n"), "{}", endpoint.received());
}

#[test]
fn what_an_endpoint_says_of_cors_gives_way_and_errors_are_readable_by_scripts() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send(
                "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\nContent-Length: 0\r\n\r\n",
            );
        }
    });
    let cors = Cors {
        allow_origins: vec!["https://a.test".into()],
        allow_methods: vec![],
        allow_headers: vec![],
        expose_headers: vec![],
        allow_credentials: true,
        max_age_s: 5,
    };
    let filters = Filters { cors: Some(cors), ..Default::default() };
    let lab = Lab::new(&[
        Rule { filters: filters.clone(), ..rule("/", &[endpoint.address]) },
        Rule { filters, ..rule("/none", &[]) },
    ]);
    let mut client = lab.client();
    let mut ask = |path: &str, origin: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nOrigin: {origin}\r\n\r\n"));
        client.response()
    };
    assert_eq!(
        ask("/", "https://a.test").head,
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://a.test\r\nAccess-Control-Allow-Credentials: true\r\n\
         Vary: Origin\r\nVary: Accept\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        ask("/", "null").head,
        "HTTP/1.1 200 OK\r\nVary: Origin\r\nVary: Accept\r\nContent-Length: 0\r\n\r\n"
    );
    let lacking = ask("/none", "https://a.test");
    assert_eq!(lacking.status, 503);
    assert!(lacking.has("Access-Control-Allow-Origin: https://a.test"), "{}", lacking.head);
}

/// Copies of all requests to the backends of these rules.
fn mirrored_to(rules: &[usize]) -> Filters {
    let mirror = |number: &usize| Mirror {
        backend: BackendId::service("test", &format!("b{number}"), 80),
        numerator: 1,
        denominator: 1,
        form: None,
    };
    Filters { mirrors: rules.iter().map(mirror).collect(), ..Default::default() }
}

#[test]
fn every_mirror_gets_the_request_as_its_endpoint_does() {
    let (endpoint, one, two) = (Scripted::echo("real"), Scripted::echo("one"), Scripted::echo("two"));
    let mut filters = mirrored_to(&[1]);
    filters.request_headers = modifier(&[], &[("X-A", "1")], &[]);
    let lab = Lab::new(&[
        Rule { filters, backend_filters: mirrored_to(&[2]), ..rule("/", &[endpoint.address]) },
        rule("/one", &[one.address]),
        rule("/two", &[two.address]),
    ]);
    let mut client = lab.client();
    client.send(
        "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    );
    assert!(client.response().text().starts_with("real"));
    client.send("POST /y HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n");
    client.send("a");
    client.send("bc");
    assert!(client.response().text().starts_with("real"));
    let expected = endpoint.received();
    assert!(expected.contains("X-A: 1\r\n") && expected.ends_with("abc"), "{expected}");
    for mirror in [&one, &two] {
        // Each copy has a task of its own, and perhaps a connection: the second may come first, or in between.
        let (first, second) = expected.split_at(expected.find("POST /y").unwrap());
        eventually("the copies", || mirror.has_received(first) && mirror.has_received(second));
        assert_eq!(mirror.received().len(), expected.len(), "{}", mirror.received());
    }
    eventually("both are counted", || lab.metrics.mirrors.values() == [("ok", 4)]);
}

#[test]
fn copies_of_what_came_have_a_host_and_a_path_of_their_own_and_perhaps_no_body() {
    let (endpoint, one, two) = (Scripted::echo("real"), Scripted::echo("one"), Scripted::echo("two"));
    let mut filters = mirrored_to(&[1, 2]);
    filters.request_headers = modifier(&[], &[("X-A", "1")], &[]);
    filters.url_rewrite =
        Some(UrlRewrite { hostname: None, path: Some(PathRewrite::Full("/rewritten".into())) });
    let below = PathRewrite::Prefix { matched: "".into(), replacement: "/all".into() };
    let forms = [(None, false), (Some(below), true)];
    for (mirror, (path, has_body)) in filters.mirrors.iter_mut().zip(forms) {
        mirror.form = Some(Box::new(CopyForm { host: "copy.test".into(), path, has_body }));
    }
    let lab = Lab::new(&[
        Rule { filters, ..rule("/", &[endpoint.address]) },
        rule("/one", &[one.address]),
        rule("/two", &[two.address]),
    ]);
    let mut client = lab.client();
    client.send("POST /x?y HTTP/1.1\r\nHost: a.test\r\nX-B: 2\r\nContent-Length: 3\r\n\r\nabc");
    assert!(client.response().text().starts_with("real\nPOST /rewritten?y "));
    let forwarded = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nHost: copy.test\r\nX-B: 2";
    let bodiless = format!("POST /x?y HTTP/1.1\r\n{forwarded}\r\nContent-Length: 0\r\n\r\n");
    let whole = format!("POST /all/x?y HTTP/1.1\r\n{forwarded}\r\nContent-Length: 3\r\n\r\nabc");
    eventually("the copies", || one.received() == bodiless && two.received() == whole);
    eventually("both are counted", || lab.metrics.mirrors.values() == [("ok", 2)]);
}

#[test]
fn a_mirror_that_is_dead_silent_or_slow_neither_delays_nor_fails_a_request() {
    let endpoint = Scripted::echo("real");
    let (silent, _told) = Scripted::silent();
    let dead = support::free_port();
    let lab = Lab::new(&[
        Rule { filters: mirrored_to(&[1, 2, 3]), ..rule("/", &[endpoint.address]) },
        rule("/silent", &[silent.address]),
        rule("/dead", &[dead]),
        rule("/none", &[]),
    ]);
    let mut client = lab.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    // More than buffers of gateway and sockets hold, to one that does not read.
    let body = "x".repeat(32 * 1024 * 1024);
    client.send(format!("PUT /big HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    let response = client.response();
    assert_eq!(response.status, 200);
    assert!(response.body.ends_with(b"xxx") && response.body.len() > body.len());
    eventually("given up", || lab.metrics.mirrors.values().iter().any(|(result, _)| *result == "too slow"));
    let failed = lab.metrics.mirrors.values().into_iter().find(|(result, _)| *result == "failed");
    assert!(failed.is_some_and(|(_, count)| count >= 40), "{failed:?}");
}

#[test]
fn a_share_of_requests_is_mirrored_and_none_of_what_is_refused_here() {
    let (endpoint, copy) = (Scripted::echo("real"), Scripted::echo("copy"));
    let mut filters = mirrored_to(&[1]);
    (filters.mirrors[0].numerator, filters.mirrors[0].denominator) = (1, 4);
    let lab = Lab::new(&[
        Rule { filters, ..rule("/", &[endpoint.address]) },
        rule("/copy", &[copy.address]),
        Rule { filters: mirrored_to(&[1]), ..rule("/none", &[]) },
    ]);
    let mut client = lab.client();
    for _ in 0..800 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(client.get("/none").status, 503);
    eventually("all answered", || {
        lab.metrics.mirrors.values().iter().map(|(_, count)| count).sum::<u64>() > 120
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    let copies = copy.received().matches("GET / ").count();
    // 200 are expected; 6 standard deviations of a fair draw are 74.
    assert!((126..=274).contains(&copies), "{copies}");
    assert!(!copy.received().contains("GET /none"));
}

/// A kernel tier that gives each connection the same lot once, and who asked for it.
struct Lots {
    lot: Option<u32>,
    asked: Arc<Mutex<Vec<SocketAddr>>>,
}

impl proxy::Lots for Lots {
    fn take(&self, client: SocketAddr, _: SocketAddr) -> Option<u32> {
        self.asked.lock().unwrap().push(client);
        self.lot
    }
}

#[test]
fn the_first_request_of_a_connection_has_the_lot_that_was_drawn_before() {
    let (endpoint, copy) = (Scripted::echo("real"), Scripted::echo("copy"));
    let mut filters = mirrored_to(&[1]);
    (filters.mirrors[0].numerator, filters.mirrors[0].denominator) = (1, 4);
    let lab = Lab::new(&[
        Rule { filters, ..rule("/", &[endpoint.address]) },
        rule("/copy", &[copy.address]),
        rule("/plain", &[endpoint.address]),
    ]);
    let copies = || lab.metrics.mirrors.values().iter().map(|(_, count)| count).sum::<u64>();
    let asked = Arc::new(Mutex::new(vec![]));
    // Below a quarter of all lots it is copied.
    for (lot, requests, wanted) in [((1 << 30) - 1, 160, 160), (1 << 30, 160, 160), (0, 1, 161)] {
        lab.gateway.set_lots(Box::new(Lots { lot: Some(lot), asked: asked.clone() }));
        for _ in 0..requests {
            assert_eq!(lab.client().get("/").status, 200);
        }
        eventually("the copies", || copies() == wanted);
    }
    assert_eq!(asked.lock().unwrap().len(), 321, "once for each connection");
    // Behind the first request nothing was drawn, whatever that was.
    asked.lock().unwrap().clear();
    let mut client = lab.client();
    assert_eq!(client.get("/plain").status, 200);
    for _ in 0..200 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(asked.lock().unwrap().is_empty());
    // 50, give or take six deviations.
    eventually("a quarter is copied", || (161 + 13..=161 + 87).contains(&copies()));
}
