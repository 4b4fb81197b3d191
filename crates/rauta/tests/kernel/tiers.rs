//! The same bytes through the kernel and through userspace alone: the same answer from the same endpoint (attack X-10).

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{ClientError, Connection, Netns, Recorder, Response};

use crate::world::{Network, World};

on_every_network!(
    both_tiers_give_the_same_answers,
    both_tiers_send_the_same_bytes,
    userspace_closes_what_it_was_given_after_a_hundred_requests,
);

/// The first of these are the kernel's to decide.
const DECIDABLE: usize = 18;
/// Requests that are decided, refused or handed off. Each is sent on a connection of its own, and again behind a request that
/// the kernel decides.
const REQUESTS: &[&str] = &[
    // Decidable.
    "GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: A.TEST\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: b.test\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: b.test:8080\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n",
    "GET /a HTTP/1.1\r\nHOST: b.test\r\nConnection: keep-alive\r\n\r\n",
    "HEAD /b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "DELETE /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc",
    "GET /b?x=/a HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /bad HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /b/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /B HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /status/404 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /status/503 HTTP/1.1\r\nHost: b.test\r\n\r\n",
    "PATCH /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
    "OPTIONS /b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /128 HTTP/1.1\r\nHost: a.test\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\n",
    // Userspace's.
    "GET /a HTTP/1.1\r\nHost:   b.test  \r\n\r\n",
    "GET /b HTTP/1.0\r\nHost: a.test\r\n\r\n",
    "GET /%62 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /b/../a HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /./b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET //b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET http://b.test/a HTTP/1.1\r\nHost: b.test\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "GET /b HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: a.test\r\nForwarded: for=1.2.3.4\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: a.test\r\nConnection: X-Test\r\nX-Test: yes\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    "\r\nGET /b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    // Refused.
    "GET /b HTTP/1.1\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: user@a.test\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost : a.test\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: a.test\r\n folded\r\n\r\n",
    "GET /b HTTP/1.1\nHost: a.test\n\n",
    "GET /b HTTP/1.1\r\nHost: a.test\r\nX: a\0b\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: a.test\r\nX: a\rb\r\n\r\n",
    "GET /b HTTP/2.0\r\nHost: a.test\r\n\r\n",
    "GET  /b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /b#x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "G@T /b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: +3\r\n\r\nabc",
    "POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nGET /user HTTP/1.1\r\nHost: a.test\r\n\r\n",
];

fn both_tiers_give_the_same_answers(network: Network) {
    let (kernel, userspace) = (World::new(network), World::userspace(network));
    for (at, request) in REQUESTS.iter().enumerate() {
        for first in [false, true] {
            let one = decided(&kernel, at, first, || outcome(&kernel, request, first));
            let other = outcome(&userspace, request, first);
            assert_eq!(one, other, "{request:?}, {}", if first { "the second request" } else { "alone" });
        }
    }
}

/// Runs `work`, which sends the request at `at`, behind another or not: what the kernel may decide it must.
fn decided<T>(world: &World, at: usize, first: bool, work: impl FnOnce() -> T) -> T {
    if at < DECIDABLE { world.decides(1 + u32::from(first), work) } else { work() }
}

/// An endpoint that answers with the request that came.
fn echo(netns: &Netns, address: SocketAddr) -> anyhow::Result<Recorder> {
    Recorder::start(netns, address, |peer| {
        loop {
            let request = peer.request()?;
            let head = "HTTP/1.1 200 OK\r\nX-Endpoint: b0\r\n";
            peer.send(format!("{head}Content-Length: {}\r\n\r\n", request.len()))?;
            // An answer to HEAD has no body (RFC 9110 section 9.3.2).
            if !request.starts_with(b"HEAD ") {
                peer.send(request)?;
            }
        }
    })
}

/// What reaches an endpoint, byte for byte: of each request, sent to `b0`, alone and behind another.
fn both_tiers_send_the_same_bytes(network: Network) {
    let (kernel, userspace) =
        (World::with_endpoint(network, echo), World::userspace_with_endpoint(network, echo));
    let (mut compared, mut different) = (0, Vec::new());
    for (at, request) in REQUESTS.iter().enumerate() {
        let request = request.replace("/b", "/c").replace("b.test", "c.test");
        for first in [false, true] {
            let seen = |world: &World| {
                let mut connection = world.connect();
                if first {
                    assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
                }
                connection.send(&request).unwrap();
                let method = request.trim_start().split(' ').next().unwrap_or_default();
                let answer = connection.response(method).ok()?;
                (answer.endpoint() == Some("b0")).then(|| without_what_may_differ(&answer.text()))
            };
            let (one, other) = (decided(&kernel, at, first, || seen(&kernel)), seen(&userspace));
            compared += u32::from(one.as_ref().is_some_and(|bytes| !bytes.is_empty()));
            if one != other {
                different.push((request.clone(), first, one, other));
            }
        }
    }
    assert!(different.is_empty(), "{different:#?}");
    assert!(compared >= 40, "{compared} requests");
}

/// In the kernel there may be a second space, which makes what is inserted even in length, and a client's wish for its own
/// connection, which userspace takes out (RFC 9110 section 7.6.1), reaches the endpoint.
fn without_what_may_differ(request: &str) -> String {
    let request = request.replace("X-Forwarded-Proto:  http", "X-Forwarded-Proto: http");
    request.replace("Connection: close\r\n", "").replace("Connection: keep-alive\r\n", "")
}

/// What came back: endpoint, status and content of each answer, and whether the connection was closed.
fn outcome(world: &World, request: &str, first: bool) -> String {
    let mut connection = world.connect();
    if first {
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    }
    connection.send(request).unwrap();
    // Whatever more came of it comes before the answer to this one.
    let method = request.trim_start().split(' ').next().unwrap_or_default();
    let mut outcome = describe(connection.response(method));
    outcome += &after(&mut connection);
    outcome
}

fn after(connection: &mut Connection) -> String {
    connection.set_read_limit(Duration::from_millis(100)).unwrap();
    match connection.response("GET") {
        Err(ClientError::Timeout) => "; stays open".to_owned(),
        // A close with bytes unread becomes a reset: the same to a client that has its answer.
        Err(ClientError::Closed | ClientError::Reset) => "; closed".to_owned(),
        more => format!("; more: {}", describe(more)),
    }
}

fn describe(answer: Result<Response, ClientError>) -> String {
    match answer {
        Ok(answer) => {
            // Whether an endpoint hears `Connection: close` is a hop's own business.
            let text: Vec<String> = answer
                .text()
                .lines()
                .filter(|line| !line.starts_with("connection=") && !line.starts_with("client="))
                .map(str::to_owned)
                .collect();
            format!("{} from {:?}: {}", answer.status, answer.endpoint(), text.join("|"))
        }
        Err(error) => format!("{error:?}"),
    }
}

/// Nothing takes a connection back from the host's stack: its client has to come again.
fn userspace_closes_what_it_was_given_after_a_hundred_requests(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    let mut connection = world.connect();
    world.hands_off(|| assert_eq!(connection.get("a.test", "/user").unwrap().status, 200));
    for turn in 2..=100 {
        let answer = connection.get("a.test", "/b").unwrap();
        assert_eq!(answer.header("connection"), (turn == 100).then_some("close"), "request {turn}");
    }
    assert_eq!(connection.rest().unwrap(), b"");
    world.decides(1, || assert_eq!(world.get("/b").endpoint(), Some("b1")));
}
