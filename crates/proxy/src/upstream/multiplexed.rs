//! Connections of HTTP/2 to endpoints, each shared by many requests of a thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use http2::ClientStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Open;
use super::socket::{Socket, has_acknowledged_since};
use crate::breaker::{Breaker, Permit};
use crate::connector::Way;

/// One request's stream.
pub(crate) struct Stream {
    pub(super) text: ClientStream,
    connection: Rc<Connection>,
    /// Bytes that the connection had written when the stream was opened: none of them is the stream's.
    written_before: u64,
}

impl Stream {
    /// Whether the endpoint has surely processed nothing of the request: it said so, or its TCP acknowledged none of it.
    /// `is_whole`: no acknowledgement can have been lost with the end of the connection.
    pub(super) fn is_untouched(&self, is_whole: bool) -> bool {
        let socket = &self.connection.socket;
        self.text.is_unprocessed()
            || (is_whole && !has_acknowledged_since(socket.stream(), self.written_before))
    }

    /// Lets the connection count against a limit, if it does not yet.
    pub(super) fn hold(&self, permit: Permit) {
        self.connection.permit.borrow_mut().get_or_insert(permit);
    }

    /// Counts the connection, if it is not yet.
    pub(super) fn count(&self, open: Open) {
        self.connection.open.borrow_mut().get_or_insert(open);
    }

    /// Lets the connection end with the streams that it has, if it takes no more.
    pub(super) fn leave_if_refused(&self) {
        if self.text.is_unprocessed() {
            self.connection.is_retired.set(true);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.used.set(Instant::now());
        if let Some(permit) = &*self.connection.permit.borrow() {
            permit.freed();
        }
    }
}

/// A connection that takes streams.
pub(super) struct Connection {
    client: RefCell<http2::Client>,
    socket: Socket,
    /// When a stream last ended.
    used: Cell<Instant>,
    has_served: Cell<bool>,
    is_retired: Cell<bool>,
    /// Its place within the limit of its backend, if there is one.
    permit: RefCell<Option<Permit>>,
    open: RefCell<Option<Open>>,
}

impl Connection {
    /// Speaks HTTP/2 over `io`, which stands on `socket`. A task of its own moves its frames until it is over; its streams
    /// keep what they can in `memory`.
    pub(super) async fn open<S>(
        io: S,
        socket: Socket,
        is_tls: bool,
        limits: &http1::Limits,
        memory: &http2::Memory,
    ) -> io::Result<Rc<Self>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let settings = http2::Settings::for_endpoints();
        let (client, driver) = http2::Client::handshake(io, is_tls, &settings, limits, memory).await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection of HTTP/2 to an endpoint ended");
            }
        });
        Ok(Rc::new(Self {
            client: RefCell::new(client),
            socket,
            used: Cell::new(Instant::now()),
            has_served: Cell::new(false),
            is_retired: Cell::new(false),
            permit: RefCell::default(),
            open: RefCell::default(),
        }))
    }

    /// A stream, and whether others came before it.
    pub(super) fn stream(self: &Rc<Self>) -> (Stream, bool) {
        let text = self.client.borrow().open();
        let stream = Stream { text, connection: self.clone(), written_before: self.socket.written() };
        (stream, self.has_served.replace(true))
    }

    fn takes_more(&self) -> bool {
        !self.is_retired.get() && !self.client.borrow_mut().is_closed()
    }

    fn is_idle_since(&self, oldest: Instant) -> bool {
        self.client.borrow().active() == 0 && self.used.get() < oldest
    }
}

/// The shared connections of a thread.
#[derive(Default)]
pub(super) struct Connections(HashMap<Way, Lane>);

#[derive(Default)]
struct Lane {
    open: Vec<Rc<Connection>>,
    /// Held by who opens another connection.
    opening: Rc<Mutex<()>>,
}

impl Connections {
    /// A stream on a connection that has room for it, and whether others came before it.
    pub(super) fn stream(&mut self, way: &Way) -> Option<(Stream, bool)> {
        let lane = self.0.get_mut(way)?;
        lane.open.retain(|connection| connection.takes_more());
        let free = lane.open.iter().find(|connection| connection.client.borrow().has_room())?;
        Some(free.stream())
    }

    /// Whoever holds it may open a connection: a crowd of requests must not open one each.
    pub(super) fn opening(&mut self, way: &Way) -> Rc<Mutex<()>> {
        self.0.entry(*way).or_default().opening.clone()
    }

    pub(super) fn put(&mut self, way: Way, connection: Rc<Connection>) {
        self.0.entry(way).or_default().open.push(connection);
    }

    /// Closes a connection that counts there and carries nothing; whether there was one.
    pub(super) fn evict(&mut self, breaker: &Arc<Breaker>) -> bool {
        let is_idle = |connection: &Rc<Connection>| {
            // Streams hold it, too.
            Rc::strong_count(connection) == 1
                && connection.permit.borrow().as_ref().is_some_and(|permit| permit.is_of(breaker))
        };
        let found = |lane: &mut Lane| lane.open.iter().position(is_idle).map(|at| lane.open.swap_remove(at));
        self.0.values_mut().find_map(found).is_some()
    }

    /// Lets go of a way's connections. Streams under way finish.
    pub(super) fn leave(&mut self, way: &Way) {
        self.0.remove(way);
    }

    /// Lets go of what is idle since before `oldest`, what takes no more streams, and what `keep` does not know any more. Streams
    /// under way finish.
    pub(super) fn sweep(&mut self, oldest: Instant, keep: impl Fn(&Way) -> bool) {
        self.0.retain(|way, lane| {
            lane.open.retain(|connection| connection.takes_more() && !connection.is_idle_since(oldest));
            keep(way) && !(lane.open.is_empty() && Rc::strong_count(&lane.opening) == 1)
        });
    }
}
