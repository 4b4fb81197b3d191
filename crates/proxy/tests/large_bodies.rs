//! Bodies that pass from socket to socket: every byte of them, whoever is slow or breaks off.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests: a panic is how they report"
)]

#[path = "../../l4/tests/no_splice/mod.rs"]
mod no_splice;
mod support;

use std::io::{Read, Write};

use support::{Lab, Scripted, eventually, reset, rule};

const SIZE: usize = 3_000_000;
/// Of an answer with that much.
const HEAD: usize = "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n".len();

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i % 251) as u8).collect()
}

/// Answers with so many bytes of those that it announces.
fn endpoint(announced: usize, sent: usize) -> Scripted {
    Scripted::new(move |conn| {
        while conn.head().is_some() {
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\n"));
            // A client that breaks off takes no more.
            let _ = conn.stream.write_all(&pattern(sent));
            if sent < announced {
                return;
            }
        }
    })
}

#[test]
fn all_of_a_body_comes_and_the_connections_go_on() {
    let endpoint = endpoint(SIZE, SIZE);
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    for round in 0..5 {
        let response = client.get("/");
        assert_eq!(response.status, 200);
        assert!(response.body == pattern(SIZE), "round {round}");
    }
    assert_eq!(endpoint.connections(), 1);
    let counted = format!("rauta_response_bytes_total{{gateway=\"test/gateway\"}} {}\n", 5 * (SIZE + HEAD));
    eventually("bytes are counted", || lab.metrics.encode().contains(&counted));
}

#[test]
fn a_client_that_reads_slowly_gets_all_and_others_are_served_meanwhile() {
    let endpoint = endpoint(SIZE, SIZE);
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut slow = lab.client();
    slow.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut first = [0; 1000];
    slow.stream.read_exact(&mut first).unwrap();
    let mut other = lab.client();
    assert!(other.get("/").body == pattern(SIZE));
    let mut rest = vec![0; SIZE + HEAD - first.len()];
    slow.stream.read_exact(&mut rest).unwrap();
    let whole = [&first[..], &rest].concat();
    assert!(whole.ends_with(&pattern(SIZE)) && whole.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[test]
fn half_a_body_is_none_and_leaves_nothing_to_the_next() {
    let broken = endpoint(SIZE, SIZE / 2);
    let whole = endpoint(SIZE, SIZE);
    let lab = Lab::new(&[rule("/broken", &[broken.address]), rule("/", &[whole.address])]);
    for round in 0..10 {
        let mut client = lab.client();
        client.send("GET /broken HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response_head().status, 200, "round {round}");
        let part = client.rest();
        assert!(part.len() < SIZE && pattern(SIZE).starts_with(&part), "round {round}: {}", part.len());
        let mut leaving = lab.client();
        leaving.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        leaving.stream.read_exact(&mut [0; 100_000]).unwrap();
        reset(&leaving.stream);
        drop(leaving);
        assert!(lab.client().get("/").body == pattern(SIZE), "round {round}");
    }
}

#[test]
fn where_the_system_does_not_splice_bodies_are_copied() {
    let body = std::thread::spawn(|| {
        // The gateway's threads are this one's.
        no_splice::deny();
        let endpoint = endpoint(SIZE, SIZE);
        let lab = Lab::new(&[rule("/", &[endpoint.address])]);
        let mut client = lab.client();
        for round in 0..3 {
            assert!(client.get("/").body == pattern(SIZE), "round {round}");
        }
        assert_eq!(endpoint.connections(), 1);
    });
    body.join().unwrap();
}
