//! Connections that go on in another protocol: `Upgrade` of HTTP/1.1, CONNECT with `:protocol` of HTTP/2.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use support::{Conn, Lab, PATIENCE, Scripted, rule};
use tokio::net::TcpStream;

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Name: v\r\n\r\n";

/// Goes on with the protocol that is asked for: everything comes back, and in the end how much it was.
fn echoing(conn: &mut Conn) {
    if conn.head().is_none() {
        return;
    }
    conn.send(SWITCH);
    let mut chunk = [0; 4096];
    let early = conn.take_buffer();
    let mut total = early.len();
    let _ = conn.stream.write_all(&early);
    while let Ok(n @ 1..) = conn.stream.read(&mut chunk) {
        total += n;
        if conn.stream.write_all(&chunk[..n]).is_err() {
            return;
        }
    }
    let _ = conn.stream.write_all(format!("<{total}>").as_bytes());
}

#[test]
fn bytes_pass_both_ways_behind_a_101_and_each_way_ends_by_itself() {
    let endpoint = Scripted::new(echoing);
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    // Bytes of the new protocol may follow at once: they are not read as a request.
    client.send(format!("{ASK}GET / HTTP/1.1\r\n\r\n"));
    let head = client.response_head();
    assert_eq!(head.status, 101);
    assert!(
        head.has("Upgrade: websocket") && head.has("Connection: upgrade") && head.has("X-Name: v"),
        "{}",
        head.head
    );
    let big = vec![b'x'; 300_000];
    let mut far = client.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        far.write_all(&big).unwrap();
        far.shutdown(Shutdown::Write).unwrap();
    });
    let rest = client.rest();
    writer.join().unwrap();
    assert!(rest.starts_with(b"GET / HTTP/1.1\r\n\r\nxxx"));
    assert_eq!(rest.len(), 18 + 300_000 + "<300018>".len());
    assert!(rest.ends_with(b"<300018>"), "said behind the client's end");
    let asked = endpoint.received();
    assert!(
        asked.contains("\r\nUpgrade: websocket\r\n") && asked.contains("\r\nConnection: upgrade\r\n"),
        "{asked}"
    );
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn who_is_not_upgraded_goes_on_in_http() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            let body = conn.body(support::content_length(&head));
            let asked = head.to_ascii_lowercase().contains("upgrade");
            let text = format!("{asked} {}", body.len());
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send(ASK);
    assert_eq!(client.response().text(), "true 0");
    // Where the body ends and the other protocol begins is read in more than one way: no upgrade.
    let ask = ASK.replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc");
    client.send(ask);
    assert_eq!(client.response().text(), "false 3");
    // h2c would carry requests past the routes.
    client.send(ASK.replace("websocket", "h2c"));
    assert_eq!(client.response().text(), "false 0");
    client.send(ASK.replace("Upgrade: websocket", "Upgrade: websocket, other"));
    assert_eq!(client.response().text(), "false 0");
    // Not named by Connection: it is for nobody.
    client.send(ASK.replace("keep-alive, Upgrade", "keep-alive"));
    assert_eq!(client.response().text(), "false 0");
    assert_eq!(endpoint.connections(), 1, "all over one connection");
}

#[test]
fn a_101_that_nobody_asked_for_is_no_answer() {
    for (ask, answer) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", SWITCH.to_owned()),
        (ASK, SWITCH.replace("websocket", "other")),
        (ASK, SWITCH.replace("Connection: Upgrade\r\n", "")),
        (ASK, SWITCH.replace("Upgrade: websocket\r\n", "")),
    ] {
        let endpoint = Scripted::new(move |conn| {
            conn.head();
            conn.send(&answer);
            conn.head();
        });
        let lab = Lab::new(&[rule("/", &[endpoint.address])]);
        let mut client = lab.client();
        client.send(ask);
        assert_eq!(client.response().status, 502);
    }
}

