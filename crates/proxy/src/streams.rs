//! A client's connection of HTTP/2: each stream is served like a connection of HTTP/1 with one request.

use std::rc::Rc;

use http1::{RequestHead, ResponseHead};
use http2::{Server, ServerStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::client::Client;
use crate::downstream::{Downstream, Next};
use crate::reply::{self, Reply};
use crate::request;
use crate::watchdog::Watchdog;
use crate::worker::Worker;

/// Serves until the client leaves, is idle for too long, or the gateway has drained.
pub(crate) async fn serve<S>(worker: &Rc<Worker>, stream: S, client: Rc<Client>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let timeouts = worker.config().timeouts;
    let settings = http2::Settings::default();
    let limits = worker.config().limits;
    let handshake = Server::handshake(stream, &settings, &limits);
    let Ok(Ok(mut server)) = tokio::time::timeout(timeouts.header_read, handshake).await else { return };
    let mut watchdog = Watchdog::new(timeouts.idle);
    // Every stream holds one more.
    let active = Rc::new(());
    let mut requests = 0;
    let mut progress = Instant::now();
    let mut is_leaving = false;
    loop {
        let next = watchdog
            .guard(|cx| {
                if Rc::strong_count(&active) > 1 {
                    progress = Instant::now();
                }
                if !is_leaving {
                    if worker.ends_after(requests) {
                        is_leaving = true;
                        server.shut_down();
                    } else {
                        worker.park(client.connection, cx.waker());
                    }
                }
                (server.poll_accept(cx), progress + timeouts.idle)
            })
            .await;
        match next {
            Ok(Some(Ok(stream))) => {
                requests += 1;
                progress = Instant::now();
                let (worker, client, active) = (worker.clone(), client.clone(), active.clone());
                tokio::task::spawn_local(async move {
                    serve_stream(&worker, stream, client, requests).await;
                    drop(active);
                });
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(peer = %client.peer, %error, "HTTP/2 connection ended");
                return;
            }
            Ok(None) => return,
            // A connection that nobody uses: the client learns that its next request needs a new one.
            Err(_) if !is_leaving => {
                is_leaving = true;
                progress = Instant::now();
                server.shut_down();
            }
            Err(_) => return,
        }
    }
}

async fn serve_stream(worker: &Worker, stream: ServerStream, client: Rc<Client>, number: u64) {
    let mut down = Downstream::new(worker, stream, client);
    down.requests = number;
    let mut head = RequestHead::default();
    match down.next_request(worker, &mut head).await {
        Next::Request => {
            let mut response = ResponseHead::default();
            request::handle(worker, &mut down, &head, &mut response).await;
        }
        Next::Refused(error) => {
            worker.metrics().refused(worker.index, error.reason());
            tracing::debug!(peer = %down.client.peer, reason = error.reason(), "request refused");
            reply::send(worker, &mut down, &Reply::refusal(error)).await;
        }
        Next::TimedOut | Next::Closed | Next::Http2 => {}
    }
    // What the client has not yet taken leaves as its window opens.
    down.finish(worker).await;
    worker.return_buffer(std::mem::take(&mut down.read));
}
