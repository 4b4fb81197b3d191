//! RoutePolicies: who is let in, what is answered here, and how much goes through, byte for byte.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use model::{
    BasicAuth, DirectResponse, ErrorResponse, FaultInjection, IpRules, Policies, RateLimit, RateLimitKey,
    SecretBytes, Share,
};
use support::{Lab, Rule, Scripted, rule};
use tokio::net::TcpStream;

fn lab(policies: Policies, endpoint: &Scripted) -> Lab {
    Lab::new(&[Rule { policies: Some(policies), ..rule("/", &[endpoint.address]) }])
}

fn body_max(bytes: u64) -> Policies {
    Policies { request_body_max: Some(bytes), ..Default::default() }
}

fn ip_rules(allow: &[&str], deny: &[&str]) -> Policies {
    let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
    Policies { ip_rules: Some(IpRules { allow: nets(allow), deny: nets(deny) }), ..Default::default() }
}

/// A request over HTTP/2 with its body, in one frame, and whether its length is announced: status and body of the answer.
async fn ask_http2(lab: &Lab, body: &'static str, announces: bool) -> (u16, String) {
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::post("http://a.test/");
    if announces {
        request = request.header("content-length", body.len());
    }
    let mut send = send.ready().await.unwrap();
    let (response, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
    // The gateway may have answered and reset the rest.
    let _ = stream.send_data(Bytes::from_static(body.as_bytes()), true);
    let response = response.await.unwrap();
    let status = response.status().as_u16();
    let (mut all, mut incoming) = (Vec::new(), response.into_body());
    while let Some(Ok(data)) = incoming.data().await {
        all.extend_from_slice(&data);
    }
    (status, String::from_utf8(all).unwrap())
}

#[test]
fn a_body_that_announces_too_much_is_refused_before_the_endpoint_sees_anything() {
    let endpoint = Scripted::echo("one");
    let lab = lab(body_max(5), &endpoint);
    let mut client = lab.client();
    for (length, status) in [(5, 200), (0, 200)] {
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n"));
        client.send("x".repeat(length));
        assert_eq!(client.response().status, status, "{length}");
    }
    let before = endpoint.received();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n");
    let refused = client.response();
    assert_eq!(refused.status, 413);
    assert!(refused.has("Connection: close"), "{}", refused.head);
    assert_eq!(refused.text(), "the body is larger than the route's RoutePolicy allows\n");
    assert_eq!(endpoint.received(), before);
    // One that is here already costs the connection nothing.
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabcdefGET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!((client.response().status, client.response().status), (413, 200));
}

#[test]
fn a_chunked_body_is_cut_where_it_goes_beyond() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            let body = conn.chunks();
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            conn.send(&String::from_utf8(body).unwrap());
        }
    });
    let lab = lab(body_max(5), &endpoint);
    let mut client = lab.client();
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"));
    assert_eq!(client.response().text(), "abcde");
    // In one piece with the head: the endpoint never hears of it.
    let before = endpoint.received();
    client.send(format!("{head}6\r\nabcdef\r\n0\r\n\r\n"));
    let refused = client.response();
    assert!(refused.status == 413 && refused.has("Connection: close"), "{}", refused.head);
    assert_eq!(endpoint.received(), before);
    // Piece by piece: what was right went on, the rest does not, and the endpoint sees no end.
    let mut client = lab.client();
    client.send(format!("{head}3\r\nabc\r\n"));
    support::eventually("the endpoint has the first chunk", || endpoint.received().ends_with("3\r\nabc\r\n"));
    client.send("3\r\ndef\r\n0\r\n\r\n");
    let refused = client.response();
    assert!(refused.status == 413 && refused.has("Connection: close"), "{}", refused.head);
    assert!(endpoint.received().ends_with("3\r\nabc\r\n"));
}

#[tokio::test]
async fn bodies_are_limited_over_http2_too() {
    let endpoint = Scripted::echo("one");
    let lab = lab(body_max(5), &endpoint);
    assert_eq!(ask_http2(&lab, "abcde", true).await.0, 200);
    let before = endpoint.received();
    assert_eq!(ask_http2(&lab, "abcdef", true).await.0, 413);
    assert_eq!(endpoint.received(), before);
    assert_eq!(ask_http2(&lab, "abcdef", false).await, (413, "body too large\n".to_owned()));
}

