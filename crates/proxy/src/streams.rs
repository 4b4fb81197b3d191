//! A client's connection of HTTP/2: each stream is served like a connection of HTTP/1 with one request.

use std::cell::Cell;
use std::rc::Rc;

use http2::{Server, ServerStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::client::Client;
use crate::downstream::{Downstream, Next};
use crate::reply;
use crate::request;
use crate::watchdog::Watchdog;
use crate::worker::Worker;

/// Requests that a client may give up before most of them matter: each took an endpoint's connection with it.
const CANCELLED_MIN: u64 = 100;

/// Serves until the client leaves, is idle for too long, or the gateway has drained.
pub(crate) async fn serve<S>(worker: &Rc<Worker>, stream: S, client: Rc<Client>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let timeouts = worker.config().timeouts;
    let settings = http2::Settings::default();
    let limits = worker.config().limits;
    let handshake = Server::handshake(stream, &settings, &limits, &worker.http2);
    let Ok(Ok(mut server)) = tokio::time::timeout(timeouts.header_read, handshake).await else { return };
    let mut watchdog = Watchdog::new(timeouts.idle);
    // Every stream holds one more.
    let active = Rc::new(());
    let cancelled = Rc::new(Cell::new(0));
    let mut requests = 0;
    let mut progress = Instant::now();
    let mut is_leaving = false;
    loop {
        let next = watchdog
            .guard(|cx| {
                if Rc::strong_count(&active) > 1 {
                    progress = Instant::now();
                }
                if !is_leaving && cancels_most(cancelled.get(), requests) {
                    is_leaving = true;
                    worker.metrics().refused(worker.index, "most streams cancelled");
                    tracing::debug!(peer = %client.peer, requests, "a client cancels most of its requests");
                    server.calm();
                }
                if !is_leaving {
                    if worker.ends_after(requests) {
                        is_leaving = true;
                        server.shut_down();
                    } else {
                        worker.park(client.connection, cx.waker());
                    }
                }
                // Who was told that all ends and does not go is not waited for as long as who may come back.
                let limit = if is_leaving { timeouts.stall.min(timeouts.idle) } else { timeouts.idle };
                (server.poll_accept(cx), progress + limit)
            })
            .await;
        match next {
            Ok(Some(Ok(stream))) => {
                requests += 1;
                progress = Instant::now();
                let Some(admission) = worker.admit_stream() else {
                    worker.metrics().refused(worker.index, "too many streams");
                    stream.refuse();
                    continue;
                };
                let (worker, client, active) = (worker.clone(), client.clone(), active.clone());
                let cancelled = cancelled.clone();
                // On the heap before it is spawned: the runtime moves what it is given several times.
                tokio::task::spawn_local(Box::pin(async move {
                    if serve_stream(&worker, stream, client, requests).await {
                        cancelled.set(cancelled.get() + 1);
                    }
                    drop((active, admission));
                }));
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

/// Whether a client opens streams to give them up: rapid reset (CVE-2023-44487), also where each stream lives for long
/// enough to be taken, and resets that it provokes (CVE-2025-8671). A browser that leaves pages stays below it.
fn cancels_most(cancelled: u64, requests: u64) -> bool {
    cancelled >= CANCELLED_MIN && cancelled * 2 > requests
}

/// Whether the client gave the request up.
async fn serve_stream(worker: &Rc<Worker>, stream: ServerStream, client: Rc<Client>, number: u64) -> bool {
    let mut down = Downstream::new(worker, stream, client);
    down.requests = number;
    let (mut head, mut response) = worker.take_heads();
    match down.next_request(worker, &mut head).await {
        Next::Request => {
            request::handle(worker, &mut down, &mut head, &mut response).await;
        }
        Next::Refused(error) => {
            reply::refuse(worker, &mut down, error).await;
        }
        Next::TimedOut | Next::Closed | Next::Http2 => {}
    }
    worker.return_heads(head, response);
    // What the client has not yet taken leaves as its window opens.
    down.finish(worker).await;
    worker.return_buffer(std::mem::take(&mut down.read));
    down.stream.is_cancelled()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_cancels_many_and_most_is_stopped() {
        assert!(cancels_most(CANCELLED_MIN, CANCELLED_MIN));
        assert!(!cancels_most(CANCELLED_MIN - 1, CANCELLED_MIN - 1));
        assert!(!cancels_most(CANCELLED_MIN, 2 * CANCELLED_MIN));
        assert!(cancels_most(1000, 1999));
    }
}
