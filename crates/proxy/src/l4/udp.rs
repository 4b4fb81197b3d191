//! Datagrams: each client has a session with one endpoint.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::l4::{DATAGRAM_BYTES_MAX, Datagram, Datagrams, Sessions};
use model::ListenerId;
use socket2::SockRef;
use telemetry::L4Metrics;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::endpoint::{Asked, Chosen, choose};
use crate::addresses::Addresses;
use crate::endpoint::Endpoint;
use crate::sockets::canonical;
use crate::worker::Worker;

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_millis(500);
/// Datagrams of one endpoint that are passed on before others have their turn.
const BURST: usize = 32;

/// A UDP socket of this thread with its sessions. Dropping it closes all.
pub(crate) struct Receiving {
    server: Rc<Server>,
    task: JoinHandle<()>,
}

impl Receiving {
    /// Takes datagrams from now on.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub(crate) fn start(
        worker: &Rc<Worker>,
        address: SocketAddr,
        socket: std::net::UdpSocket,
    ) -> io::Result<Self> {
        let most = worker.config().udp_sessions_max / worker.config().threads.max(1);
        let server = Rc::new(Server {
            worker: worker.clone(),
            socket: Datagrams::new(socket)?,
            port: address.port(),
            sessions: RefCell::new(Sessions::new(most)),
            buffer: RefCell::new(vec![0; DATAGRAM_BYTES_MAX]),
        });
        let task = tokio::task::spawn_local(server.clone().run());
        Ok(Self { server, task })
    }

    /// The socket of the clients.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.server.socket.as_fd()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.task.abort();
        // Sessions hold what holds them.
        while self.server.sessions.borrow_mut().pop().is_some() {}
    }
}

struct Server {
    worker: Rc<Worker>,
    socket: Datagrams,
    port: u16,
    sessions: RefCell<Sessions<Session>>,
    /// For answers: each is sent on before the next one is read.
    buffer: RefCell<Vec<u8>>,
}

/// What one client has.
struct Session {
    way: Way,
    thread: usize,
    answers: JoinHandle<()>,
}

/// Where a client's datagrams go.
#[derive(Clone)]
struct Way {
    socket: Rc<UdpSocket>,
    endpoint: Arc<Endpoint>,
    /// Whether they go to the address of the family that is not preferred.
    is_other: bool,
    metrics: Option<Arc<L4Metrics>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.answers.abort();
        if let Some(metrics) = &self.way.metrics {
            metrics.closed(self.thread);
        }
    }
}

