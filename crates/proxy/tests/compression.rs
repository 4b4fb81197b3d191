//! Compression by RoutePolicies: which responses, how they are framed, and that nothing waits or ends that did not.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use model::ContentCoding::{Brotli, Gzip, Zstd};
use model::{Compression, ContentCoding, Policies};
use support::{Client, Conn, Lab, Response, Rule, Scripted, rule};
use tokio::net::TcpStream;

const HTML: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";

/// A gateway that compresses `types` of ten bytes and more.
fn lab(endpoint: &Scripted, codings: &[ContentCoding], types: &[&str]) -> Lab {
    let content_types: Arc<[Arc<str>]> = types.iter().map(|&text| text.into()).collect();
    let of = |&coding| Compression { coding, min_content_length: 10, content_types: content_types.clone() };
    let policies = Policies { compression: codings.iter().map(of).collect(), ..Default::default() };
    Lab::new(&[Rule { policies: Some(policies), ..rule("/", &[endpoint.address]) }])
}

/// An endpoint that answers each request with these bytes.
fn answering(bytes: String) -> Scripted {
    Scripted::new(move |conn| {
        while conn.head().is_some() {
            conn.send(&bytes);
        }
    })
}

/// A page of text with its head.
fn page(lines: &str, body: &str) -> String {
    format!("{HTML}{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn text() -> String {
    (0..5000).map(|number| format!("<li>{number}</li>")).collect()
}

fn ask(client: &mut Client, accept: &str) -> Response {
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: {accept}\r\n\r\n"));
    client.response()
}

fn decoded(coding: ContentCoding, coded: &[u8]) -> String {
    let mut out = String::new();
    match coding {
        Gzip => drop(flate2::read::GzDecoder::new(coded).read_to_string(&mut out).unwrap()),
        Brotli => drop(brotli::Decompressor::new(coded, 4096).read_to_string(&mut out).unwrap()),
        Zstd => {
            let mut plain = Vec::with_capacity(1 << 20);
            zstd_safe::decompress(&mut plain, coded).unwrap();
            out = String::from_utf8(plain).unwrap();
        }
    }
    out
}

/// Takes chunks off until all of `wanted` can be decoded from them: gzip that goes on.
fn read_until(client: &mut Client, wanted: &str) {
    let (mut inflate, mut plain) = (flate2::Decompress::new_gzip(15), Vec::with_capacity(4096));
    while plain != wanted.as_bytes() {
        assert!(wanted.as_bytes().starts_with(&plain), "{:?}", String::from_utf8_lossy(&plain));
        let chunk = chunk(client);
        assert!(!chunk.is_empty(), "an end");
        inflate.decompress_vec(&chunk, &mut plain, flate2::FlushDecompress::Sync).unwrap();
    }
}

/// The next chunk.
fn chunk(client: &mut Client) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(client.exactly(1));
    }
    let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
    let mut data = client.exactly(size + 2);
    data.truncate(size);
    data
}

#[test]
fn clients_get_what_they_take() {
    let lines = "ETag: \"v1\"\r\nAccept-Ranges: bytes\r\nX-Other: 1\r\n";
    let endpoint = answering(page(lines, &text()));
    let lab = lab(&endpoint, &[Zstd, Brotli, Gzip], &["text/html"]);
    let mut client = lab.client();
    for (accept, coding) in
        [("gzip", Gzip), ("gzip, br", Brotli), ("gzip, br, zstd", Zstd), ("gzip, br;q=0.5, zstd;q=0", Gzip)]
    {
        let response = ask(&mut client, accept);
        assert!(response.has(&format!("Content-Encoding: {}", coding.token())), "{}", response.head);
        assert!(response.has("Vary: Accept-Encoding") && response.has("ETag: W/\"v1\""), "{}", response.head);
        assert!(
            response.has("Transfer-Encoding: chunked") && response.has("X-Other: 1"),
            "{}",
            response.head
        );
        let lower = response.head.to_ascii_lowercase();
        assert!(!lower.contains("content-length") && !lower.contains("accept-ranges"), "{lower}");
        assert_eq!(lower.matches("etag:").count(), 1, "{lower}");
        assert!(response.body.len() * 2 < text().len());
        assert_eq!(decoded(coding, &response.body), text());
    }
    for accept in ["deflate", "identity", "gzip;q=0"] {
        let response = ask(&mut client, accept);
        assert!(response.has("Vary: Accept-Encoding") && response.has("ETag: \"v1\""), "{}", response.head);
        assert!(response.has("Accept-Ranges: bytes"), "{}", response.head);
        assert_eq!(response.text(), text(), "{accept}");
    }
    // All of that over one connection on each side.
    assert_eq!(endpoint.connections(), 1);
    let count = |name: &str, coding: &str| {
        let series = format!("rauta_compression_{name}_bytes_total{{coding=\"{coding}\"}} ");
        let scrape = lab.metrics.encode();
        let line = scrape.lines().find_map(|line| line.strip_prefix(&series)).unwrap().to_owned();
        line.parse::<usize>().unwrap()
    };
    assert_eq!(count("input", "gzip"), 2 * text().len());
    assert!((1..text().len()).contains(&count("output", "gzip")));
    assert_eq!(count("input", "br"), text().len());
}

