//! A client's connection: one request after the other.

use std::net::SocketAddr;
use std::rc::Rc;

use http1::{RequestHead, ResponseHead};
use tokio::net::TcpStream;

use crate::downstream::{Downstream, Fate, Next};
use crate::reply::{self, Reply};
use crate::request;
use crate::sockets::canonical;
use crate::transport::Transport;
use crate::worker::Worker;

/// Serves a connection that was just accepted.
pub(crate) async fn accepted(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    // A connection without it works, only slower.
    let _ = stream.set_nodelay(true);
    let open = worker.open_connection();
    let mut down = Downstream::new(&worker, stream, peer, canonical(local), open.id);
    let Some(_admission) = worker.shared.admit() else {
        worker.metrics().connections_rejected.add(worker.index, 1);
        reply::send(&worker, &mut down, &Reply::OVERLOADED).await;
        down.linger().await;
        return;
    };
    serve(&worker, &mut down).await;
    worker.return_buffer(down.read);
}

async fn serve<S: Transport>(worker: &Worker, down: &mut Downstream<S>) {
    let mut head = RequestHead::default();
    let mut response = ResponseHead::default();
    loop {
        let fate = match down.next_request(worker, &mut head).await {
            Next::Closed => Fate::Close,
            Next::Request => {
                down.requests += 1;
                request::handle(worker, down, &head, &mut response).await
            }
            Next::Refused(error) => {
                worker.metrics().refused(worker.index, error.reason());
                tracing::debug!(peer = %down.peer, reason = error.reason(), "request refused");
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
            Fate::Close => return,
            Fate::Linger => return down.linger().await,
        }
    }
}
