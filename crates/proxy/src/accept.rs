//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
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

/// Lets no new connection begin on a listening socket: a SYN is dropped, and comes again when the socket is closed and refuses
/// it. The ACK of a handshake under way still arrives; without this, one that comes between the last accept and close
/// would get a reset in answer to its request.
///
/// Source: filters see a segment from its TCP header on, on sockets that listen too (Linux `tcp_filter`).
///
/// # Errors
/// The system's. The socket accepts as before.
pub(crate) fn refuse_new(socket: &TcpListener) -> io::Result<()> {
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    const ALL: u32 = u32::MAX;
    #[expect(clippy::cast_possible_truncation, reason = "codes of classic BPF have 16 bits")]
    let step = |code: u32, jt: u8, jf: u8, k: u32| SockFilter::new(code as u16, jt, jf, k);
    SockRef::from(socket).attach_filter(&[
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, ALL),
    ])
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
    // Counted before its task first runs: a drain that begins between the two would find nobody to wait for.
    let open = worker.open_connection();
    // On the heap before it is spawned: the runtime moves what it is given several times.
    tokio::task::spawn_local(Box::pin(connection::accepted(open, stream, peer)));
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::Shutdown;
    use std::sync::Arc;

    use telemetry::Metrics;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Config;
    use crate::session_key::SessionKey;
    use crate::shared::Shared;

    /// Who was accepted last before the sockets were closed is served like everybody else.
    #[test]
    fn a_drain_waits_for_a_connection_that_was_accepted_just_before_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let shared = Shared::new(Config::default(), Metrics::new(1), SessionKey::new(None).unwrap());
            shared.start_draining();
            let worker = Rc::new(Worker::new(0, Arc::new(shared)));
            let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = std::net::TcpStream::connect(listening.local_addr().unwrap()).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            client.shutdown(Shutdown::Write).unwrap();

            take_waiting(&worker, &listening);
            let (drained, mut wait) = oneshot::channel();
            worker.drain(drained);
            assert_eq!(wait.try_recv(), Err(oneshot::error::TryRecvError::Empty));
            tokio::time::timeout(Duration::from_secs(20), &mut wait).await.unwrap().unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        });
    }
}
