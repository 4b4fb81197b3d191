//! Pipes that large bodies are spliced by: how many there are. The only test of its program: it looks at all of its descriptors.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests: a panic is how they report"
)]

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use support::{Lab, Scripted, eventually, rule};

/// More than all buffers on the way hold.
const SIZE: usize = 32 << 20;
/// The same for clients that have read a head only: their buffers have not grown.
const SMALLER: usize = 8 << 20;
/// In use at once, of one thread; and kept when nobody uses them.
const USED_MAX: usize = 64;
const IDLE_MAX: usize = 8;

/// Those of this process.
fn pipes() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let pipes = links.filter(|link| link.to_string_lossy().starts_with("pipe:"));
    // Both ends have one name.
    pipes.collect::<BTreeSet<_>>().len()
}

#[test]
fn bodies_are_spliced_by_as_many_pipes_as_may_be_and_copied_beyond_that() {
    let pattern: Arc<[u8]> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    let body = pattern.clone();
    let endpoint = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            let size = if head.starts_with("GET /smaller") { SMALLER } else { SIZE };
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
            conn.stream.write_all(&body[..size]).unwrap();
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let others = pipes();
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("what the client does not take waits in a pipe", || pipes() == others + 1);
    assert!(client.response().body == pattern[..]);

    let mut slow: Vec<_> = (0..USED_MAX + 8).map(|_| lab.client()).collect();
    for client in &mut slow {
        client.send("GET /smaller HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response_head().status, 200);
    }
    eventually("as many as may be are in use", || pipes() == others + USED_MAX);
    assert!(client.get("/").body == pattern[..], "others are served meanwhile");
    assert_eq!(pipes(), others + USED_MAX);
    for (number, client) in slow.iter_mut().enumerate() {
        assert!(client.exactly(SMALLER) == pattern[..SMALLER], "client {number}");
    }
    eventually("few are kept", || pipes() <= others + IDLE_MAX);
}
