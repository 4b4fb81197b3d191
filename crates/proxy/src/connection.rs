//! A client's connection: which protocol it speaks, and one request after the other.

use std::net::SocketAddr;
use std::rc::Rc;

use http1::{RequestHead, ResponseHead};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::downstream::{Downstream, Fate, Next};
use crate::reply::{self, Reply};
use crate::sockets::canonical;
use crate::transport::{Rewound, Transport};
use crate::worker::Worker;
use crate::{request, secure, streams};

/// Serves a connection that was just accepted.
pub(crate) async fn accepted(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    let local = canonical(local);
    // A connection without it works, only slower.
    let _ = stream.set_nodelay(true);
    let open = worker.open_connection();
    let client = Client::new(&worker, peer, local, open.id);
    let ends_tls = worker.state().ends_tls(local);
    let Some(_admission) = worker.shared.admit() else {
        worker.metrics().connections_rejected.add(worker.index, 1);
        if !ends_tls {
            let mut down = Downstream::new(&worker, stream, client.into());
            reply::send(&worker, &mut down, &Reply::OVERLOADED).await;
            down.linger().await;
        }
        return;
    };
    if ends_tls {
        secure::serve(&worker, stream, client).await;
    } else {
        serve(&worker, stream, client.into()).await;
    }
}

/// Serves HTTP/1, or HTTP/2 where the client begins with its preface (RFC 9113 section 3.3).
pub(crate) async fn serve<S: Transport>(worker: &Rc<Worker>, stream: S, client: Rc<Client>) {
    let mut down = Downstream::new(worker, stream, client);
    if serve_http1(worker, &mut down).await == Speaks::Http2 {
        let Downstream { stream, client, read, .. } = down;
        return streams::serve(worker, Rewound::new(stream, read), client).await;
    }
    worker.return_buffer(down.read);
}

/// What a connection turned out to speak.
#[derive(PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
}

async fn serve_http1<S: Transport>(worker: &Worker, down: &mut Downstream<S>) -> Speaks {
    let mut head = RequestHead::default();
    let mut response = ResponseHead::default();
    loop {
        let fate = match down.next_request(worker, &mut head).await {
            Next::Closed => Fate::Close,
            Next::Http2 => return Speaks::Http2,
            Next::Request => {
                down.requests += 1;
                request::handle(worker, down, &head, &mut response).await
            }
            Next::Refused(error) => {
                worker.metrics().refused(worker.index, error.reason());
                tracing::debug!(peer = %down.client.peer, reason = error.reason(), "request refused");
                reply::send(worker, down, &Reply::refusal(error)).await;
                Fate::Linger
            }
            Next::TimedOut => {
                worker.metrics().refused(worker.index, "request head timed out");
                reply::send(worker, down, &Reply::HEADER_TIMEOUT).await;
                Fate::Linger
            }
        };
        match fate {
            Fate::Keep => {}
            Fate::Close => {
                down.close().await;
                return Speaks::Http1;
            }
            Fate::Linger => {
                down.linger().await;
                return Speaks::Http1;
            }
        }
    }
}