#[test]
fn what_is_no_compressible_response_passes_byte_for_byte() {
    let long = "x".repeat(500);
    for response in [
        page("Content-Encoding: br\r\n", &long),
        page("Cache-Control: max-age=5, no-transform\r\n", &long),
        page("", "ninebytes"),
        page("", &long)
            .replace("200 OK", "206 Partial Content")
            .replace("\r\n\r\n", "\r\nContent-Range: bytes 0-499/501\r\n\r\n"),
        page("", &long).replace("text/html", "image/png"),
        page("", &long).replace("text/html", "text/event-stream"),
        page("Content-Digest: sha-256=:YQ==:\r\n", &long),
    ] {
        let endpoint = answering(response.clone());
        let lab = lab(&endpoint, &[Gzip], &["text/*"]);
        let got = ask(&mut lab.client(), "gzip");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert_eq!(got.text(), body, "{head}");
        for line in head.lines().skip(1) {
            assert!(got.has(line), "{line} in {}", got.head);
        }
        assert!(!got.has("Content-Encoding: gzip") && !got.has("Vary: Accept-Encoding"), "{}", got.head);
    }
}

#[test]
fn old_clients_and_answers_without_a_body_have_no_coded_one() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            let status = if head.contains("If-None-Match") { "304 Not Modified" } else { "200 OK" };
            let body = if head.starts_with("HEAD") || status.starts_with("304") { "" } else { "0123456789" };
            conn.send(&format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nETag: \"v1\"\r\nContent-Length: 10\r\n\r\n{body}"
            ));
        }
    });
    let lab = lab(&endpoint, &[Gzip], &["text/html"]);
    let mut client = lab.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.response_head();
    assert!(head.has("Content-Encoding: gzip") && head.has("ETag: W/\"v1\""), "{}", head.head);
    assert!(!head.has("Content-Length: 10") && head.has("Vary: Accept-Encoding"), "{}", head.head);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\nIf-None-Match: W/\"v1\"\r\n\r\n");
    let unchanged = client.response();
    assert_eq!(unchanged.status, 304);
    assert!(
        unchanged.has("ETag: W/\"v1\"") && !unchanged.has("Content-Encoding: gzip"),
        "{}",
        unchanged.head
    );
    assert_eq!(decoded(Gzip, &ask(&mut client, "gzip").body), "0123456789");
    let mut old = lab.client();
    old.send("GET / HTTP/1.0\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n");
    let response = old.response();
    assert_eq!(response.text(), "0123456789");
    assert!(
        !response.has("Content-Encoding: gzip") && response.has("Vary: Accept-Encoding"),
        "{}",
        response.head
    );
}

#[test]
fn what_the_endpoint_sends_reaches_the_client_while_the_endpoint_pauses() {
    // The endpoint goes on when it is told that the client has all so far.
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let endpoint = Scripted::new(move |conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        for event in ["data: one\n\n", "data: two\n\n"] {
            conn.send(&format!("{:x}\r\n{event}\r\n", event.len()));
            told.lock().unwrap().recv().unwrap();
        }
        conn.send("0\r\nX-Sum: 2\r\n\r\n");
    });
    let lab = lab(&endpoint, &[Gzip], &["text/event-stream"]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.response_head();
    assert!(head.has("Content-Encoding: gzip") && head.has("Trailer: X-Sum"), "{}", head.head);
    read_until(&mut client, "data: one\n\n");
    tell.send(()).unwrap();
    let second = chunk(&mut client);
    assert!(!second.is_empty());
    tell.send(()).unwrap();
    // The rest of the coding, and then the end with its trailers.
    let end = chunk(&mut client);
    assert!(!end.is_empty());
    assert_eq!(client.exactly(b"0\r\nX-Sum: 2\r\n\r\n".len()), b"0\r\nX-Sum: 2\r\n\r\n");
}

