//! Services that decide about requests: what they are asked, what becomes of their answers, and of requests while there are none.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use model::{BackendId, BasicAuth, ExtAuth, ExtAuthProtocol, Policies, SecretBytes, Subrequest, UrlPiece};
use support::{Lab, Rule, Scripted, content_length, free_port, rule};

/// Asks the backend of the second rule.
fn asked() -> ExtAuth {
    ExtAuth {
        backend: BackendId::service("test", "b1", 80),
        protocol: ExtAuthProtocol::Http {
            path: "/check".into(),
            headers_to_backend: vec!["x-user".into(), "x-groups".into()],
        },
        headers_to_ext_auth: vec!["cookie".into(), "x-forwarded-for".into()],
        fails_open: false,
        timeout: Duration::from_secs(20),
        status_on_error: 403,
    }
}

fn lab(asked: ExtAuth, endpoint: &Scripted, service: SocketAddr) -> Lab {
    let policies = Some(Policies { ext_auth: Some(asked), ..Default::default() });
    Lab::new(&[Rule { policies, ..rule("/", &[endpoint.address]) }, rule("/service", &[service])])
}

/// Gives each request the same answer.
fn service(answer: &'static str) -> Scripted {
    Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            conn.body(content_length(&head));
            conn.send(answer);
        }
    })
}

const LETS_IN: &str = "HTTP/1.1 200 OK\r\nX-User: anna\r\nX-Groups: a\r\nX-Groups: b\r\nX-Other: 1\r\nContent-Length: 2\r\n\r\nok";

/// Asks by one URL, with headers for the service.
fn by_url_with(always_sets_cookies: bool) -> ExtAuth {
    let text = |text: &str| UrlPiece::Text(text.into());
    let ExtAuthProtocol::Subrequest(said) = by_url().protocol else { unreachable!("it asks by one URL") };
    let said = Subrequest {
        redirect: vec![UrlPiece::Scheme, text("://"), UrlPiece::Authority, UrlPiece::Uri],
        headers: vec![
            ("X-Tenant".into(), vec![text("shop-"), UrlPiece::Host]),
            ("x-forwarded-proto".into(), vec![text("https")]),
            ("Cookie".into(), Vec::new()),
        ],
        always_sets_cookies,
        ..(*said).clone()
    };
    ExtAuth { protocol: ExtAuthProtocol::Subrequest(std::sync::Arc::new(said)), ..by_url() }
}

/// Asks by one URL, and sends clients to sign in.
fn by_url() -> ExtAuth {
    let text = |text: &str| UrlPiece::Text(text.into());
    let said = Subrequest {
        method: "GET".into(),
        host: "auth.internal".into(),
        target: "/oauth2/auth?x=1".into(),
        headers_to_backend: vec!["x-user".into()],
        sign_in: vec![text("https://"), UrlPiece::Host, text("/start?rd="), UrlPiece::EscapedUri],
        redirect: Vec::new(),
        headers: Vec::new(),
        always_sets_cookies: false,
    };
    let protocol = ExtAuthProtocol::Subrequest(std::sync::Arc::new(said));
    ExtAuth { protocol, headers_to_ext_auth: Vec::new(), status_on_error: 500, ..asked() }
}

