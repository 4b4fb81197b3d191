//! What a stream costs on which nobody says anything. The only test of its program: it looks at the memory of all of it.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use model::AppProtocol;
use support::{Lab, Rule, rule};
use tokio::net::{TcpListener, TcpStream};

const STREAMS_PER_CONNECTION: usize = 100;
const CONNECTIONS: usize = 10;
/// Of both ends in this program and of the gateway between them: 43 KiB, of which the gateway's buffers were 63 more when each stream
/// kept its own.
const BYTES_MAX: usize = 60 * 1024;

/// Echoes what comes as it comes.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut peer = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = peer.accept().await {
                    tokio::spawn(async move {
                        let mut send = respond.send_response(Response::new(()), false).unwrap();
                        let mut body = request.into_body();
                        while let Some(Ok(data)) = body.data().await {
                            body.flow_control().release_capacity(data.len()).unwrap();
                            send.send_data(data, false).unwrap();
                        }
                    });
                }
            });
        }
    });
    address
}

/// A connection with streams that have moved a message each way and go on.
async fn talk(address: SocketAddr) -> (SendRequest<Bytes>, Vec<(SendStream<Bytes>, RecvStream)>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let mut streams = Vec::new();
    for _ in 0..STREAMS_PER_CONNECTION {
        client = client.ready().await.unwrap();
        let request = Request::post("http://a.test/").header("content-type", "application/grpc");
        let (answer, mut send) = client.send_request(request.body(()).unwrap(), false).unwrap();
        send.send_data(Bytes::from(vec![1; 8000]), false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let mut received = 0;
        while received < 8000 {
            let data = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            received += data.len();
        }
        streams.push((send, body));
    }
    (client, streams)
}

/// Resident memory of this program in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn a_quiet_stream_holds_no_buffers() {
    let endpoints = [echo().await];
    let lab = Lab::new(&[Rule { protocol: AppProtocol::Http2, ..rule("/", &endpoints) }]);
    let mut held = vec![talk(lab.address).await];
    let before = resident();
    for _ in 0..CONNECTIONS {
        held.push(talk(lab.address).await);
    }
    let each = resident().saturating_sub(before) / (CONNECTIONS * STREAMS_PER_CONNECTION);
    assert!(each < BYTES_MAX, "{each} bytes for each of {} streams", CONNECTIONS * STREAMS_PER_CONNECTION);
    drop(held);
}
