//! Answers that nobody gets: read to their end if that is near, so that their connections carry more requests.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Buf;
use http1::{Body, Framing};

use crate::io::poll_read;
use crate::upstream::Upstream;
use crate::worker::Worker;

/// More of one costs more than another connection.
const BYTES_MAX: usize = 64 * 1024;
/// How long it may take.
const TIME_MAX: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 8 * 1024;

/// Reads what is left of an answer behind its head, which nobody waits for.
pub(crate) fn drain(worker: &Rc<Worker>, mut upstream: Upstream, framing: Framing) {
    let body = Body::new(framing, &worker.config().limits);
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        let rest = tokio::time::timeout(TIME_MAX, read_out(&mut upstream, body)).await;
        worker.return_buffer(std::mem::take(&mut upstream.read));
        if rest == Ok(true) {
            worker.pool.borrow_mut().put(upstream);
        }
    });
}

/// Whether the connection is as it was before the request.
async fn read_out(upstream: &mut Upstream, mut body: Body) -> bool {
    let mut left = BYTES_MAX;
    loop {
        let Ok(passed) = body.advance(&upstream.read) else { return false };
        upstream.read.advance(passed);
        if body.is_done() {
            return upstream.read.is_empty();
        }
        let read = poll_fn(|cx| poll_read(&mut upstream.stream, cx, &mut upstream.read, READ_BYTES)).await;
        match read {
            Ok(read) if (1..=left).contains(&read) => left -= read,
            _ => return false,
        }
    }
}