#[test]
fn addresses_are_let_in_or_not() {
    let endpoint = Scripted::echo("one");
    for (policies, status) in [
        (ip_rules(&["127.0.0.0/8"], &[]), 200),
        (ip_rules(&["10.0.0.0/8"], &[]), 403),
        (ip_rules(&["127.0.0.0/8"], &["127.0.0.1/32"]), 403),
        (ip_rules(&[], &["::1/128"]), 200),
    ] {
        let lab = lab(policies, &endpoint);
        // A client's own word does not count.
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
        assert_eq!(client.response().status, status);
        assert_eq!(client.get("/").status, status, "the connection goes on");
    }
}

#[test]
fn a_trusted_proxy_says_whose_address_counts() {
    let endpoint = Scripted::echo("one");
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let config = proxy::Config { threads: 1, trusted_proxies, ..Default::default() };
    let policies = Some(ip_rules(&["10.0.0.0/8"], &["10.6.6.6/32"]));
    let lab = Lab::with(config, &[Rule { policies, ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    for (line, status) in [
        ("X-Forwarded-For: 10.0.0.1", 200),
        ("X-Forwarded-For: 10.0.0.1, 192.0.2.1", 403),
        ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.1, 127.0.0.2", 200),
        ("X-Forwarded-For: 10.6.6.6", 403),
        ("X-Forwarded-For: unknown", 403),
        ("X-Other: 1", 403),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{line}\r\n\r\n"));
        assert_eq!(client.response().status, status, "{line}");
    }
}

#[tokio::test]
async fn a_direct_response_is_what_was_written_and_no_endpoint_is_asked() {
    let endpoint = Scripted::echo("one");
    let direct =
        DirectResponse { status: 503, content_type: "application/json".into(), body: "{\"a\":1}".into() };
    let lab = lab(Policies { direct_response: Some(direct), ..Default::default() }, &endpoint);
    let client_lab = lab.client();
    let said = tokio::task::spawn_blocking(move || {
        let mut client = client_lab;
        let first = client.get("/a");
        client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        (first, client.response_head(), client.get("/b").status)
    });
    let (first, head, last) = said.await.unwrap();
    let without_date = |head: &str| {
        head.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect::<String>()
    };
    let expected =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n";
    assert_eq!(without_date(&first.head), expected);
    assert_eq!(without_date(&head.head), expected);
    assert_eq!((first.text().as_str(), last), ("{\"a\":1}", 503));
    assert_eq!(ask_http2(&lab, "x", true).await, (503, "{\"a\":1}".to_owned()));
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn what_cannot_be_understood_is_closed() {
    let endpoint = Scripted::echo("one");
    let lab = lab(Policies { is_closed: true, ..Default::default() }, &endpoint);
    let response = lab.client().get("/");
    assert_eq!(
        (response.status, response.text().as_str()),
        (500, "a RoutePolicy of the route cannot be understood\n")
    );
    assert_eq!(endpoint.connections(), 0);
}

/// So many in an hour, which is none more while a test runs.
fn rate_limit(requests: u32, key: RateLimitKey) -> Policies {
    let period = Duration::from_secs(3600);
    Policies {
        rate_limit: Some(RateLimit {
            requests,
            period,
            burst: requests,
            key,
            exempt: Vec::new(),
            status: RateLimit::TOO_MANY,
            is_of_object: false,
        }),
        ..Default::default()
    }
}

#[test]
fn requests_beyond_the_limit_get_429_and_are_told_when_to_come_again() {
    let endpoint = Scripted::echo("one");
    let rule = |requests| {
        let policies = Some(rate_limit(requests, RateLimitKey::Route));
        [Rule { policies, ..rule("/", std::slice::from_ref(&endpoint.address)) }]
    };
    // Threads share the count, whichever of them the connections come to.
    let config = proxy::Config { threads: 2, ..Default::default() };
    let mut lab = Lab::with(config, &rule(10));
    let statuses: Vec<_> = (0..15).map(|_| lab.client().get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 5, "{statuses:?}");
    let mut client = lab.client();
    let refused = client.get("/");
    assert_eq!(refused.text(), "more requests than the route's RoutePolicy allows\n");
    assert!(refused.has("RateLimit-Policy: \"route\";q=10;w=3600"), "{}", refused.head);
    let lines: Vec<_> = refused.head.lines().filter_map(|line| line.split_once(": ")).collect();
    let after = lines.iter().find(|(name, _)| *name == "Retry-After").unwrap().1;
    assert!((1..=360).contains(&after.parse::<u32>().unwrap()), "{after}");
    assert!(refused.has(&format!("RateLimit: \"route\";r=0;t={after}")), "{}", refused.head);
    assert_eq!(client.get("/").status, 429, "the connection goes on");
    // A change elsewhere does not fill the bucket; another limit begins anew.
    lab.apply(&rule(10));
    assert_eq!(client.get("/").status, 429);
    lab.apply(&rule(11));
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn values_of_a_header_are_counted_by_themselves_and_those_without_it_together() {
    let endpoint = Scripted::echo("one");
    let lab = lab(rate_limit(2, RateLimitKey::Header("x-key".into())), &endpoint);
    let mut client = lab.client();
    let mut ask = |line: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{line}\r\n"));
        client.response().status
    };
    for line in ["X-Key: a\r\n", "x-key: b\r\n", "", "X-Key: a\r\nX-Key: b\r\n"] {
        assert_eq!([ask(line), ask(line), ask(line)], [200, 200, 429], "{line:?}");
    }
    assert_eq!(ask("X-Key: a\r\n"), 429);
}

#[test]
fn clients_are_counted_by_the_address_that_a_trusted_proxy_names() {
    let endpoint = Scripted::echo("one");
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let config = proxy::Config { threads: 1, trusted_proxies, ..Default::default() };
    let policies = Some(rate_limit(1, RateLimitKey::Address));
    let lab = Lab::with(config, &[Rule { policies, ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    let mut ask = |address: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {address}\r\n\r\n"));
        client.response().status
    };
    for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "unknown"] {
        assert_eq!([ask(address), ask(address)], [200, 429], "{address}");
    }
    assert_eq!((ask("2001:db8::2"), ask("hidden"), ask("2001:db8:1::1")), (429, 429, 200));
}

#[test]
fn clients_that_are_exempt_have_no_limit_whichever_proxy_they_come_by() {
    let endpoint = Scripted::echo("one");
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let config = proxy::Config { threads: 1, trusted_proxies, ..Default::default() };
    let mut limited = rate_limit(1, RateLimitKey::Address);
    let exempt = ["192.0.2.0/24", "2001:db8::/32"].map(|net| net.parse().unwrap());
    limited.rate_limit.iter_mut().for_each(|limit| limit.exempt = exempt.to_vec());
    let lab = Lab::with(config, &[Rule { policies: Some(limited), ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    let mut ask = |address: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {address}\r\n\r\n"));
        client.response().status
    };
    for (address, second) in [
        ("192.0.2.1", 200),
        ("::ffff:192.0.2.1", 200),
        ("2001:db8::1", 200),
        ("203.0.113.1", 429),
        ("unknown", 429),
    ] {
        assert_eq!((ask(address), ask(address)), (200, second), "{address}");
    }
}

#[tokio::test]
async fn limits_hold_over_http2_too() {
    let endpoint = Scripted::echo("one");
    let lab = lab(rate_limit(1, RateLimitKey::Address), &endpoint);
    assert_eq!(ask_http2(&lab, "", true).await.0, 200);
    assert_eq!(
        ask_http2(&lab, "", true).await,
        (429, "more requests than the route's RoutePolicy allows\n".to_owned())
    );
}

#[test]
fn a_rule_goes_on_counting_when_others_come_before_it() {
    let endpoint = Scripted::echo("one");
    let addresses = [endpoint.address];
    let limited = |prefix| {
        let policies = Some(rate_limit(1, RateLimitKey::Route));
        Rule { policies, ..rule(prefix, &addresses) }
    };
    let mut lab = Lab::new(&[limited("/a"), limited("/b")]);
    let mut client = lab.client();
    assert_eq!((client.get("/a").status, client.get("/a").status), (200, 429));
    lab.apply(&[limited("/b"), rule("/new", &addresses), limited("/a")]);
    assert_eq!((client.get("/a").status, client.get("/b").status, client.get("/b").status), (429, 200, 429));
}

/// Waits 300 ms, answers 418, or both: 1 for all requests, 0 for none.
fn faults(delay: u32, abort: u32) -> Policies {
    let all = 1_000_000;
    let delay = Some(Share { value: Duration::from_millis(300), per_million: delay * all });
    let abort = Some(Share { value: 418, per_million: abort * all });
    Policies { fault_injection: Some(FaultInjection { delay, abort }), ..Default::default() }
}

#[test]
fn faults_delay_and_abort_their_share() {
    let endpoint = Scripted::echo("one");
    for (delay, abort, status) in [(1, 0, 200), (1, 1, 418), (0, 1, 418), (0, 0, 200)] {
        let lab = lab(faults(delay, abort), &endpoint);
        let mut client = lab.client();
        let begun = Instant::now();
        assert_eq!((client.get("/").status, client.get("/").status), (status, status));
        assert!(delay == 0 || begun.elapsed() >= Duration::from_millis(600));
    }
}

#[test]
fn a_request_whose_client_resets_while_it_waits_goes_nowhere_and_one_that_has_sent_all_is_answered() {
    let endpoint = Scripted::echo("one");
    let mut policies = faults(1, 0);
    if let Some(delay) = policies.fault_injection.as_mut().and_then(|faults| faults.delay.as_mut()) {
        // Long enough for the client to be gone within, on a busy machine too.
        delay.value = Duration::from_secs(2);
    }
    let lab = lab(policies, &endpoint);
    let mut half_closed = lab.client();
    half_closed.send("GET /half-closed HTTP/1.1\r\nHost: a.test\r\n\r\n");
    half_closed.stream.shutdown(Shutdown::Write).unwrap();
    let mut leaving = lab.client();
    leaving.send("GET /left HTTP/1.1\r\nHost: a.test\r\n\r\n");
    std::thread::sleep(Duration::from_millis(50));
    support::reset(&leaving.stream);
    drop(leaving);
    // It waits until later than the one that left would have.
    assert_eq!(lab.client().get("/stays").status, 200);
    assert_eq!(half_closed.response().status, 200);
    let received = endpoint.received();
    assert!(received.contains("/half-closed") && !received.contains("/left"), "{received}");
}

/// `a` with password `secret`, by SHA-1; and where it is asked for, `b` with the same, by bcrypt of cost 4.
fn basic_auth(with_bcrypt: bool) -> Policies {
    let mut users = "a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n".to_owned();
    if with_bcrypt {
        users += &format!("b:{}\n", bcrypt::hash_with_salt("secret", 4, *b"0123456789abcdef").unwrap());
    }
    let users = SecretBytes::new(users.as_bytes());
    Policies {
        basic_auth: Some(BasicAuth {
            realm: "The shop".into(),
            username_header: Some("X-User".into()),
            users,
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn who_has_no_right_password_is_asked_for_one() {
    let endpoint = Scripted::echo("one");
    // Of `a:secret`, `b:secret`, `b:wrong`, `c:secret`.
    let (a, b, wrong, nobody) = ("YTpzZWNyZXQ=", "YjpzZWNyZXQ=", "Yjp3cm9uZw==", "YzpzZWNyZXQ=");
    for with_bcrypt in [false, true] {
        let lab = lab(basic_auth(with_bcrypt), &endpoint);
        let mut client = lab.client();
        let ask = move || {
            let mut ask = |lines: &str| {
                client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
                client.response()
            };
            let basic = |credentials: &str| format!("Authorization: Basic {credentials}\r\n");
            let refused = ask("");
            assert_eq!(
                (refused.status, refused.text().as_str()),
                (401, "user and password are missing or wrong\n")
            );
            assert!(
                refused.has("WWW-Authenticate: Basic realm=\"The shop\", charset=\"UTF-8\""),
                "{}",
                refused.head
            );
            assert_eq!(ask(&basic(a)).status, 200);
            // Again, from memory, and with what is not in it.
            for _ in 0..2 {
                assert_eq!(ask(&basic(b)).status, if with_bcrypt { 200 } else { 401 });
                for lines in [
                    basic(wrong),
                    basic(nobody),
                    basic("YQ=="),
                    basic(a) + &basic(a),
                    basic(a).replace("Basic", "Bearer"),
                ] {
                    assert_eq!(ask(&lines).status, 401, "{lines}");
                }
            }
            if with_bcrypt {
                assert!(ask(&basic(b)).text().contains("\r\nX-User: b\r\n"), "from memory, too");
            }
            ask(&(basic(a) + "x_user: eve\r\n")).text()
        };
        let seen = tokio::task::spawn_blocking(ask).await.unwrap();
        assert!(seen.contains("Authorization: Basic YTpzZWNyZXQ=\r\n"), "it goes on as it came: {seen}");
        assert!(seen.contains("\r\nX-User: a\r\n") && !seen.contains("eve"), "{seen}");
        assert_eq!(
            ask_http2(&lab, "", true).await,
            (401, "user and password are missing or wrong\n".to_owned())
        );
    }
}

#[test]
fn a_user_whom_endpoints_would_take_for_another_is_not_let_in() {
    let endpoint = Scripted::echo("one");
    let mut policies = basic_auth(false);
    // `a ` with password `secret`: blanks at the ends of a header's value do not count.
    let users = SecretBytes::new(b"a :{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n");
    for (header, status) in [(Some("X-User".into()), 401), (None, 200)] {
        let said = policies.basic_auth.as_mut().unwrap();
        (said.users, said.username_header) = (users.clone(), header);
        let lab = lab(policies.clone(), &endpoint);
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic YSA6c2VjcmV0\r\n\r\n");
        assert_eq!(client.response().status, status);
    }
}

#[test]
fn a_password_that_is_changed_counts_at_once() {
    let endpoint = Scripted::echo("one");
    let mut lab = lab(basic_auth(true), &endpoint);
    let mut client = lab.client();
    let mut ask = || {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic YjpzZWNyZXQ=\r\n\r\n");
        client.response().status
    };
    assert_eq!(ask(), 200);
    lab.apply(&[Rule { policies: Some(basic_auth(false)), ..rule("/", &[endpoint.address]) }]);
    assert_eq!(ask(), 401, "what was right is forgotten");
    let broken =
        Some(BasicAuth { realm: "x".into(), username_header: None, users: SecretBytes::new(b"no users") });
    let policies = Some(Policies { basic_auth: broken, ..Default::default() });
    lab.apply(&[Rule { policies, ..rule("/", &[endpoint.address]) }]);
    assert_eq!(ask(), 500);
}

#[tokio::test]
async fn errors_of_the_gateway_have_the_body_that_was_written_and_those_of_endpoints_their_own() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 503 Mine\r\nContent-Length: 4\r\n\r\nmine");
        }
    });
    let page = |statuses, body: &str| ErrorResponse {
        statuses,
        content_type: "text/html".into(),
        body: body.into(),
    };
    let pages = vec![page(vec![403..=403, 404..=404], "<p>no</p>"), page(vec![400..=599], "<p>sorry</p>")];
    let with = |policies: Policies| Some(Policies { error_responses: pages.clone(), ..policies });
    let lab = Lab::new(&[
        Rule { policies: with(Policies::default()), ..rule("/", &[endpoint.address]) },
        Rule { policies: with(Policies::default()), ..rule("/empty", &[]) },
        Rule { policies: with(ip_rules(&["10.0.0.0/8"], &[])), ..rule("/closed", &[endpoint.address]) },
        Rule { policies: with(body_max(0)), ..rule("/limited", &[endpoint.address]) },
        Rule {
            target: support::Target::Invalid,
            policies: with(Policies::default()),
            ..rule("/broken", &[])
        },
    ]);
    let mut client = lab.client();
    let ask = move || {
        let mut said = Vec::new();
        for path in ["/", "/empty", "/closed", "/broken"] {
            let response = client.get(path);
            let kind = response.has("Content-Type: text/html");
            said.push((response.status, response.text(), kind));
        }
        said
    };
    let said = tokio::task::spawn_blocking(ask).await.unwrap();
    let expected = [
        (503, "mine", false),
        (503, "<p>sorry</p>", true),
        (403, "<p>no</p>", true),
        (500, "<p>sorry</p>", true),
    ];
    assert_eq!(said, expected.map(|(status, body, kind)| (status, body.to_owned(), kind)));
    let mut client = lab.client();
    client.send("POST /limited HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(client.response().text(), "<p>sorry</p>");
    assert_eq!(ask_http2(&lab, "", true).await, (503, "mine".to_owned()));
}
