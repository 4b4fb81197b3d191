//! What is asked of the gateway, one request after the other on one connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use model::AppProtocol;
use proxy::{AccessConfig, Config};
use rustls::pki_types::ServerName;
use tokio::runtime::Runtime;

use crate::support::pair::{pair, secured};
use crate::support::{Lab, PATIENCE, Rule, Scripted, content_length, find, rule};

/// What a browser sends, about.
const HEAD: &str = "Host: a.test\r\nUser-Agent: test/1.0 (X11; Linux x86_64)\r\nAccept: */*\r\n\
                    Accept-Encoding: gzip, deflate, br\r\nCookie: a=1; b=2\r\n";

/// A request and all of its response, again and again on one connection.
pub type Ask = Box<dyn FnMut()>;

/// Starts a gateway of its own.
pub type Start = fn() -> (Lab, Ask);

/// Each load by its name.
pub const ALL: [(&str, Start); 8] = [
    ("HTTP/1.1 GET 128 B", || http1(Config::default(), 128, 0)),
    ("HTTP/1.1 GET 16 KiB", || http1(Config::default(), 16 * 1024, 0)),
    ("HTTP/1.1 POST 16 KiB", || http1(Config::default(), 128, 16 * 1024)),
    ("HTTP/1.1 GET 128 B, access log", logged),
    ("HTTP/1.1 over TLS GET 128 B", over_tls),
    ("HTTP/2 GET 128 B", || http2(128)),
    ("HTTP/2 GET 16 KiB", || http2(16 * 1024)),
    ("gRPC unary, HTTP/2 on both sides", grpc),
];

/// Answers with so many bytes.
fn endpoint(size: usize) -> Scripted {
    let body = "x".repeat(size);
    Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            conn.body(content_length(&head));
            conn.send(&format!(
                "HTTP/1.1 200 OK\r\nServer: test\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nContent-Type: text/plain\r\n\
                 Content-Length: {size}\r\n\r\n{body}"
            ));
        }
    })
}

fn lab(config: Config, rule: Rule<'_>) -> Lab {
    Lab::with(Config { threads: 1, ..config }, &[rule])
}

fn http1(config: Config, answered: usize, sent: usize) -> (Lab, Ask) {
    let lab = lab(config, rule("/", &[endpoint(answered).address]));
    let stream = plain(lab.address);
    (lab, text(stream, sent))
}

fn logged() -> (Lab, Ask) {
    use telemetry::access::{AccessLog, Target};
    let folder = tempfile::tempdir().unwrap();
    let file = Target::File(folder.path().join("access.log"));
    let (log, writer) =
        AccessLog::start(&file, "json".parse().unwrap(), telemetry::Metrics::new(1), || {}).unwrap();
    let access_log = Some(AccessConfig { log, sample_one_in: 1 });
    let (lab, mut ask) = http1(Config { access_log, ..Default::default() }, 128, 0);
    let held = (folder, writer);
    let asks = move || {
        let _ = &held;
        ask();
    };
    (lab, Box::new(asks))
}

fn over_tls() -> (Lab, Ask) {
    let (pair, endpoints) = (pair("a.test"), [endpoint(128).address]);
    let lab = lab(Config::default(), rule("/", &endpoints));
    let snapshot = secured(9, lab.address, &[rule("/", &endpoints)], &[("a.test", &pair)]);
    assert!(lab.gateway.apply(snapshot).is_empty());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let session = rustls::ClientConnection::new(config, ServerName::try_from("a.test").unwrap()).unwrap();
    let stream = rustls::StreamOwned::new(session, plain(lab.address));
    (lab, text(stream, 0))
}

fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A request with a body of this size, and all of its response.
fn text(mut stream: impl Read + Write + 'static, sent: usize) -> Ask {
    let method = if sent > 0 { "POST" } else { "GET" };
    let length = if sent > 0 { format!("Content-Length: {sent}\r\n") } else { String::new() };
    let request = format!("{method} /a/b?c=d HTTP/1.1\r\n{HEAD}{length}\r\n{}", "y".repeat(sent));
    let (mut chunk, mut read) = ([0; 32 * 1024], Vec::new());
    Box::new(move || {
        stream.write_all(request.as_bytes()).unwrap();
        stream.flush().unwrap();
        read.clear();
        let mut whole = usize::MAX;
        while read.len() < whole {
            let size = stream.read(&mut chunk).unwrap();
            assert!(size > 0, "the gateway closed");
            read.extend_from_slice(&chunk[..size]);
            if let Some(end) = find(&read, b"\r\n\r\n") {
                let head = std::str::from_utf8(&read[..end]).unwrap();
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                whole = end + 4 + content_length(head);
            }
        }
        assert_eq!(read.len(), whole);
    })
}

fn http2(size: usize) -> (Lab, Ask) {
    let lab = lab(Config::default(), rule("/", &[endpoint(size).address]));
    let runtime = runtime();
    let client = runtime.block_on(client(lab.address));
    let ask = move || {
        let (answer, _) = {
            let mut ready = runtime.block_on(client.clone().ready()).unwrap();
            let request = Request::get("http://a.test/a/b?c=d").header("user-agent", "test/1.0");
            let request = request.header("accept", "*/*").header("cookie", "a=1; b=2").body(()).unwrap();
            ready.send_request(request, true).unwrap()
        };
        let (bytes, _) = runtime.block_on(async { read(answer.await.unwrap().into_body()).await });
        assert_eq!(bytes, size);
    };
    (lab, Box::new(ask))
}

/// A call with an empty message there and back.
fn grpc() -> (Lab, Ask) {
    let runtime = runtime();
    let address = runtime.block_on(grpc_endpoint());
    let endpoints = [address];
    let lab = lab(Config::default(), Rule { protocol: AppProtocol::Http2, ..rule("/", &endpoints) });
    let client = runtime.block_on(client(lab.address));
    let ask = move || {
        let mut ready = runtime.block_on(client.clone().ready()).unwrap();
        let request = Request::post("http://a.test/a.Service/Method").header("te", "trailers");
        let request = request.header("content-type", "application/grpc").body(()).unwrap();
        let (answer, mut send) = ready.send_request(request, false).unwrap();
        send.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
        let (bytes, trailers) = runtime.block_on(async { read(answer.await.unwrap().into_body()).await });
        assert_eq!((bytes, trailers.unwrap()["grpc-status"].as_bytes()), (5, &b"0"[..]));
    };
    (lab, Box::new(ask))
}

/// Client and endpoint take turns on this thread, whatever the others do.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn client(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    send
}

/// The size of a body, and its trailers.
async fn read(mut body: RecvStream) -> (usize, Option<HeaderMap>) {
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes += data.len();
    }
    (bytes, body.trailers().await.unwrap())
}

async fn grpc_endpoint() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut peer = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = peer.accept().await {
                    tokio::spawn(async move {
                        read(request.into_body()).await;
                        let response = Response::builder().header("content-type", "application/grpc");
                        let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
                        send.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
                        let status = ("grpc-status".parse().unwrap(), "0".parse().unwrap());
                        send.send_trailers(HeaderMap::from_iter([status])).unwrap();
                    });
                }
            });
        }
    });
    address
}
