//! gRPC through the gateway: where its answers end, and what the gateway itself answers.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use model::AppProtocol;
use support::{Lab, Rule, rule};
use tokio::net::{TcpListener, TcpStream};

type Asked = Request<RecvStream>;

/// An endpoint of HTTP/2.
async fn endpoint<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(Asked, SendResponse<Bytes>) -> F + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut peer = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = peer.accept().await {
                    tokio::spawn(answer(request, respond));
                }
            });
        }
    });
    address
}

fn over_http2(endpoints: &[SocketAddr]) -> Rule<'_> {
    Rule { protocol: AppProtocol::Http2, ..rule("/", endpoints) }
}

async fn client(lab: &Lab) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    send.ready().await.unwrap()
}

/// A request of gRPC without a message.
fn call(content_type: &str) -> Request<()> {
    let request = Request::post("http://a.test/a.Service/Method").header("te", "trailers");
    request.header("content-type", content_type).body(()).unwrap()
}

fn trailers(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
}

/// All of a body, and its trailers.
async fn read(mut body: RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    (bytes, body.trailers().await.unwrap())
}

#[tokio::test]
async fn an_answer_of_trailers_only_stays_one() {
    let address = endpoint(|_, mut respond| async move {
        let response =
            Response::builder().header("content-type", "application/grpc").header("grpc-status", "5");
        respond.send_response(response.body(()).unwrap(), true).unwrap();
    })
    .await;
    let endpoints = [address];
    let lab = Lab::new(&[over_http2(&endpoints)]);
    let mut client = client(&lab).await;
    let answer = client.send_request(call("application/grpc"), true).unwrap().0.await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "5");
    assert!(!answer.headers().contains_key("content-length"), "{:?}", answer.headers());
    assert!(answer.body().is_end_stream(), "the head is the end");
}

#[tokio::test]
async fn trailers_behind_a_body_of_known_length_pass_both_ways() {
    let address = endpoint(|request: Asked, mut respond| async move {
        let content_type = request.headers()["content-type"].clone();
        let (body, sums) = read(request.into_body()).await;
        assert_eq!(
            (&body[..], &sums.unwrap()["x-sum"]),
            (&b"hello"[..], &"7".parse::<http::HeaderValue>().unwrap())
        );
        let response = Response::builder().header("content-type", content_type).header("content-length", "2");
        let response = response.header("trailer", "grpc-status").body(()).unwrap();
        let mut send = respond.send_response(response, false).unwrap();
        send.send_data("ok".into(), false).unwrap();
        send.send_trailers(trailers("grpc-status", "0")).unwrap();
    })
    .await;
    let endpoints = [address];
    let lab = Lab::new(&[over_http2(&endpoints)]);
    // By what it is, or by what it announces.
    for (content_type, announced) in [("application/grpc+proto", None), ("text/plain", Some("x-sum"))] {
        let mut client = client(&lab).await;
        let mut request = call(content_type);
        request.headers_mut().insert("content-length", "5".parse().unwrap());
        if let Some(names) = announced {
            request.headers_mut().insert("trailer", names.parse().unwrap());
        }
        let (answer, mut send) = client.send_request(request, false).unwrap();
        send.send_data("hello".into(), false).unwrap();
        send.send_trailers(trailers("x-sum", "7")).unwrap();
        let (body, trailers) = read(answer.await.unwrap().into_body()).await;
        assert_eq!(body, b"ok", "{content_type}");
        assert_eq!(trailers.unwrap()["grpc-status"], "0", "{content_type}");
    }
}