#[test]
fn a_quiet_tunnel_outlives_the_routes_limit_and_ends_with_its_own() {
    let endpoint = Scripted::new(echoing);
    let addresses = [endpoint.address];
    let mut rule = rule("/", &addresses);
    rule.timeouts.request = Some(Duration::from_millis(300));
    let timeouts = proxy::TimeoutConfig { tunnel_idle: Duration::from_secs(5), ..Default::default() };
    let lab = Lab::with(proxy::Config { threads: 1, timeouts, ..Default::default() }, &[rule]);
    let mut client = lab.client();
    client.send(ASK);
    assert_eq!(client.response_head().status, 101);
    std::thread::sleep(Duration::from_millis(900));
    let said = Instant::now();
    client.send("still here");
    assert_eq!(client.exactly(10), b"still here");
    assert!(client.is_closed());
    assert!(said.elapsed() >= Duration::from_millis(4900), "{:?}", said.elapsed());
}

#[test]
fn a_reset_reaches_the_other_side() {
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.send(SWITCH);
        conn.send("half");
        conn.body(1);
        socket2::SockRef::from(&conn.stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send(ASK);
    assert_eq!(client.response_head().status, 101);
    assert_eq!(client.exactly(4), b"half");
    client.send("x");
    let error = client.stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

async fn connect_client(lab: &Lab) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let (send, connection) = h2::client::Builder::new().handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let deadline = Instant::now() + PATIENCE;
    while !send.is_extended_connect_protocol_enabled() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(send.is_extended_connect_protocol_enabled(), "SETTINGS_ENABLE_CONNECT_PROTOCOL");
    send.ready().await.unwrap()
}

fn connect(protocol: &str) -> Request<()> {
    Request::builder()
        .method("CONNECT")
        .uri("http://a.test/chat?x=1")
        .extension(h2::ext::Protocol::from(protocol))
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap()
}

#[tokio::test]
async fn a_stream_of_http2_is_a_tunnel_too() {
    let endpoint = Scripted::new(echoing);
    let lab = Lab::new(&[rule("/chat", &[endpoint.address])]);
    let mut client = connect_client(&lab).await;
    let (response, mut send) = client.send_request(connect("websocket"), false).unwrap();
    send.send_data("early ".into(), false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        !response.headers().contains_key("upgrade")
            && !response.headers().contains_key("sec-websocket-accept")
    );
    assert_eq!(response.headers()["x-name"], "v");
    let mut body = response.into_body();
    send.send_data("late".into(), true).unwrap();
    let mut got = Vec::new();
    while let Some(data) = body.data().await {
        got.extend_from_slice(&data.unwrap());
    }
    assert_eq!(String::from_utf8(got).unwrap(), "early late<10>");
    let asked = endpoint.received().to_ascii_lowercase();
    assert!(asked.starts_with("get /chat?x=1 http/1.1\r\n"), "{asked}");
    for line in ["upgrade: websocket", "connection: upgrade", "host: a.test", "sec-websocket-version: 13"] {
        assert_eq!(asked.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {asked}");
    }
    assert_eq!(asked.matches("\r\nsec-websocket-key: ").count(), 1, "{asked}");
}

#[tokio::test]
async fn a_stream_is_told_in_its_own_words_that_there_is_no_tunnel() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            let status = if head.starts_with("GET /chat") { "200 OK" } else { "403 Forbidden" };
            conn.send(&format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"));
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = connect_client(&lab).await;
    // In HTTP/2 a 200 would be the tunnel (RFC 8441 section 5).
    let (response, _send) = client.send_request(connect("websocket"), false).unwrap();
    assert_eq!(response.await.unwrap().status(), 502);
    let (mut parts, ()) = connect("websocket").into_parts();
    parts.uri = "http://a.test/other".parse().unwrap();
    let (response, _send) = client.send_request(Request::from_parts(parts, ()), false).unwrap();
    assert_eq!(response.await.unwrap().status(), 403);
    // What is no token would be lines of its own in HTTP/1.
    let (response, _send) = client.send_request(connect("a\r\nx-forged: 1"), false).unwrap();
    assert!(response.await.is_ok_and(|response| response.status() == 400 || response.status() == 501));
    assert!(!endpoint.received().contains("forged"));
}