#[test]
fn a_service_is_asked_by_one_url_with_the_headers_of_the_request() {
    let (endpoint, service) = (Scripted::echo("one"), service(LETS_IN));
    let lab = lab(by_url(), &endpoint, service.address);
    let mut client = lab.client();
    client.send(
        "POST /a?b=c HTTP/1.1\r\nHost: a.test:81\r\nCookie: s=1\r\nX-Any: 2\r\nX-User: eve\r\nX-Original-URL: x\r\n\
         Content-Length: 4\r\n\r\nbody",
    );
    let answer = client.response();
    let text = answer.text();
    assert!(
        answer.status == 200 && text.contains("\r\nx-user: anna\r\n") && text.ends_with("body"),
        "{text}"
    );
    assert!(!text.contains("eve"), "{text}");
    let asked = service.received();
    assert!(asked.starts_with("GET /oauth2/auth?x=1 HTTP/1.1\r\nHost: auth.internal\r\n"), "{asked}");
    for line in [
        "X-Original-URL: http://a.test:81/a?b=c",
        "X-Original-Method: POST",
        "X-Auth-Request-Redirect: /a?b=c",
        "Cookie: s=1",
        "X-Any: 2",
        "Content-Length: 0",
    ] {
        assert_eq!(asked.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {asked}");
    }
    assert!(!asked.contains("X-Original-URL: x\r\n"), "{asked}");
}

#[test]
fn a_service_gets_the_headers_that_are_said_for_it_and_no_others_of_their_names() {
    let (endpoint, service) = (Scripted::echo("one"), service(LETS_IN));
    let lab = lab(by_url_with(false), &endpoint, service.address);
    let mut client = lab.client();
    client.send(
        "GET /a?b=c HTTP/1.1\r\nHost: a.test:81\r\nCookie: s=1\r\nX-Tenant: eve\r\nx_tenant: eve\r\nX.Tenant: eve\r\n\
         X-Any: 2\r\n\r\n",
    );
    let answer = client.response();
    // The endpoint gets the request as it came.
    assert!(answer.status == 200 && answer.text().contains("\r\nCookie: s=1\r\n"), "{}", answer.text());
    let asked = service.received();
    for line in [
        "X-Tenant: shop-a.test",
        "x-forwarded-proto: https",
        "X-Auth-Request-Redirect: http://a.test:81/a?b=c",
        "X-Any: 2",
    ] {
        assert_eq!(asked.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {asked}");
    }
    let lower = asked.to_ascii_lowercase();
    assert!(!lower.contains("eve") && !lower.contains("\r\ncookie:"), "{asked}");
    assert_eq!(lower.matches("\r\nx-forwarded-proto:").count(), 1, "{asked}");
}

/// What somebody has had written for each request is no longer than a head, however long a target is in it.
#[test]
fn a_question_stops_to_grow_where_heads_do() {
    let (endpoint, service) = (Scripted::echo("one"), service(LETS_IN));
    let ExtAuthProtocol::Subrequest(said) = by_url().protocol else { unreachable!("it asks by one URL") };
    let uris = vec![UrlPiece::Uri; 64];
    let (many, redirect) = (vec![("X-Uris".into(), uris.clone())], uris.clone());
    for said in [Subrequest { headers: many, ..(*said).clone() }, Subrequest { redirect, ..(*said).clone() }]
    {
        let protocol = ExtAuthProtocol::Subrequest(std::sync::Arc::new(said));
        let lab = lab(ExtAuth { protocol, ..by_url() }, &endpoint, service.address);
        for (length, status) in [(100, 200), (8000, 431)] {
            let mut client = lab.client();
            client.send(format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(length)));
            assert_eq!(client.response().status, status, "{length}");
        }
    }
    // The client gets the answer of the service where it cannot be sent on.
    let service = self::service("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    let said = Subrequest { sign_in: uris, ..(*said).clone() };
    let protocol = ExtAuthProtocol::Subrequest(std::sync::Arc::new(said));
    let lab = self::lab(ExtAuth { protocol, ..by_url() }, &endpoint, service.address);
    for (length, status) in [(100, 302), (8000, 401)] {
        let mut client = lab.client();
        client.send(format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(length)));
        assert_eq!(client.response().status, status, "{length}");
    }
}

/// The cookies of an answer.
fn cookies(answer: &support::Response) -> Vec<&str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).map(|(_, value)| value).collect()
}

