//! What clients speak: TLS with a name, HTTP/2 over it and in cleartext, next to HTTP/1.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use rustls::pki_types::ServerName;
use support::pair::{Pair, pair, secured};
use support::{Lab, Scripted, rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A gateway with HTTPS listeners in front of one endpoint.
struct SecuredLab {
    lab: Lab,
    endpoint: Scripted,
}

impl SecuredLab {
    fn new(pairs: &[(&str, &Pair)]) -> Self {
        let endpoint = Scripted::echo("one");
        let lab = Lab::new(&[rule("/", &[endpoint.address])]);
        let made = Self { lab, endpoint };
        made.show(9, pairs);
        made
    }

    /// Serves these from now on.
    fn show(&self, version: u64, pairs: &[(&str, &Pair)]) {
        let endpoints = [self.endpoint.address];
        let snapshot = secured(version, self.lab.address, &[rule("/", &endpoints)], pairs);
        assert!(self.lab.gateway.apply(snapshot).is_empty());
    }
}

async fn handshake(
    lab: &Lab,
    trusted: &Pair,
    name: &str,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn http2(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> h2::client::SendRequest<Bytes> {
    let (send, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    send.ready().await.unwrap()
}

/// Status, body and trailers of a response.
async fn finish(response: h2::client::ResponseFuture) -> (u16, String, Option<HeaderMap>) {
    let (parts, mut body) = response.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.unwrap();
    (parts.status.as_u16(), String::from_utf8(bytes).unwrap(), trailers)
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

#[tokio::test]
async fn a_reset_below_tls_is_seen_while_a_request_waits() {
    let pair = pair("a.test");
    let SecuredLab { lab, endpoint } = SecuredLab::new(&[("a.test", &pair)]);
    // Long enough for the client to be gone within, on a busy machine too.
    let delay = Some(model::Share { value: Duration::from_secs(2), per_million: 1_000_000 });
    let fault_injection = Some(model::FaultInjection { delay, abort: None });
    let policies = Some(model::Policies { fault_injection, ..Default::default() });
    let addresses = [endpoint.address];
    let rules = [support::Rule { policies, ..rule("/", &addresses) }];
    assert!(lab.gateway.apply(secured(10, lab.address, &rules, &[("a.test", &pair)])).is_empty());
    let ask = async |path: &str| {
        let mut stream = handshake(&lab, &pair, "a.test", &[b"http/1.1"]).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream
    };
    let leaving = ask("/left").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    socket2::SockRef::from(leaving.get_ref().0).set_linger(Some(Duration::ZERO)).unwrap();
    drop(leaving);
    // It waits until later than the one that left would have.
    let mut text = String::new();
    ask("/stays").await.read_to_string(&mut text).await.unwrap();
    let received = endpoint.received();
    assert!(received.contains("/stays") && !received.contains("/left"), "{received}");
}

#[tokio::test]
async fn the_name_in_tls_chooses_the_listener_and_the_endpoint_learns_the_scheme() {
    let (a, b) = (pair("a.test"), pair("b.test"));
    let SecuredLab { lab, .. } = SecuredLab::new(&[("a.test", &a), ("b.test", &b)]);
    for (name, pair) in [("a.test", &a), ("b.test", &b)] {
        let mut stream = handshake(&lab, pair, name, &[b"http/1.1"]).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        // Fails without close_notify.
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nX-Forwarded-Proto: https\r\n"), "{text}");
    }
    let error = handshake(&lab, &a, "c.test", &[]).await.unwrap_err().to_string();
    assert!(error.contains("UnrecognizedName") || error.contains("UnrecognisedName"), "{error}");
    let counted = r#"rauta_tls_handshake_failures_total{reason="unknown server name"} 1"#;
    support::eventually("the refusal is counted", || lab.metrics.encode().contains(counted));
}

#[tokio::test]
async fn a_request_for_a_host_of_another_listener_than_the_tls_name_is_misdirected() {
    let (a, b) = (pair("a.test"), pair("b.test"));
    let SecuredLab { lab, .. } = SecuredLab::new(&[("a.test", &a), ("b.test", &b)]);
    let mut client = http2(handshake(&lab, &a, "a.test", &[b"h2"]).await.unwrap()).await;
    let mut statuses = Vec::new();
    for uri in ["https://a.test/", "https://b.test/", "https://c.test/"] {
        let (response, _) = client.send_request(get(uri), true).unwrap();
        statuses.push(finish(response).await.0);
    }
    assert_eq!(statuses, [200, 421, 404]);
}

#[tokio::test]
async fn a_sessions_cookie_is_secure_over_tls() {
    let a = pair("a.test");
    let made = SecuredLab::new(&[]);
    let carrier = model::SessionCarrier::Cookie {
        path: "/".into(),
        is_permanent: false,
        attributes: Default::default(),
    };
    let session =
        Some(model::Session { name: "s".into(), scope: "r".into(), carrier, absolute: None, idle: None });
    let (lab, endpoints) = (&made.lab, [made.endpoint.address]);
    let rules = [support::Rule { session, ..rule("/", &endpoints) }];
    assert!(lab.gateway.apply(secured(10, lab.address, &rules, &[("a.test", &a)])).is_empty());
    let mut client = http2(handshake(lab, &a, "a.test", &[b"h2"]).await.unwrap()).await;
    let (response, _) = client.send_request(get("https://a.test/"), true).unwrap();
    let parts = response.await.unwrap().into_parts().0;
    let cookie = parts.headers["set-cookie"].to_str().unwrap();
    let (value, rest) = cookie.split_at("s=".len() + 44);
    assert!(value.starts_with("s="), "{cookie}");
    assert_eq!(rest, "; Path=/; HttpOnly; Secure; SameSite=Lax");
}

#[tokio::test]
async fn a_changed_certificate_is_shown_to_the_next_client_and_no_request_fails() {
    let (old, new) = (pair("a.test"), pair("a.test"));
    let secured = SecuredLab::new(&[("a.test", &old)]);
    let lab = &secured.lab;
    let mut before = http2(handshake(lab, &old, "a.test", &[b"h2"]).await.unwrap()).await;
    secured.show(10, &[("a.test", &new)]);
    assert!(handshake(lab, &old, "a.test", &[]).await.is_err(), "the old certificate is gone");
    let mut after = http2(handshake(lab, &new, "a.test", &[b"h2"]).await.unwrap()).await;
    for client in [&mut before, &mut after] {
        let (response, _) = client.send_request(get("https://a.test/"), true).unwrap();
        assert_eq!(finish(response).await.0, 200);
    }
}

#[tokio::test]
async fn http2_in_cleartext_is_told_by_its_preface_however_it_is_split() {
    let endpoint = Scripted::echo("one");
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    for pieces in [1, 3, 24] {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let address = lab.address;
        // The client's first bytes, some at a time.
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut preface = [0; 24];
            far.read_exact(&mut preface).await.unwrap();
            for piece in preface.chunks(24 / pieces) {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(tokio::io::copy_bidirectional(&mut far, &mut stream).await);
        });
        let mut client = http2(near).await;
        let mut responses = Vec::new();
        for i in 0..20 {
            let request = Request::get(format!("http://a.test/{i}")).header("x-odd", "v").body(()).unwrap();
            responses.push(client.send_request(request, true).unwrap().0);
        }
        for (i, response) in responses.into_iter().enumerate() {
            let (status, text, _) = finish(response).await;
            assert_eq!(status, 200);
            assert_eq!(
                text,
                format!(
                    "one\nGET /{i} HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nhost: a.test\r\nx-odd: v\r\n\r\n"
                )
            );
        }
    }
}

#[tokio::test]
async fn bodies_trailers_and_interim_responses_pass_between_the_protocols() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = if head.contains("Transfer-Encoding: chunked") {
                conn.chunks()
            } else {
                conn.body(support::content_length(&head))
            };
            let size = body.len();
            conn.send(&format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{size}\r\n0\r\nX-Sum: 7\r\n\r\n",
                size.to_string().len()
            ));
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = http2(TcpStream::connect(lab.address).await.unwrap()).await;
    for length in [None, Some(300_000)] {
        let mut request = Request::post("http://a.test/up");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let (mut response, mut send) = client.send_request(request.body(()).unwrap(), false).unwrap();
        let interim = poll_fn(|cx| response.poll_informational(cx));
        for _ in 0..30 {
            send.send_data(vec![7; 10_000].into(), false).unwrap();
        }
        send.send_data(Bytes::new(), true).unwrap();
        assert_eq!(interim.await.unwrap().unwrap().status().as_u16(), 100);
        let (status, text, trailers) = finish(response).await;
        assert_eq!((status, text.as_str()), (200, "300000"));
        assert_eq!(trailers.unwrap()["x-sum"], "7");
    }
}

#[tokio::test]
async fn a_stream_that_its_client_resets_ends_the_request_at_the_endpoint() {
    let (endpoint, told) = Scripted::silent();
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let (_response, mut send) = client.send_request(get("http://a.test/"), true).unwrap();
    while endpoint.connections() == 0 {
        tokio::task::yield_now().await;
    }
    send.send_reset(h2::Reason::CANCEL);
    let ended = tokio::task::spawn_blocking(move || told.recv_timeout(support::PATIENCE)).await.unwrap();
    assert_eq!(ended, Ok(true));
}

#[tokio::test]
async fn a_response_that_breaks_off_is_a_reset_stream_and_the_others_go_on() {
    let broken = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal");
    });
    let whole = Scripted::echo("one");
    let lab = Lab::new(&[rule("/broken", &[broken.address]), rule("/", &[whole.address])]);
    let mut client = http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let (response, _) = client.send_request(get("http://a.test/broken"), true).unwrap();
    // The reset may overtake what there was.
    if let Ok(response) = response.await {
        let mut body = response.into_body();
        let mut last = body.data().await;
        while let Some(Ok(_)) = last {
            last = body.data().await;
        }
        assert!(last.is_some_and(|end| end.is_err()), "half a body must not look whole");
    }
    let (response, _) = client.send_request(get("http://a.test/"), true).unwrap();
    assert_eq!(finish(response).await.0, 200);
}