#[tokio::test]
async fn refusals_of_the_gateway_have_a_status_of_grpc() {
    let silent = endpoint(|_, respond| async move {
        let _held = respond;
        std::future::pending::<()>().await;
    })
    .await;
    let silent = [silent];
    let timeouts = model::Timeouts { request: Some(Duration::from_millis(200)), ..Default::default() };
    let slow = Rule { prefix: "/slow", timeouts, ..over_http2(&silent) };
    let nowhere = [support::free_port()];
    let invalid = Rule { target: support::Target::Invalid, ..rule("/invalid", &[]) };
    let lab =
        Lab::new(&[slow, Rule { prefix: "/refused", ..over_http2(&nowhere) }, rule("/empty", &[]), invalid]);
    let mut client = client(&lab).await;
    for (path, code, message) in [
        ("/none/M", "12", "no route"),
        ("/slow/M", "4", "endpoint did not answer in time"),
        ("/refused/M", "14", "endpoint refused the connection"),
        ("/empty/M", "14", "no endpoint is ready"),
        ("/invalid/M", "14", "backend reference cannot be resolved"),
    ] {
        let mut request = call("application/grpc+proto");
        *request.uri_mut() = format!("http://a.test{path}").parse().unwrap();
        let answer = client.send_request(request, true).unwrap().0.await.unwrap();
        let field = |name| answer.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!((field("grpc-status"), field("grpc-message")), (Some(code), Some(message)), "{path}");
        assert_eq!(
            (field("content-type"), field("content-length")),
            (Some("application/grpc"), None),
            "{path}"
        );
        assert!(answer.body().is_end_stream(), "{path}");
        client = client.ready().await.unwrap();
    }
    // Who does not speak gRPC, or cannot over HTTP/1, gets what HTTP says.
    for content_type in ["text/plain", "application/grpc-web"] {
        let mut request = call(content_type);
        *request.uri_mut() = "http://a.test/none".parse().unwrap();
        let answer = client.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), 404);
        assert!(!answer.headers().contains_key("grpc-status"));
        client = client.ready().await.unwrap();
    }
    let mut client = lab.client();
    let ask =
        "POST /none HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
    let answer = tokio::task::spawn_blocking(move || {
        client.send(ask);
        client.response()
    });
    let answer = answer.await.unwrap();
    assert_eq!((answer.status, answer.has("grpc-status: 12")), (404, false));
}

#[tokio::test]
async fn a_deadline_passes_to_the_endpoint_and_giving_up_passes_both_ways() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let address = endpoint(move |request: Asked, mut respond| {
        let tell = tell.clone();
        async move {
            let deadline = request.headers().get("grpc-timeout").cloned();
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            send.send_data("first".into(), false).unwrap();
            if deadline.is_none() {
                request.into_body().data().await.unwrap().unwrap();
                send.send_reset(h2::Reason::CANCEL);
                return;
            }
            let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await.unwrap();
            tell.send((deadline, reason)).unwrap();
        }
    })
    .await;
    let endpoints = [address];
    let lab = Lab::new(&[over_http2(&endpoints)]);
    // The client gives up within the answer, while it could still send more, as it does when its deadline is over.
    let mut client = client(&lab).await;
    let mut request = call("application/grpc");
    request.headers_mut().insert("grpc-timeout", "150m".parse().unwrap());
    let (answer, mut send) = client.send_request(request, false).unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "first");
    send.send_reset(h2::Reason::CANCEL);
    let (deadline, reason) = tokio::time::timeout(support::PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!((deadline.unwrap().to_str().unwrap(), reason), ("150m", h2::Reason::CANCEL));
    // The endpoint does.
    let mut client = client.ready().await.unwrap();
    let (answer, mut send) = client.send_request(call("application/grpc"), false).unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "first");
    send.send_data("enough".into(), false).unwrap();
    let ended = tokio::time::timeout(support::PATIENCE, body.data()).await.unwrap();
    let is_reset = matches!(&ended, Some(Err(error)) if error.is_reset());
    assert!(is_reset, "half an answer must not look whole: {ended:?}");
}

#[tokio::test]
async fn a_client_of_grpc_may_say_nothing_for_longer_than_an_upload_may() {
    let address = endpoint(|request: Asked, mut respond| async move {
        let mut body = request.into_body();
        for message in ["one", "two"] {
            assert_eq!(body.data().await.unwrap().unwrap(), message);
        }
        respond.send_response(Response::new(()), true).unwrap();
    })
    .await;
    let endpoints = [address];
    let timeouts = proxy::TimeoutConfig { stall: Duration::from_millis(200), ..Default::default() };
    let config = proxy::Config { threads: 1, timeouts, ..Default::default() };
    let lab = Lab::with(config, &[over_http2(&endpoints)]);
    let mut client = client(&lab).await;
    let (upload, _sending) = client.send_request(call("text/plain"), false).unwrap();
    let mut client = client.ready().await.unwrap();
    let (answer, mut send) = client.send_request(call("application/grpc"), false).unwrap();
    send.send_data("one".into(), false).unwrap();
    assert_eq!(upload.await.unwrap().status(), 408);
    tokio::time::sleep(Duration::from_millis(400)).await;
    send.send_data("two".into(), false).unwrap();
    // A refusal would have a status of gRPC.
    assert!(!answer.await.unwrap().headers().contains_key("grpc-status"));
}