#[test]
fn clients_get_the_cookies_of_a_service_with_answers_that_tell_of_a_success_or_always() {
    let service = service(
        "HTTP/1.1 202 Accepted\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    );
    // Answers with the status that is the path; 999: not at all.
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            let status = &head["GET /".len()..][..3];
            if status == "999" {
                return;
            }
            conn.send(&format!("HTTP/1.1 {status} Any\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    for always in [false, true] {
        let lab = lab(by_url_with(always), &endpoint, service.address);
        for (status, is_told) in
            [(200, true), (201, true), (303, true), (308, true), (202, false), (404, false)]
        {
            let answer = lab.client().get(&format!("/{status}"));
            let expected: &[_] =
                if is_told || always { &["own=1", "a=1; Path=/", "b=2"] } else { &["own=1"] };
            assert_eq!((answer.status, cookies(&answer)), (status, expected.to_vec()), "always: {always}");
        }
        // What the gateway answers itself.
        let failed = lab.client().get("/999");
        let expected: &[_] = if always { &["a=1; Path=/", "b=2"] } else { &[] };
        assert_eq!((failed.status, cookies(&failed)), (502, expected.to_vec()), "always: {always}");
    }
}

#[test]
fn who_has_no_session_is_sent_to_sign_in_and_other_answers_are_errors() {
    let endpoint = Scripted::echo("one");
    for (answer, status, location) in [
        (
            "HTTP/1.1 401 Unauthorized\r\nSet-Cookie: csrf=1\r\nContent-Length: 0\r\n\r\n",
            302,
            Some("https://a.test/start?rd=%2Fa%3Fb"),
        ),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403, None),
        ("HTTP/1.1 302 Found\r\nLocation: http://x.test/\r\nContent-Length: 0\r\n\r\n", 500, None),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 500, None),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 500, None),
    ] {
        let service = service(answer);
        let lab = lab(by_url(), &endpoint, service.address);
        let mut client = lab.client();
        client.send("GET /a?b HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let got = client.response();
        assert_eq!(got.status, status, "{answer}");
        assert!(location.is_none_or(|url| got.has(&format!("location: {url}"))), "{}", got.text());
        assert_eq!(got.has("set-cookie: csrf=1"), status == 302, "{}", got.text());
    }
    assert_eq!(endpoint.received(), "", "nobody was let in");
}

#[test]
fn the_service_is_asked_about_a_request_and_tells_endpoints_who_it_is() {
    let endpoint = Scripted::echo("one");
    let service = service(LETS_IN);
    let lab = lab(asked(), &endpoint, service.address);
    let mut client = lab.client();
    let request = "POST /a/b?c=d HTTP/1.1\r\nHost: a.test:81\r\nAuthorization: Bearer x\r\nCookie: s=1\r\nX-Secret: 1\r\n\
                   X-User: eve\r\nX_User: eve\r\nX-Forwarded-For: 10.6.6.6\r\nX-Forwarded-Uri: /\r\nContent-Length: 4\r\n\r\nbody";
    for _ in 0..3 {
        client.send(request);
        let answer = client.response();
        assert_eq!(answer.status, 200);
        let text = answer.text();
        assert!(
            text.starts_with("one\nPOST /a/b?c=d HTTP/1.1\r\n") && text.ends_with("\r\n\r\nbody"),
            "{text}"
        );
        assert!(text.contains("\r\nx-user: anna\r\n") && text.contains("\r\nx-groups: b\r\n"), "{text}");
        assert!(!text.contains("eve") && !text.contains("X-Other"), "{text}");
        assert!(text.contains("\r\nX-Secret: 1\r\n"), "what endpoints get is as it came otherwise: {text}");
    }
    assert_eq!(service.connections(), 1, "its connection is kept");
    let asked = service.received();
    assert!(asked.starts_with("POST /check/a/b?c=d HTTP/1.1\r\n"), "{asked}");
    for line in [
        "Host: a.test:81",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a.test:81",
        "X-Forwarded-Method: POST",
        "X-Forwarded-Uri: /a/b?c=d",
        "Authorization: Bearer x",
        "Cookie: s=1",
        "Content-Length: 0",
    ] {
        assert_eq!(asked.matches(&format!("\r\n{line}\r\n")).count(), 3, "{line} in {asked}");
    }
    assert!(!asked.contains("X-Secret") && !asked.contains("10.6.6.6") && !asked.contains("body"), "{asked}");
}

