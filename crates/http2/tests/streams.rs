//! Both ends over an in-memory pipe: what a client of HTTP/2 says is HTTP/1 text inside, and back.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::future::poll_fn;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http2::{Client, Memory, Server, ServerStream, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::LocalSet;

/// Reads until `end` is the end of what came.
async fn read_to(stream: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut text = String::new();
    let mut chunk = [0; 1000];
    while !text.ends_with(end) {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "ended after {text:?}");
        text.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    text
}

/// A gateway that gives each of its streams to `serve`.
fn serve<F: Future<Output = ()> + 'static>(
    io: DuplexStream,
    mut serve: impl FnMut(ServerStream) -> F + 'static,
) {
    tokio::task::spawn_local(async move {
        let mut server =
            Server::handshake(io, &Settings::default(), &http1::Limits::default(), &Memory::default())
                .await
                .unwrap();
        while let Some(Ok(stream)) = poll_fn(|cx| server.poll_accept(cx)).await {
            tokio::task::spawn_local(serve(stream));
        }
    });
}

async fn h2_client(io: DuplexStream) -> h2::client::SendRequest<Bytes> {
    let (send, connection) = h2::client::handshake(io).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    send.ready().await.unwrap()
}

#[tokio::test]
async fn a_request_reads_as_http1_and_its_answer_is_written_as_http1() {
    let run = async {
        let (near, far) = tokio::io::duplex(64 * 1024);
        serve(far, |mut stream| async move {
            let text = read_to(&mut stream, "\r\n\r\n").await;
            assert_eq!(
                text,
                "GET /a?b=c HTTP/1.1\r\nhost: example.com\r\nx-name: v\r\ncookie: a=1; b=2\r\n\r\n"
            );
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n").await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\nX-A: b\r\n\r\nhel")
                .await
                .unwrap();
            stream.write_all(b"lo").await.unwrap();
            stream.flush().await.unwrap();
            assert!(stream.is_answered());
        });
        let mut client = h2_client(near).await;
        let request = Request::get("http://example.com/a?b=c")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("x-name", "v");
        let (mut response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        let hints = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!((hints.status().as_u16(), hints.headers()["link"].as_bytes()), (103, &b"</s>"[..]));
        let (parts, mut body) = response.await.unwrap().into_parts();
        assert_eq!((parts.status.as_u16(), parts.headers["x-a"].as_bytes()), (200, &b"b"[..]));
        assert!(!parts.headers.contains_key("connection"));
        let mut got = Vec::new();
        while let Some(data) = body.data().await {
            got.extend_from_slice(&data.unwrap());
        }
        assert_eq!(got, b"hello");
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_body_without_length_is_chunked_and_trailers_pass_both_ways() {
    let run = async {
        let (near, far) = tokio::io::duplex(64 * 1024);
        serve(far, |mut stream| async move {
            let text = read_to(&mut stream, "x-sum: 7\r\n\r\n").await;
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(
                head,
                "POST /up HTTP/1.1\r\nhost: example.com\r\nte: trailers\r\ntransfer-encoding: chunked\r\nconnection: te"
            );
            assert_eq!(body, "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n");
            let answer =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\n\r\n";
            // A byte at a time: no step may depend on where a write ends.
            for byte in answer.bytes() {
                stream.write_all(&[byte]).await.unwrap();
            }
            stream.flush().await.unwrap();
        });
        let mut client = h2_client(near).await;
        let request = Request::post("http://example.com/up").header("te", "trailers").body(()).unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        send.send_data("abc".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        send.send_trailers(trailers).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut got = Vec::new();
        while let Some(data) = body.data().await {
            got.extend_from_slice(&data.unwrap());
        }
        assert_eq!(got, b"ok");
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn two_hosts_are_two_lines_which_no_codec_takes() {
    let run = async {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        serve(far, move |mut stream| {
            let tell = tell.take();
            async move {
                let text = read_to(&mut stream, "\r\n\r\n").await;
                tell.unwrap().send(text).unwrap();
            }
        });
        let mut client = h2_client(near).await;
        let request = Request::get("http://example.com/").header("host", "evil.example").body(()).unwrap();
        let _response = client.send_request(request, true).unwrap();
        let text = told.await.unwrap();
        let mut head = http1::RequestHead::default();
        let error = head.parse(&mut text.as_bytes().into(), &http1::Limits::default()).unwrap_err();
        assert_eq!(error, http1::RequestError::DuplicateHost);
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_gone_and_one_that_is_dropped_is_reset() {
    let run = async {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        serve(far, move |mut stream| {
            let tell = tell.take();
            async move {
                read_to(&mut stream, "\r\n\r\n").await;
                match tell {
                    Some(tell) => {
                        let mut byte = [0];
                        let error = stream.read(&mut byte).await.unwrap_err();
                        tell.send(error.kind()).unwrap();
                    }
                    None => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").await),
                }
            }
        });
        let mut client = h2_client(near).await;
        let get = || Request::get("http://example.com/").body(()).unwrap();
        let (_response, mut send) = client.send_request(get(), true).unwrap();
        send.send_reset(h2::Reason::CANCEL);
        assert_eq!(told.await.unwrap(), std::io::ErrorKind::ConnectionReset);

        let (response, _) = client.send_request(get(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let ended = loop {
            match body.data().await {
                Some(Ok(_)) => {}
                other => break other,
            }
        };
        assert!(ended.is_some_and(|last| last.is_err()), "half a body must not look whole");
    };
    LocalSet::new().run_until(run).await;
}

/// An endpoint of HTTP/2 that answers as `respond` says.
fn endpoint(
    io: DuplexStream,
    respond: impl Fn(Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) + 'static,
) {
    tokio::task::spawn_local(async move {
        let mut connection = h2::server::handshake(io).await.unwrap();
        while let Some(Ok((request, response))) = connection.accept().await {
            respond(request, response);
        }
    });
}

async fn gateway_client(io: DuplexStream) -> Client {
    sharing_client(io, &Memory::default()).await
}

async fn sharing_client(io: DuplexStream, memory: &Memory) -> Client {
    let limits = http1::Limits::default();
    let (client, driver) = Client::handshake(io, false, &Settings::default(), &limits, memory).await.unwrap();
    tokio::task::spawn_local(async move { drop(driver.await) });
    client
}

#[tokio::test]
async fn a_request_of_http1_text_gets_a_response_of_http1_text() {
    let run = async {
        let (near, far) = tokio::io::duplex(64 * 1024);
        endpoint(far, |request, mut respond| {
            assert_eq!(request.uri(), "http://example.com/a?b=c");
            assert_eq!(request.headers()["x-name"], "v");
            assert!(!request.headers().contains_key("host"));
            tokio::task::spawn_local(async move {
                let mut body = request.into_body();
                let mut got = Vec::new();
                while let Some(data) = body.data().await {
                    got.extend_from_slice(&data.unwrap());
                }
                assert_eq!(got, b"abcde");
                assert_eq!(body.trailers().await.unwrap().unwrap()["x-sum"], "7");
                let hints = Response::builder().status(103).body(()).unwrap();
                respond.send_informational(hints).unwrap();
                let response = Response::builder().status(201).header("x-a", "b").body(()).unwrap();
                let mut send = respond.send_response(response, false).unwrap();
                send.send_data("ok".into(), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                send.send_trailers(trailers).unwrap();
            });
        });
        let client = gateway_client(near).await;
        let mut stream = client.open();
        assert_eq!(client.active(), 1);
        stream
            .write_all(b"POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-Name: v\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await
            .unwrap();
        stream.write_all(b"2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n").await.unwrap();
        let text = read_to(&mut stream, "grpc-status: 0\r\n\r\n").await;
        assert_eq!(
            text,
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n"
        );
        assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0);
        assert!(stream.is_over());
        drop(stream);
        assert_eq!(client.active(), 0);
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn answers_without_a_body_say_so() {
    let run = async {
        let (near, far) = tokio::io::duplex(64 * 1024);
        endpoint(far, |request, mut respond| {
            let status = if request.method() == "HEAD" { 200 } else { 404 };
            let response = Response::builder().status(status).header("grpc-status", "12");
            respond.send_response(response.body(()).unwrap(), true).unwrap();
        });
        let client = gateway_client(near).await;
        for (method, expected) in [
            ("GET", "HTTP/1.1 404 Not Found\r\ngrpc-status: 12\r\ncontent-length: 0\r\n\r\n"),
            ("HEAD", "HTTP/1.1 200 OK\r\ngrpc-status: 12\r\n\r\n"),
        ] {
            let mut stream = client.open();
            stream.write_all(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
            assert_eq!(read_to(&mut stream, "\r\n\r\n").await, expected);
        }
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn connections_to_endpoints_share_the_memory_that_they_are_given() {
    let run = async {
        let (memory, mut clients) = (Memory::default(), Vec::new());
        let mut kept = Vec::new();
        for _ in 0..2 {
            let (near, far) = tokio::io::duplex(64 * 1024);
            endpoint(far, |_, mut respond| {
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                send.send_data("ok".into(), true).unwrap();
            });
            let client = sharing_client(near, &memory).await;
            let mut stream = client.open();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
            read_to(&mut stream, "\r\n0\r\n\r\n").await;
            drop(stream);
            kept.push(memory.text_bytes());
            clients.push(client);
        }
        // The second took what the first had left.
        assert!(kept[0] > 0 && kept[0] == kept[1], "{kept:?}");
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_refused_stream_is_known_to_be_unprocessed_and_a_cancelled_one_is_not() {
    let run = async {
        let (near, far) = tokio::io::duplex(64 * 1024);
        endpoint(far, |request, mut respond| {
            let is_refused = request.uri().path() == "/refused";
            respond.send_reset(if is_refused { h2::Reason::REFUSED_STREAM } else { h2::Reason::CANCEL });
        });
        let client = gateway_client(near).await;
        for (path, expected) in [("/refused", true), ("/cancelled", false)] {
            let mut stream = client.open();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
            let error = stream.read(&mut [0; 10]).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            assert_eq!(stream.is_unprocessed(), expected, "{path}");
        }
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_megabyte_passes_through_small_windows() {
    let run = async {
        let (near, middle) = tokio::io::duplex(8 * 1024);
        let (middle_up, far) = tokio::io::duplex(8 * 1024);
        endpoint(far, |request, mut respond| {
            tokio::task::spawn_local(async move {
                let mut body = request.into_body();
                let response = Response::builder().status(200).body(()).unwrap();
                let mut send = respond.send_response(response, false).unwrap();
                while let Some(data) = body.data().await {
                    let data = data.unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    send.send_data(data, false).unwrap();
                }
                send.send_data(Bytes::new(), true).unwrap();
            });
        });
        let client = std::rc::Rc::new(gateway_client(middle_up).await);
        serve(middle, move |mut down| {
            let mut up = client.open();
            async move { drop(tokio::io::copy_bidirectional(&mut down, &mut up).await) }
        });
        let mut sender = h2_client(near).await;
        let request = Request::post("http://example.com/echo").body(()).unwrap();
        let (response, mut send) = sender.send_request(request, false).unwrap();
        let payload: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let upload = payload.clone();
        tokio::task::spawn_local(async move {
            for piece in upload.chunks(10_000) {
                send.send_data(Bytes::copy_from_slice(piece), false).unwrap();
            }
            send.send_data(Bytes::new(), true).unwrap();
        });
        let mut body = response.await.unwrap().into_body();
        let mut got = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            got.extend_from_slice(&data);
        }
        assert_eq!(got.len(), payload.len());
        assert_eq!(got, payload);
    };
    LocalSet::new().run_until(run).await;
}