#[tokio::test]
async fn draining_says_goaway_and_lets_requests_finish() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let endpoint = Scripted::new(move |conn| {
        conn.head();
        wait.lock().unwrap().recv().unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let lab = Arc::new(Lab::new(&[rule("/", &[endpoint.address])]));
    let (send, connection) =
        h2::client::handshake(TcpStream::connect(lab.address).await.unwrap()).await.unwrap();
    let over = tokio::spawn(connection);
    let mut client = send.ready().await.unwrap();
    let (response, _) = client.send_request(get("http://a.test/"), true).unwrap();
    while endpoint.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let draining = {
        let lab = lab.clone();
        tokio::task::spawn_blocking(move || lab.gateway.drain())
    };
    // The client hears of it while its request is under way.
    while poll_fn(|cx| {
        std::task::Poll::Ready(!matches!(client.poll_ready(cx), std::task::Poll::Ready(Err(_))))
    })
    .await
    {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    let (status, text, _) = finish(response).await;
    assert_eq!((status, text.as_str()), (200, "ok"));
    assert_eq!(draining.await.unwrap(), 0);
    assert!(over.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_head_that_trickles_in_over_tls_has_its_time() {
    let endpoint = Scripted::echo("one");
    let endpoints = [endpoint.address];
    let rules = [rule("/", &endpoints)];
    let a = pair("a.test");
    let timeouts = proxy::TimeoutConfig { header_read: Duration::from_secs(1), ..Default::default() };
    let lab = Lab::with(proxy::Config { threads: 1, timeouts, ..Default::default() }, &rules);
    lab.gateway.apply(secured(9, lab.address, &rules, &[("a.test", &a)]));
    let stream = handshake(&lab, &a, "a.test", &[b"http/1.1"]).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let trickle = tokio::spawn(async move {
        // Ends where the gateway closes.
        while write.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut text = String::new();
    read.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert_eq!(endpoint.connections(), 0);
    trickle.abort();
}
