//! One thread of the userspace tier: what the gateway tells it, and its listening sockets.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use model::Transport;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::hand_over::ListeningSocket;
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
    /// Stop accepting there: what waits to be accepted still is. Sessions end. Shared: another process has the sockets too; what
    /// waits is its own, and nothing is done to them.
    Unlisten { places: Vec<Place>, shared: bool, done: oneshot::Sender<()> },
    /// Other descriptors of the listening sockets, for another process.
    Lend(oneshot::Sender<io::Result<Vec<ListeningSocket>>>),
    /// Finish what is under way; the answer comes when no connection is left.
    Drain(oneshot::Sender<()>),
}

/// Runs until the gateway drops its end of `commands`.
pub(crate) async fn run(worker: Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    // Several of one address only where they come from a gateway with more threads.
    let mut listening: HashMap<SocketAddr, Vec<Listening>> = HashMap::new();
    let mut receiving: HashMap<SocketAddr, Vec<l4::Receiving>> = HashMap::new();
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Listen(address, socket)) => {
                    if let Some(accepting) = listen(&worker, address, socket) {
                        listening.entry(address).or_default().push(accepting);
                    }
                }
                Some(Command::Receive(address, socket)) => match l4::Receiving::start(&worker, address, socket) {
                    Ok(sessions) => receiving.entry(address).or_default().push(sessions),
                    Err(error) => {
                        tracing::error!(%address, %error, "cannot watch a UDP socket; this thread does not serve it");
                    }
                },
                Some(Command::Unlisten { places, shared, done }) => {
                    let of = |kind| places.iter().filter(move |place| place.0 == kind).map(|place| &place.1);
                    of(Transport::Udp).for_each(|address| drop(receiving.remove(address)));
                    let gone = of(Transport::Tcp).filter_map(|address| listening.remove(address)).flatten();
                    if shared {
                        for socket in gone {
                            socket.release().await;
                        }
                    } else {
                        stop(&worker, gone).await;
                    }
                    // The gateway may have given up waiting.
                    let _ = done.send(());
                }
                Some(Command::Lend(tell)) => {
                    // The gateway may have given up waiting.
                    let _ = tell.send(lend(&listening, &receiving));
                }
                Some(Command::Drain(done)) => {
                    stop(&worker, listening.drain().flat_map(|(_, accepting)| accepting)).await;
                    worker.drain(done);
                }
            },
            _ = housekeeping.tick() => worker.sweep(),
        }
    }
}

/// Other descriptors of all listening sockets.
fn lend(
    listening: &HashMap<SocketAddr, Vec<Listening>>,
    receiving: &HashMap<SocketAddr, Vec<l4::Receiving>>,
) -> io::Result<Vec<ListeningSocket>> {
    let tcp = listening.iter().flat_map(|(&address, sockets)| {
        sockets
            .iter()
            .map(move |socket| ListeningSocket::dup((Transport::Tcp, address), socket.socket.as_fd()))
    });
    let udp = receiving.iter().flat_map(|(&address, sockets)| {
        sockets.iter().map(move |socket| ListeningSocket::dup((Transport::Udp, address), socket.socket()))
    });
    tcp.chain(udp).collect()
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

    /// Stops accepting. The socket stays open in another process, and what waits is for that one.
    async fn release(self) {
        self.task.abort();
        let _ = self.task.await;
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
