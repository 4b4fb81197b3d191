//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::worker::{self, Worker};

/// After an error that will not go away by itself at once, such as EMFILE.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until aborted.
pub(crate) async fn run(worker: Rc<Worker>, socket: Rc<TcpListener>) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => worker::spawn(&worker, stream, canonical(peer)),
            // The client gave up while it waited: its affair.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, pause_ms = PAUSE.as_millis(), "cannot accept a connection; out of descriptors? Raise LimitNOFILE (ulimit -n)");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Takes what waits to be accepted: closing the socket would reset it.
pub(crate) fn take_waiting(worker: &Rc<Worker>, socket: &TcpListener) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok((stream, peer))) = socket.poll_accept(&mut cx) {
        worker::spawn(worker, stream, canonical(peer));
    }
}

/// A client over IPv4 on a socket for both families appears as `::ffff:a.b.c.d`.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
