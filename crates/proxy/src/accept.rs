//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use crate::connection;
use crate::sockets::canonical;
use crate::worker::Worker;

/// After an error that will not go away by itself at once, such as EMFILE.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until aborted.
pub(crate) async fn run(worker: Rc<Worker>, socket: Rc<TcpListener>) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => spawn(&worker, stream, canonical(peer)),
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
///
/// The system is asked and not the runtime, which does not know yet of what came since it last waited.
pub(crate) fn take_waiting(worker: &Rc<Worker>, socket: &TcpListener) {
    loop {
        match accept_now(socket) {
            Ok((stream, peer)) => spawn(worker, stream, canonical(peer)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

fn accept_now(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (accepted, peer) = SockRef::from(socket).accept()?;
    accepted.set_nonblocking(true)?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((TcpStream::from_std(accepted.into())?, peer))
}

/// Serves one accepted connection on this thread.
fn spawn(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    tokio::task::spawn_local(connection::accepted(worker.clone(), stream, peer));
}