#[test]
fn a_response_that_breaks_off_has_no_end() {
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let endpoint = Scripted::new(move |conn| {
            conn.head();
            let chunk = if framing.starts_with('T') { "a\r\n0123456789\r\n" } else { "0123456789" };
            conn.send(&format!("{HTML}{framing}\r\n\r\n{chunk}"));
        });
        let lab = lab(&endpoint, &[Gzip], &["text/html"]);
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n");
        assert!(client.try_response().is_none(), "{framing}");
    }
    // One that ends with its connection is whole.
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.send(&format!("{HTML}\r\n0123456789"));
    });
    let lab = lab(&endpoint, &[Gzip], &["text/html"]);
    assert_eq!(decoded(Gzip, &ask(&mut lab.client(), "gzip").body), "0123456789");
}

#[test]
fn a_client_that_does_not_read_holds_the_endpoint_back() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let total = 64 << 20;
    let endpoint = Scripted::new(move |conn: &mut Conn| {
        conn.head();
        conn.send(&format!("{HTML}Content-Length: {total}\r\n\r\n"));
        // Noise, so that the coding is as long.
        let mut state = 1_u64;
        while count.load(Ordering::SeqCst) < total {
            let block: Vec<u8> = (0..8192)
                .flat_map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 11).to_le_bytes()
                })
                .collect();
            if conn.stream.write_all(&block).is_err() {
                return;
            }
            count.fetch_add(block.len(), Ordering::SeqCst);
        }
    });
    let lab = lab(&endpoint, &[Zstd], &["text/html"]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: zstd\r\n\r\n");
    client.response_head();
    // It stands still when all buffers between them are full.
    let mut before = usize::MAX;
    support::eventually("the endpoint waits", || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = sent.load(Ordering::SeqCst);
        now == std::mem::replace(&mut before, now) && now > 0
    });
    assert!(before < total / 2, "{before} bytes taken of a client that reads nothing");
}

#[test]
fn beyond_a_number_of_bodies_under_way_responses_pass_as_they_are() {
    /// Of one thread, as the lab has it.
    const BODIES_MAX: usize = 64;
    // Bodies go on when nobody is left to tell them.
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let endpoint = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            conn.send(&format!("{HTML}ETag: \"v1\"\r\nContent-Length: 20\r\n\r\n0123456789"));
            if head.contains("/slow") {
                assert!(told.lock().unwrap().recv().is_err());
            }
            conn.send("0123456789");
        }
    });
    let lab = lab(&endpoint, &[Gzip], &["text/html"]);
    let open = |_| {
        let mut client = lab.client();
        client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n");
        let head = client.response_head();
        assert!(head.has("Content-Encoding: gzip"), "{}", head.head);
        client
    };
    let slow: Vec<_> = (0..BODIES_MAX).map(open).collect();
    let mut next = lab.client();
    let response = ask(&mut next, "gzip");
    assert_eq!(response.text(), "01234567890123456789");
    assert!(response.has("Vary: Accept-Encoding") && response.has("ETag: \"v1\""), "{}", response.head);
    assert!(
        response.has("Content-Length: 20") && !response.has("Content-Encoding: gzip"),
        "{}",
        response.head
    );
    drop(tell);
    for mut client in slow {
        let chunks = std::iter::repeat_with(|| chunk(&mut client)).take_while(|chunk| !chunk.is_empty());
        assert_eq!(decoded(Gzip, &chunks.flatten().collect::<Vec<_>>()), "01234567890123456789");
    }
    let response = ask(&mut next, "gzip");
    assert_eq!(decoded(Gzip, &response.body), "01234567890123456789", "{}", response.head);
}

#[tokio::test]
async fn streams_of_http2_are_compressed_and_break_off_like_connections() {
    // The endpoint closes when the client has the head.
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let endpoint = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            let body = text();
            let length = body.len() + usize::from(head.contains("/broken"));
            conn.send(&format!("{HTML}Content-Length: {length}\r\n\r\n{body}"));
            if head.contains("/broken") {
                told.lock().unwrap().recv().unwrap();
                return;
            }
        }
    });
    let lab = lab(&endpoint, &[Gzip], &["text/html"]);
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    for path in ["/", "/broken"] {
        let request = Request::get(format!("http://a.test{path}")).header("accept-encoding", "br, gzip");
        let mut send = send.clone().ready().await.unwrap();
        let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert!(response.headers().get("content-length").is_none());
        if path == "/broken" {
            tell.send(()).unwrap();
        }
        let (mut coded, mut incoming, mut is_reset) = (Vec::new(), response.into_body(), false);
        while let Some(data) = incoming.data().await {
            let Ok(data) = data else {
                is_reset = true;
                break;
            };
            let _ = incoming.flow_control().release_capacity(data.len());
            coded.extend_from_slice(&data);
        }
        assert_eq!(is_reset, path == "/broken");
        if !is_reset {
            assert_eq!(decoded(Gzip, &coded), text());
        }
    }
}
