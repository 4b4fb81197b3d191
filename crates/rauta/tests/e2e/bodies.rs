//! Bodies of every framing and size, byte for byte.

use std::io::Write;
use std::time::Duration;

use testkit::{Connection, ONE_MEGABYTE_SHA256, one_megabyte, sha256_hex};

use crate::world::{Watched, World};

/// A megabyte as chunks of odd sizes.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    let mut size = 1;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        write!(out, "{:x}\r\n", chunk.len()).unwrap();
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
        size = (size * 3 + 1) % 70_001 + 1;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[test]
fn a_megabyte_down_is_the_same_megabyte() {
    let world = World::simple();
    let mut connection = world.connect();
    for _ in 0..3 {
        let response = connection.get("a", "/1m").unwrap();
        assert_eq!(response.header("content-length"), Some("1000000"));
        assert_eq!(sha256_hex(&response.body), ONE_MEGABYTE_SHA256);
    }
}

#[test]
fn a_megabyte_up_arrives_whole_with_either_framing() {
    let world = World::simple();
    let body = one_megabyte();
    let mut connection = world.connect();
    connection.send("PUT /upload/sized HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    connection.send(&body).unwrap();
    assert_eq!(connection.response("PUT").unwrap().status, 201);
    connection.send("PUT /upload/chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    connection.send(chunked(&body)).unwrap();
    assert_eq!(connection.response("PUT").unwrap().status, 201);
    for name in ["sized", "chunked"] {
        assert_eq!(sha256_hex(&world.endpoints[0].uploaded(name).unwrap()), ONE_MEGABYTE_SHA256, "{name}");
    }
    assert_eq!(connection.get("a", "/128").unwrap().status, 200);
}

#[test]
fn chunked_answers_pass_and_keep_the_connection() {
    let world = World::simple();
    let mut connection = world.connect();
    for _ in 0..3 {
        let response = connection.get("a", "/chunked").unwrap();
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
        assert_eq!(response.text(), "0123456789abcdef".repeat(1024));
    }
}

#[test]
fn trailers_pass_both_ways() {
    let world = Watched::playing(&[], |peer| {
        peer.head()?;
        peer.exactly("3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n".len())?;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Back: 9\r\n\r\n")?;
        peer.to_the_end().map(drop)
    });
    let mut connection = world.connect();
    connection
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")
        .unwrap();
    let response = connection.response("POST").unwrap();
    assert_eq!(response.trailers, [("x-back".to_owned(), "9".to_owned())]);
    assert!(world.endpoint.received_text().contains("X-Sum: 7"), "{}", world.endpoint.received_text());
}

#[test]
fn an_answer_up_to_the_end_of_the_connection_is_delimited_for_the_client() {
    let world = Watched::playing(&[], |peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\n\r\nuntil the end")
    });
    let mut connection = world.connect();
    for _ in 0..2 {
        let response = connection.get("a", "/").unwrap();
        assert_eq!(response.text(), "until the end");
        assert_eq!(response.header("transfer-encoding"), Some("chunked"), "{response:?}");
    }
}

#[test]
fn answers_without_body_stay_without() {
    let world = Watched::playing(&[], |peer| {
        loop {
            let request = peer.request()?;
            peer.send(match request.split(|&byte| byte == b' ').nth(1) {
                Some(b"/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some(b"/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: x\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
            })?;
        }
    });
    let mut connection = world.connect();
    for (method, path, status) in
        [("GET", "/204", 204), ("HEAD", "/", 200), ("GET", "/304", 304), ("HEAD", "/", 200)]
    {
        let response = connection.request(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!((response.status, response.body.len()), (status, 0), "{method} {path}");
    }
}

#[test]
fn a_slow_client_gets_everything_and_stalls_nobody() {
    let world = World::simple();
    let mut slow = world.connect();
    slow.send("GET /1m HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // While it does not read, others are served by every thread.
    let mut others: Vec<Connection> = (0..8).map(|_| world.connect()).collect();
    for other in &mut others {
        assert_eq!(other.get("a", "/128").unwrap().body.len(), 128);
    }
    assert_eq!(sha256_hex(&slow.response("GET").unwrap().body), ONE_MEGABYTE_SHA256);
}

#[test]
fn a_client_that_sends_byte_by_byte_is_understood() {
    let world = World::simple();
    let mut connection = world.connect();
    for byte in b"PUT /upload/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" {
        connection.send([*byte]).unwrap();
    }
    assert_eq!(connection.response("PUT").unwrap().status, 201);
    assert_eq!(world.endpoints[0].uploaded("slow").unwrap(), b"hello");
}

#[test]
fn a_slow_endpoint_is_passed_on_as_it_comes() {
    let world = Watched::playing(&[], |peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")?;
        // The rest comes when the client has seen the first half and says so.
        peer.request()?;
        peer.send("later")?;
        peer.to_the_end().map(drop)
    });
    let mut connection = world.connect();
    connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(connection.head().unwrap().header("content-length"), Some("10"));
    assert_eq!(connection.some_bytes().unwrap(), b"first");
    // Nothing of a second request may reach the endpoint before the first is answered: so the endpoint stays silent.
    connection.set_read_limit(Duration::from_millis(100)).unwrap();
    connection.send("GET /second HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(matches!(connection.some_bytes(), Err(testkit::ClientError::Timeout)));
    assert_eq!(world.endpoint.received_text().matches("GET ").count(), 1);
}

#[test]
fn nginx_at_a_slow_rate_is_passed_on_whole() {
    let world = World::simple();
    let response = world.get("a", "/slow");
    assert_eq!(response.body.len(), 16 * 1024);
}
