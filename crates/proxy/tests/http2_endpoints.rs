//! Endpoints that speak HTTP/2 in cleartext: one connection for many requests, and what becomes of those when it ends.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use model::{AppProtocol, BackendPolicy, CircuitLimits, OutlierDetection};
use support::silent::Silent;
use support::{Client, Lab, Rule, Scripted, Target, eventually, rule};
use tokio::net::{TcpListener, TcpStream};

/// A stream at an endpoint: its request, the way to its answer, its number on the connection from 0.
struct Taken {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    number: usize,
}

/// What an endpoint does beside answering.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    streams_max: Option<u32>,
    /// Each connection is told to end behind so many streams.
    streams_per_connection: Option<usize>,
}

/// An endpoint that counts its connections; each stream runs `answer` in a task of its own.
struct Endpoint {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Endpoint {
    async fn new<F: Future<Output = ()> + Send + 'static>(
        manner: Manner,
        answer: impl Fn(Taken) -> F + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut builder = h2::server::Builder::new();
                    if let Some(most) = manner.streams_max {
                        builder.max_concurrent_streams(most);
                    }
                    let mut peer = builder.handshake(stream).await.unwrap();
                    let mut number = 0;
                    while let Some(Ok((request, respond))) = peer.accept().await {
                        tokio::spawn(answer(Taken { request, respond, number }));
                        number += 1;
                        if Some(number) == manner.streams_per_connection {
                            peer.graceful_shutdown();
                        }
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Answers with the request's head and body.
async fn echo(taken: Taken) {
    let Taken { request, mut respond, .. } = taken;
    let (parts, mut body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
    for (name, value) in &parts.headers {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        text += &String::from_utf8_lossy(&data);
    }
    if let Ok(Some(trailers)) = body.trailers().await {
        text += &format!("\ntrailers: {trailers:?}");
    }
    let mut send = respond.send_response(Response::new(()), false).unwrap();
    send.send_data(text.into(), true).unwrap();
}

fn over_http2(endpoints: &[SocketAddr]) -> Rule<'_> {
    Rule { protocol: AppProtocol::Http2, ..rule("/", endpoints) }
}

/// Runs what blocks beside the endpoints.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn http2_client(lab: &Lab) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    send.ready().await.unwrap()
}

#[tokio::test]
async fn a_request_of_http1_is_one_of_http2_at_the_endpoint() {
    let endpoint = Endpoint::new(Manner::default(), echo).await;
    let lab = Lab::new(&[over_http2(&[endpoint.address])]);
    let mut client = Client::connect(lab.address);
    let answer = blocking(move || {
        client.send(
            "POST /a?b=c HTTP/1.1\r\nHost: a.test\r\nX-One: 1\r\nConnection: x-two\r\nX-Two: 2\r\n\
             Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
        );
        client.response()
    })
    .await;
    assert_eq!(answer.status, 200);
    assert!(answer.has("transfer-encoding: chunked"), "{}", answer.head);
    let text = answer.text();
    assert!(text.starts_with("POST http://a.test/a?b=c HTTP/2.0\n"), "{text}");
    assert!(text.contains("\nx-one: 1\n") && text.contains("\nx-forwarded-for: 127.0.0.1\n"), "{text}");
    assert!(!text.contains("x-two") && !text.contains("connection") && !text.contains("chunked"), "{text}");
    assert!(text.contains("abc\ntrailers: {\"x-sum\": \"9\"}"), "{text}");
}

/// `<` may stand nowhere in a URI (RFC 3986), and so not in `:path`, though HTTP/1.1 routes it.
#[tokio::test]
async fn a_target_that_http2_cannot_carry_is_refused_and_its_endpoint_is_not_to_blame() {
    let endpoint = Endpoint::new(Manner::default(), echo).await;
    let outliers = OutlierDetection {
        consecutive_5xx: Some(1),
        consecutive_gateway_errors: Some(1),
        base_ejection: Duration::from_secs(3600),
        max_ejection: Duration::from_secs(3600),
        max_percent: 100,
    };
    let policy = Some(Arc::new(BackendPolicy { outliers: Some(outliers), ..Default::default() }));
    let lab = Lab::new(&[Rule { policy, ..over_http2(&[endpoint.address]) }]);
    let mut client = lab.client();
    blocking(move || {
        for (target, body) in [("/?<", ""), ("/<a>?b", ""), ("/a?`<`", "hello")] {
            let request = format!(
                "PUT {target} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.send(&request);
            let answer = client.response();
            assert_eq!((answer.status, &*answer.text()), (400, "request target that HTTP/2 cannot carry\n"));
        }
        // In another spelling than `h2` sends it.
        client.send("GET /next HTTP/1.1\r\nHost: a.test\r\nConnection: te\r\nTE: Trailers\r\n\r\n");
        assert_eq!(client.response().status, 200);
    })
    .await;
    let failures: u64 = {
        let state = lab.gateway.state();
        state.backends().flat_map(|(_, views)| views).map(|view| view.stats.failures).sum()
    };
    let text = lab.metrics.encode();
    assert_eq!((failures, lab.metrics.upstream_retries.get()), (0, 0));
    assert!(!text.contains("result=\"ejected\"} 1\n"), "{text}");
}

#[tokio::test]
async fn a_crowd_shares_one_connection_and_another_only_where_the_endpoint_takes_no_more() {
    for (streams_max, expected) in [(None, 1), (Some(10), 5)] {
        let (arrived, all_there) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (count, tell) = (arrived.clone(), all_there.clone());
        let manner = Manner { streams_max, ..Manner::default() };
        let endpoint = Endpoint::new(manner, move |mut taken: Taken| {
            let (count, tell) = (count.clone(), tell.clone());
            async move {
                // No one is answered before all are there.
                let told = tell.notified();
                if count.fetch_add(1, Ordering::SeqCst) + 1 == 50 {
                    tell.notify_waiters();
                } else {
                    told.await;
                }
                taken.respond.send_response(Response::new(()), true).unwrap();
            }
        })
        .await;
        let lab = Lab::new(&[over_http2(&[endpoint.address])]);
        let mut client = http2_client(&lab).await;
        let mut answers = Vec::new();
        for _ in 0..50 {
            client = client.ready().await.unwrap();
            let request = Request::get("http://a.test/").body(()).unwrap();
            answers.push(client.send_request(request, true).unwrap().0);
        }
        for answer in answers {
            assert_eq!(answer.await.unwrap().status(), 200);
        }
        assert_eq!(endpoint.connections(), expected, "streams: {streams_max:?}");
        assert_eq!(usize::try_from(lab.metrics.upstream_connections_active.get()), Ok(expected));
    }
}

#[tokio::test]
async fn connections_that_end_in_order_cost_no_request() {
    // Each connection says GOAWAY behind seven streams; POST is nothing that could be sent twice.
    let manner = Manner { streams_per_connection: Some(7), ..Manner::default() };
    let endpoint = Endpoint::new(manner, echo).await;
    let lab = Lab::new(&[over_http2(&[endpoint.address])]);
    let address = lab.address;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            tokio::task::spawn_blocking(move || {
                let mut client = Client::connect(address);
                for _ in 0..100 {
                    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello");
                    let answer = client.response();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert!(answer.text().ends_with("hello"));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // Some streams come behind the seventh, before the gateway has read that they should not.
    assert!(endpoint.connections() >= 400 / 16, "{}", endpoint.connections());
}

#[tokio::test]
async fn a_refused_stream_goes_elsewhere_and_a_broken_one_only_if_it_may_be_repeated() {
    let refusing = |reason: Reason| {
        move |mut taken: Taken| async move {
            // The first stream of a connection is served, so that the others meet one that has served.
            match taken.number {
                0 => drop(taken.respond.send_response(Response::new(()), true)),
                _ => taken.respond.send_reset(reason),
            }
        }
    };
    for (reason, method, expected) in [
        (Reason::REFUSED_STREAM, "POST", 200),
        (Reason::INTERNAL_ERROR, "POST", 502),
        (Reason::INTERNAL_ERROR, "PUT", 200),
    ] {
        let endpoint = Endpoint::new(Manner::default(), refusing(reason)).await;
        let other = Endpoint::new(Manner::default(), echo).await;
        let lab = Lab::new(&[over_http2(&[endpoint.address])]);
        let mut client = lab.client();
        assert_eq!(blocking(move || client.get("/").status).await, 200);
        let mut lab = lab;
        lab.apply(&[over_http2(&[endpoint.address, other.address])]);
        let address = lab.address;
        // Round robin: one of two meets the endpoint that refuses.
        let statuses = blocking(move || {
            let mut client = Client::connect(address);
            let ask = format!("{method} / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
            [(); 2].map(|()| {
                client.send(&ask);
                client.response().status
            })
        })
        .await;
        assert_eq!(statuses.iter().max(), Some(&expected), "{reason:?} {method}: {statuses:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_stream_with_it_and_no_other() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Endpoint::new(Manner::default(), move |mut taken: Taken| {
        let tell = tell.clone();
        async move {
            if taken.request.uri().path() == "/wait" {
                let reset = std::future::poll_fn(|cx| taken.respond.poll_reset(cx)).await;
                tell.send(reset.unwrap()).unwrap();
            } else {
                taken.respond.send_response(Response::new(()), true).unwrap();
            }
        }
    })
    .await;
    let lab = Lab::new(&[over_http2(&[endpoint.address])]);
    let mut client = http2_client(&lab).await;
    let (answer, _) =
        client.send_request(Request::get("http://a.test/wait").body(()).unwrap(), true).unwrap();
    let mut client = client.ready().await.unwrap();
    let (other, _) = client.send_request(Request::get("http://a.test/").body(()).unwrap(), true).unwrap();
    assert_eq!(other.await.unwrap().status(), 200);
    drop(answer);
    let reason = tokio::time::timeout(support::PATIENCE, told.recv()).await.unwrap();
    assert_eq!(reason, Some(Reason::CANCEL));
    let mut client = client.ready().await.unwrap();
    let (other, _) = client.send_request(Request::get("http://a.test/").body(()).unwrap(), true).unwrap();
    assert_eq!(other.await.unwrap().status(), 200);
    assert_eq!(endpoint.connections(), 1);
}

/// Of an answer that its client does not get, the stream ends as it should: endpoints count those that are reset.
#[tokio::test]
async fn an_error_that_another_answer_stands_for_is_read_to_its_end() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let go = Arc::new(tokio::sync::Notify::new());
    let gone = go.clone();
    let endpoint = Endpoint::new(Manner::default(), move |mut taken: Taken| {
        let (tell, go) = (tell.clone(), go.clone());
        async move {
            let head = Response::builder().status(404).body(()).unwrap();
            let mut send = taken.respond.send_response(head, false).unwrap();
            // The client has its other answer; or the stream was reset.
            let is_reset = tokio::select! {
                biased;
                _ = std::future::poll_fn(|cx| send.poll_reset(cx)) => true,
                () = go.notified() => false,
            };
            let _ = send.send_data("inner".into(), true);
            tell.send(is_reset).unwrap();
        }
    })
    .await;
    let pages = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\npage");
        }
    });
    let fallback = model::Fallback {
        backend: model::BackendId::service("test", "b1", 80),
        statuses: vec![404],
        keeps_answers: false,
        lines: [].into(),
    };
    let web = [endpoint.address];
    let lab = Lab::new(&[
        Rule { fallback: Some(Box::new(fallback)), ..over_http2(&web) },
        rule("/pages", &[pages.address]),
    ]);
    let mut client = lab.client();
    let answer = blocking(move || client.get("/")).await;
    assert_eq!(answer.text(), "page");
    gone.notify_one();
    let is_reset = tokio::time::timeout(support::PATIENCE, told.recv()).await.unwrap();
    assert_eq!(is_reset, Some(false));
}

#[tokio::test]
async fn clients_that_take_nothing_do_not_stall_others_on_the_connection() {
    let endpoint = Endpoint::new(Manner::default(), |mut taken: Taken| async move {
        let is_large = taken.request.uri().path() == "/large";
        let mut send = taken.respond.send_response(Response::new(()), false).unwrap();
        let body = if is_large { vec![7; 16 << 20] } else { b"small".to_vec() };
        // What the window does not take waits here.
        send.send_data(body.into(), true).unwrap();
        let _ = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
    })
    .await;
    let lab = Lab::new(&[over_http2(&[endpoint.address])]);
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut client = http2_client(&lab).await;
        let request = Request::get("http://a.test/large").body(()).unwrap();
        let answer = client.send_request(request, true).unwrap().0.await.unwrap();
        slow.push((client, answer));
    }
    let mut client = lab.client();
    let answer = blocking(move || client.get("/small")).await;
    assert_eq!(answer.text(), "small");
    assert_eq!(endpoint.connections(), 1);
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_http2_gets_no_request() {
    let old = support::Scripted::echo("old");
    let new = Endpoint::new(Manner::default(), echo).await;
    let both = [old.address, new.address];
    let timeouts = proxy::TimeoutConfig { connect: Duration::from_millis(500), ..Default::default() };
    let config = proxy::Config { threads: 1, timeouts, ..Default::default() };
    let lab = Lab::with(config, &[over_http2(&both)]);
    let mut client = lab.client();
    blocking(move || {
        for _ in 0..4 {
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
            assert_eq!(client.response().status, 200);
        }
    })
    .await;
    eventually("the preface came", || old.received().starts_with("PRI * HTTP/2.0"));
    assert!(!old.received().contains("a.test"));
}

#[tokio::test]
async fn trailers_of_the_endpoint_reach_clients_of_both_versions() {
    let endpoint = Endpoint::new(Manner::default(), |mut taken: Taken| async move {
        let mut send = taken.respond.send_response(Response::new(()), false).unwrap();
        send.send_data("body".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        send.send_trailers(trailers).unwrap();
    })
    .await;
    let lab = Lab::new(&[over_http2(&[endpoint.address])]);
    let mut client = http2_client(&lab).await;
    let answer = client.send_request(Request::get("http://a.test/").body(()).unwrap(), true).unwrap().0;
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "body");
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    let address = lab.address;
    let text = blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
    .await;
    assert!(text.ends_with("4\r\nbody\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn endpoints_of_a_grpc_route_take_http2_whatever_their_service_says() {
    let endpoint = Endpoint::new(Manner::default(), echo).await;
    let endpoints = [endpoint.address];
    let lab = Lab::new(&[rule("/", &endpoints)]);
    let plain = support::snapshot(9, lab.address, &[rule("/", &endpoints)]);
    let routes = plain.routes.iter().map(|route| {
        let mut route = (**route).clone();
        route.id.object.kind = model::ObjectKind::GrpcRoute;
        Arc::new(route)
    });
    let snapshot = model::Snapshot { routes: routes.collect(), version: 9, ..(*plain).clone() };
    lab.gateway.apply(Arc::new(snapshot));
    let mut client = lab.client();
    let answer = blocking(move || client.get("/a")).await;
    assert!(answer.text().starts_with("GET http://a.test/a HTTP/2.0\n"), "{}", answer.text());
}

#[tokio::test]
async fn idle_connections_do_not_keep_other_endpoints_waiting() {
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(Endpoint::new(Manner::default(), echo).await);
    }
    let addresses: Vec<_> = all.iter().map(|endpoint| endpoint.address).collect();
    let limits = CircuitLimits { connections: Some(2), ..Default::default() };
    let policy = Some(Arc::new(BackendPolicy { limits: Some(limits), ..Default::default() }));
    let lab = Lab::new(&[Rule { policy, ..over_http2(&addresses) }]);
    let mut client = Client::connect(lab.address);
    let statuses = blocking(move || (0..9).map(|_| client.get("/").status).collect::<Vec<_>>()).await;
    assert_eq!(statuses, [200; 9]);
    let opened: usize = all.iter().map(Endpoint::connections).sum();
    assert!(opened > 3, "a third one took the place of another, which was opened again");
}

#[tokio::test]
async fn requests_share_a_connection_to_whichever_address_answers() {
    let endpoint = Endpoint::new(Manner::default(), echo).await;
    let silent = Silent::new();
    let pairs = [(silent.address, endpoint.address)];
    let lab = Lab::new(&[Rule { target: Target::Pairs(&pairs), ..over_http2(&[]) }]);
    let mut client = http2_client(&lab).await;
    let mut answers = Vec::new();
    for _ in 0..20 {
        client = client.ready().await.unwrap();
        let request = Request::get("http://a.test/").body(()).unwrap();
        answers.push(client.send_request(request, true).unwrap().0);
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    assert_eq!(endpoint.connections(), 1);
}
