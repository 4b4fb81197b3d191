//! What the codec costs per message.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http1::{Body, Edits, Framing, Limits, RequestHead, ResponseEdits, ResponseHead};

const SMALL: &[u8] =
    b"GET /api/v2/users HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: wrk/4.1\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /static/app.3f9c.js?v=17 HTTP/1.1\r\nHost: shop.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: */*\r\n\
Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://shop.example.com/\r\n\
Connection: keep-alive\r\nCookie: session=7f3c2a9b1d4e5f60718293a4b5c6d7e8; theme=dark; consent=yes\r\n\
Sec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 02:21:53 GMT\r\n\
Content-Type: text/plain\r\nContent-Length: 128\r\nLast-Modified: Sat, 21 Nov 2026 02:00:00 GMT\r\n\
Connection: keep-alive\r\nETag: \"65b2-80\"\r\nAccept-Ranges: bytes\r\n\r\n";

fn heads(c: &mut Criterion) {
    let limits = Limits::default();
    let edits = Edits {
        insert: &[("X-Forwarded-For", b"192.0.2.17"), ("X-Forwarded-Proto", b"http")],
        ..Edits::default()
    };
    let mut group = c.benchmark_group("request");
    for (name, bytes) in [("small", SMALL), ("browser", BROWSER)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let (mut head, mut buf, mut out) = (RequestHead::default(), BytesMut::new(), BytesMut::new());
        group.bench_function(format!("parse/{name}"), |b| {
            b.iter(|| {
                buf.extend_from_slice(black_box(bytes));
                black_box(head.parse(&mut buf, &limits))
            });
        });
        group.bench_function(format!("parse_and_write/{name}"), |b| {
            b.iter(|| {
                buf.extend_from_slice(black_box(bytes));
                let complete = head.parse(&mut buf, &limits);
                out.clear();
                head.write_upstream(&mut out, &edits);
                black_box((complete, out.len()))
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("response");
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    let (mut head, mut buf, mut out) = (ResponseHead::default(), BytesMut::new(), BytesMut::new());
    group.bench_function("parse_and_write/nginx", |b| {
        b.iter(|| {
            buf.extend_from_slice(black_box(RESPONSE));
            let complete = head.parse(&mut buf, &limits);
            out.clear();
            head.write_downstream(&mut out, &ResponseEdits::default());
            black_box((complete, head.framing("GET"), out.len()))
        });
    });
    group.finish();
}

fn bodies(c: &mut Criterion) {
    let limits = Limits::default();
    let mut chunked = BytesMut::new();
    for _ in 0..16 {
        http1::write_chunk_header(&mut chunked, 4096);
        chunked.extend_from_slice(&[b'x'; 4096]);
        http1::write_chunk_end(&mut chunked);
    }
    http1::write_last_chunk(&mut chunked, b"");
    c.bench_function("body/16_chunks_of_4_KiB", |b| {
        b.iter(|| black_box(Body::new(Framing::Chunked, &limits).advance(black_box(&chunked))));
    });
}

criterion_group!(benches, heads, bodies);
criterion_main!(benches);