#[test]
fn a_refusal_of_the_service_is_the_clients_answer() {
    let endpoint = Scripted::echo("one");
    let service = service(
        "HTTP/1.1 302 Found\r\nLocation: https://login.test/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         WWW-Authenticate: Bearer\r\nContent-Type: text/html\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\n<p>\r\n2\r\nno\r\n0\r\n\r\n",
    );
    let lab = lab(asked(), &endpoint, service.address);
    let mut client = lab.client();
    for _ in 0..2 {
        let refused = client.get("/");
        assert_eq!((refused.status, refused.text()), (302, "<p>no".into()));
        for line in [
            "Location: https://login.test/",
            "Set-Cookie: a=1",
            "Set-Cookie: b=2",
            "WWW-Authenticate: Bearer",
            "Content-Type: text/html",
            "Content-Length: 5",
        ] {
            assert!(refused.has(line), "{line} in {}", refused.head);
        }
        assert!(!refused.head.to_ascii_lowercase().contains("keep-alive"), "{}", refused.head);
    }
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn while_the_service_cannot_be_asked_requests_are_refused_or_go_on_as_it_is_said() {
    let endpoint = Scripted::echo("one");
    let silent = Scripted::new(|conn| while conn.head().is_some() {});
    let broken = service("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    let garbage = service("SMTP 220 ready\r\n\r\n");
    for address in [silent.address, broken.address, garbage.address, free_port()] {
        let timeout = if address == silent.address { Duration::from_millis(50) } else { asked().timeout };
        let closed = ExtAuth { timeout, status_on_error: 503, ..asked() };
        let refused = lab(closed.clone(), &endpoint, address).client().get("/");
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.text().contains("external authorization service"), "{}", refused.text());
        let before = endpoint.received().len();
        let open = lab(ExtAuth { fails_open: true, ..closed }, &endpoint, address);
        let mut client = open.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-User: eve\r\n\r\n");
        assert_eq!(client.response().status, 200);
        let seen = endpoint.received().split_off(before);
        assert!(!seen.contains("eve"), "nobody has said who it is: {seen}");
    }
}

#[test]
fn a_head_request_and_one_without_a_host_are_asked_about_too() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let service = service("HTTP/1.1 204 No Content\r\n\r\n");
    let lab = lab(asked(), &endpoint, service.address);
    let mut client = lab.client();
    client.send("HEAD /h HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response_head().status, 200);
    client.send("GET /g HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let asked = service.received();
    assert!(
        asked.starts_with("HEAD /check/h HTTP/1.1\r\n") && asked.contains("\r\n\r\nGET /check/g "),
        "{asked}"
    );
    assert_eq!(asked.matches(&format!("\r\nX-Forwarded-Host: {}\r\n", lab.address)).count(), 1, "{asked}");
}

/// The service asks by what the gateway knows, not by what the client says: what it lets in is what the endpoint gets.
#[test]
fn the_service_sees_the_user_that_a_policy_found_and_nothing_that_ends_here() {
    let endpoint = Scripted::echo("one");
    let service = service(LETS_IN);
    let hash = bcrypt::hash_with_salt("secret", 4, *b"0123456789abcdef").unwrap().to_string();
    let users = SecretBytes::new(format!("eve:{hash}\n").as_bytes());
    let basic_auth = BasicAuth { realm: "x".into(), username_header: Some("X-Name".into()), users };
    let asked = ExtAuth { headers_to_ext_auth: vec!["x-name".into(), "x-tenant".into()], ..asked() };
    let policies =
        Some(Policies { basic_auth: Some(basic_auth), ext_auth: Some(asked), ..Default::default() });
    let (at, services) = ([endpoint.address], [service.address]);
    let lab = Lab::new(&[Rule { policies, ..rule("/", &at) }, rule("/service", &services)]);
    let mut client = lab.client();
    // eve:secret
    client.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic ZXZlOnNlY3JldA==\r\nX-Name: admin\r\nX_Name: admin\r\n\
         Connection: x-tenant\r\nX-Tenant: mine\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let asked = service.received();
    assert!(asked.contains("\r\nX-Name: eve\r\n") && asked.contains("\r\nAuthorization: Basic "), "{asked}");
    assert!(!asked.contains("admin") && !asked.contains("mine"), "{asked}");
}

/// What a client can bring about never opens what fails open.
#[test]
fn a_client_cannot_make_the_question_fail() {
    let endpoint = Scripted::echo("one");
    let service = service(LETS_IN);
    let lab = lab(ExtAuth { fails_open: true, ..asked() }, &endpoint, service.address);
    let ask = |target: &str, lines: &str| {
        let mut client = lab.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
        client.response()
    };
    let long = format!("/?{}", "x".repeat(16 * 1024 - 5));
    assert_eq!(ask(&long, "").status, 431);
    assert_eq!(ask("/", &"Authorization: Bearer x\r\n".repeat(127)).status, 431);
    for path in ["/a/../../healthz", "/a/%2e%2E/healthz", "/a/..%2fhealthz", "/..", "/a/..;x/b"] {
        let refused = ask(path, "");
        assert_eq!((refused.status, refused.text().contains("..")), (400, true), "{path}");
    }
    assert_eq!((endpoint.connections(), service.connections()), (0, 0), "nobody is asked");
    // Nor does what HTTP/2 would not carry.
    assert_eq!(ask("/a?<b>`", "").status, 200);
    let asked = service.received();
    assert!(asked.starts_with("GET /check/a?%3Cb%3E%60 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nX-Forwarded-Uri: /a?<b>`\r\n"), "{asked}");
    assert_eq!(ask("/a..b/...", "").status, 200);
}

#[test]
fn a_no_is_a_no_however_long_it_is_and_comes_as_it_is() {
    let endpoint = Scripted::echo("one");
    let long = Scripted::new(|conn| {
        conn.head();
        conn.send(&format!("HTTP/1.1 403 No\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(200_000)));
    });
    let broken = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 10\r\n\r\nhalf");
    });
    for (service, status) in [(&long, 403), (&broken, 401)] {
        let lab = lab(ExtAuth { fails_open: true, ..asked() }, &endpoint, service.address);
        let refused = lab.client().get("/");
        assert_eq!((refused.status, refused.has("WWW-Authenticate: Bearer")), (status, status == 401));
        assert_eq!(refused.body, b"", "{}", refused.head);
    }
    let yes = Scripted::new(|conn| {
        conn.head();
        conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(200_000)));
    });
    let refused = lab(asked(), &endpoint, yes.address).client().get("/");
    assert!(refused.status == 403 && refused.text().contains("too large"), "{}", refused.text());
    // Bytes that are no text, and CORS in one voice.
    let coded = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 401 No\r\nContent-Encoding: gzip\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 4\r\n\r\n");
        conn.stream.write_all(b"\x1f\x8b\xff\x00").unwrap();
    });
    let (allow_origins, none) = (vec!["https://a.test".into()], Vec::new);
    let (allow_methods, allow_headers, expose_headers) = (none(), none(), none());
    let (allow_credentials, max_age_s) = (false, 5);
    let cors = model::Cors {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        allow_credentials,
        max_age_s,
    };
    let filters = model::Filters { cors: Some(cors), ..Default::default() };
    let policies = Some(Policies { ext_auth: Some(asked()), ..Default::default() });
    let (at, coded) = ([endpoint.address], [coded.address]);
    let lab = Lab::new(&[Rule { policies, filters, ..rule("/", &at) }, rule("/service", &coded)]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nOrigin: https://a.test\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status, &*refused.body), (401, &b"\x1f\x8b\xff\x00"[..]));
    let head = refused.head.to_ascii_lowercase();
    assert_eq!(head.matches("access-control-allow-origin").count(), 1, "{head}");
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn what_could_not_be_asked_about_is_counted() {
    let endpoint = Scripted::echo("one");
    for (fails_open, outcome) in [(true, "open"), (false, "closed")] {
        let lab = lab(ExtAuth { fails_open, ..asked() }, &endpoint, free_port());
        lab.client().get("/");
        assert_eq!(lab.metrics.ext_auth_failures.values(), [(outcome, 1)]);
    }
}