impl Server {
    async fn run(self: Rc<Self>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                received = self.socket.receive(&mut buffer) => match received {
                    Ok(datagram) => self.take(datagram, &buffer[..datagram.bytes]).await,
                    Err(error) => tracing::debug!(%error, "a datagram cannot be read"),
                },
                _ = sweep.tick() => self.expire(),
            }
        }
    }

    /// Sends a client's datagram to its endpoint. One that finds its endpoint gone begins a session with another.
    async fn take(self: &Rc<Self>, datagram: Datagram, bytes: &[u8]) {
        const TRIES: usize = 2;
        for _ in 0..TRIES {
            let known = self.known(&datagram);
            let way = match known {
                Some(known) => known,
                None => match self.begin(&datagram).await {
                    Ok(begun) => begun,
                    Err(refusal) => return self.worker.metrics().l4_refused(self.worker.index, refusal),
                },
            };
            // Not by way of the runtime, which does not know yet that a new socket can be written to.
            match SockRef::from(&*way.socket).send(bytes) {
                Err(error) if is_refusal(&error) => {
                    self.refused(datagram.client, datagram.local, &way);
                    continue;
                }
                Ok(_) => {
                    if let Some(metrics) = &way.metrics {
                        metrics.moved(self.worker.index, true, bytes.len() as u64);
                    }
                }
                // No room, or larger than the way allows: it is UDP.
                Err(_) => self.worker.metrics().l4_refused(self.worker.index, "datagram cannot be sent"),
            }
            return;
        }
    }

    /// The client's session, if it has one whose endpoint is still there.
    fn known(&self, datagram: &Datagram) -> Option<Way> {
        let mut sessions = self.sessions.borrow_mut();
        let session = sessions.get(datagram.client, datagram.local, Instant::now())?;
        if !self.worker.state().has_endpoint(&session.way.endpoint.address) {
            sessions.remove(datagram.client, datagram.local);
            return None;
        }
        Some(session.way.clone())
    }

    /// Begins a session.
    ///
    /// # Errors
    /// Why that cannot be, for the metric.
    async fn begin(self: &Rc<Self>, datagram: &Datagram) -> Result<Way, &'static str> {
        let (worker, local) = (&self.worker, SocketAddr::new(datagram.local.to_canonical(), self.port));
        let state = worker.state();
        let listener: ListenerId = state.l4.udp_listener(local.ip(), self.port).ok_or("no listener")?.clone();
        let metrics = state.l4_metrics(&listener).cloned();
        drop(state);
        // Nobody answers a connection: the preferred address, unless it refused datagrams or this host has no way to it.
        let connect = async |endpoint: &Endpoint| {
            let Addresses { name, other } = endpoint.addresses;
            let name = (name, false);
            let (first, second) = match other {
                None => (name, None),
                Some(other) if endpoint.favour().is_for_other() => ((other, true), Some(name)),
                Some(other) => (name, Some((other, true))),
            };
            let open = |(address, is_other)| ::l4::connect(address).map(|socket| (socket, is_other));
            open(first).or_else(|error| second.map_or(Err(error), open))
        };
        let asked = Asked {
            client: canonical(datagram.client),
            local,
            listener: &listener,
            name: "",
            ended_tls: false,
        };
        let Chosen { opened, endpoint, .. } = choose(worker, asked, connect).await?;
        if let Some(metrics) = &metrics {
            metrics.opened(worker.index);
        }
        let (socket, is_other) = opened;
        let way = Way { socket: Rc::new(socket), endpoint, is_other, metrics };
        let answers = Answers {
            server: self.clone(),
            way: way.clone(),
            client: datagram.client,
            local: datagram.local,
        };
        let answers = tokio::task::spawn_local(answers.run());
        let session = Session { way: way.clone(), thread: worker.index, answers };
        let mut sessions = self.sessions.borrow_mut();
        if sessions.insert(datagram.client, datagram.local, session, Instant::now()).is_some() {
            worker.metrics().l4_refused(worker.index, "UDP session displaced");
        }
        Ok(way)
    }

    /// Ends a session whose endpoint said that nobody takes its datagrams. It is passed over when both of its addresses have said so.
    fn refused(&self, client: SocketAddr, local: IpAddr, Way { endpoint, is_other, .. }: &Way) {
        let has_another = endpoint.addresses.other.is_some() && !is_other;
        endpoint.favour().answered(has_another);
        if !has_another {
            let lasts = self.worker.config().timeouts.endpoint_retry;
            endpoint.connect_failed(self.worker.index, lasts, Duration::MAX);
        }
        self.worker.metrics().l4_refused(self.worker.index, "endpoint refused the datagram");
        let session = self.sessions.borrow_mut().remove(client, local);
        drop(session);
    }

    fn expire(&self) {
        let Some(before) = Instant::now().checked_sub(self.worker.config().timeouts.udp_idle) else { return };
        loop {
            let expired = self.sessions.borrow_mut().expire(before);
            if expired.is_none() {
                return;
            }
        }
    }
}

/// What an endpoint says to one client.
struct Answers {
    server: Rc<Server>,
    way: Way,
    client: SocketAddr,
    local: IpAddr,
}

impl Answers {
    /// Passes answers on until the session goes, or the endpoint refuses datagrams.
    async fn run(self) {
        let server = &self.server;
        loop {
            if self.way.socket.readable().await.is_err() {
                return;
            }
            for _ in 0..BURST {
                let mut buffer = server.buffer.borrow_mut();
                match self.way.socket.try_recv(&mut buffer) {
                    Ok(bytes) => self.pass(&buffer[..bytes]),
                    Err(error) if is_refusal(&error) => {
                        drop(buffer);
                        return server.refused(self.client, self.local, &self.way);
                    }
                    Err(_) => break,
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn pass(&self, bytes: &[u8]) {
        let server = &self.server;
        server.sessions.borrow_mut().get(self.client, self.local, Instant::now());
        match server.socket.send(bytes, self.client, self.local) {
            Ok(()) => {
                if let Some(metrics) = &self.way.metrics {
                    metrics.moved(server.worker.index, false, bytes.len() as u64);
                }
            }
            Err(_) => server.worker.metrics().l4_refused(server.worker.index, "answer cannot be sent"),
        }
    }
}

/// ICMP port, host or network unreachable, of what was sent before.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}
