//! One thread of the userspace tier: what the gateway tells it, and its listening sockets.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use model::Transport;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::sockets::Place;
use crate::worker::Worker;
use crate::{accept, l4};

/// Between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// How long a socket that takes no new connections waits for the last handshakes before it closes: a round trip.
const HANDSHAKE: Duration = Duration::from_millis(100);

/// What the gateway tells a thread.
pub(crate) enum Command {
    /// Accept connections from this socket.
    Listen(SocketAddr, TcpListener),
    /// Take datagrams from this socket.
    Receive(SocketAddr, UdpSocket),
    /// Stop accepting there: what waits to be accepted still is. Sessions end.
    Unlisten(Vec<Place>, oneshot::Sender<()>),
    /// Finish what is under way; the answer comes when no connection is left.
    Drain(oneshot::Sender<()>),
}

/// Runs until the gateway drops its end of `commands`.
pub(crate) async fn run(worker: Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut listening: HashMap<SocketAddr, Listening> = HashMap::new();
    let mut receiving: HashMap<SocketAddr, l4::Receiving> = HashMap::new();
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Listen(address, socket)) => {
                    if let Some(accepting) = listen(&worker, address, socket) {
                        listening.insert(address, accepting);
                    }
                }
                Some(Command::Receive(address, socket)) => match l4::Receiving::start(&worker, address, socket) {
                    Ok(sessions) => drop(receiving.insert(address, sessions)),
                    Err(error) => {
                        tracing::error!(%address, %error, "cannot watch a UDP socket; this thread does not serve it");
                    }
                },
                Some(Command::Unlisten(places, done)) => {
                    let of = |kind| places.iter().filter(move |place| place.0 == kind).map(|place| &place.1);
                    of(Transport::Udp).for_each(|address| drop(receiving.remove(address)));
                    stop(&worker, of(Transport::Tcp).filter_map(|address| listening.remove(address))).await;
                    // The gateway may have given up waiting.
                    let _ = done.send(());
                }
                Some(Command::Drain(done)) => {
                    stop(&worker, listening.drain().map(|(_, accepting)| accepting)).await;
                    worker.drain(done);
                }
            },
            _ = housekeeping.tick() => worker.sweep(),
        }
    }
}

/// Closes listening sockets, behind the handshakes that are under way.
async fn stop(worker: &Rc<Worker>, accepting: impl Iterator<Item = Listening>) {
    let accepting: Vec<_> = accepting.inspect(Listening::refuse_new).collect();
    if accepting.is_empty() {
        return;
    }
    tokio::time::sleep(HANDSHAKE).await;
    for socket in accepting {
        socket.stop(worker).await;
    }
}

struct Listening {
    socket: Rc<tokio::net::TcpListener>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Lets no new connection begin.
    fn refuse_new(&self) {
        if let Err(error) = accept::refuse_new(&self.socket) {
            tracing::debug!(%error, "cannot filter a listening socket; who connects as it closes is reset");
        }
    }

    /// Stops accepting, after what the kernel has already accepted. The socket is closed when this is done.
    async fn stop(self, worker: &Rc<Worker>) {
        self.task.abort();
        // The task holds the socket until it is gone.
        let _ = self.task.await;
        accept::take_waiting(worker, &self.socket);
    }
}

fn listen(worker: &Rc<Worker>, address: SocketAddr, socket: TcpListener) -> Option<Listening> {
    match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => {
            let socket = Rc::new(socket);
            let task = tokio::task::spawn_local(accept::run(worker.clone(), socket.clone()));
            Some(Listening { socket, task })
        }
        Err(error) => {
            tracing::error!(%address, %error, "cannot watch a listening socket; this thread does not serve it");
            None
        }
    }
}
