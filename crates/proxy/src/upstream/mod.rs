//! Connections to endpoints, and the pool that each thread keeps of them.

mod multiplexed;
mod pool;
mod socket;
mod wire;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use ::l4::proxy_protocol::Ends;
use bytes::BytesMut;
use model::AppProtocol;
use telemetry::Metrics;
use tls::alpn;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use crate::breaker::Permit;
use crate::connector::{Connector, Way};
use crate::dial::Dial;
use crate::endpoint::Endpoint;
use crate::told;
use crate::worker::Worker;
use multiplexed::Connection;
use socket::{Socket, has_acknowledged_since};

pub(crate) use pool::Pool;
use wire::Secured;
pub(crate) use wire::Wire;

/// What carries one request at a time to an endpoint.
pub(crate) struct Upstream {
    pub(crate) stream: Wire,
    way: Way,
    /// Bytes that came and are not yet taken.
    pub(crate) read: BytesMut,
    /// Bytes written since it was opened.
    pub(crate) written: u64,
    /// Whether the connection has served a request before this one.
    pub(crate) is_reused: bool,
    idle_since: Instant,
    /// Its place within the limit of its backend, if there is one.
    permit: Option<Permit>,
    open: Option<Open>,
}

/// A connection that counts among those to endpoints for as long as this lives.
pub(crate) struct Open {
    metrics: Arc<Metrics>,
    shard: usize,
}

impl Open {
    pub(crate) fn new(worker: &Worker) -> Self {
        let (metrics, shard) = (worker.shared.metrics.clone(), worker.index);
        metrics.upstream_connections_active.inc(shard);
        Self { metrics, shard }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.upstream_connections_active.dec(self.shard);
    }
}

/// Why there is no connection to an endpoint. It has got nothing of a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// TCP.
    #[error("{0}")]
    Tcp(#[source] io::Error),
    /// The time was up.
    #[error("the time was up")]
    Late {
        /// What the endpoint had of it; none: another request of this thread was opening the connection to share.
        given: Option<Duration>,
    },
    /// The endpoint is not who it must be, refuses us, or speaks no TLS.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// The endpoint does not speak HTTP/2.
    #[error("HTTP/2: {0}")]
    Http2(#[source] io::Error),
}

/// Opens a connection to `endpoint` within `limit`, which whoever waits enforces; or finds that another request of this thread just did, where one carries many.
/// `asked`: since when the endpoint is the one that is waited for.
///
/// # Errors
/// [`ConnectError`].
pub(crate) async fn connect(
    worker: &Worker,
    endpoint: &Endpoint,
    (connector, way): (&Connector, Way),
    client: Ends,
    (limit, asked): (Duration, &Cell<Option<Instant>>),
) -> Result<Upstream, ConnectError> {
    let dial = endpoint.dial(limit);
    if !connector.may_share() {
        asked.set(Some(Instant::now()));
        return Ok(Upstream::new(single(dial, connector, Some(client)).await?, way));
    }
    let opening = worker.pool.borrow_mut().opening(&way);
    let _turn = opening.lock().await;
    if let Some(upstream) = worker.pool.borrow_mut().stream(&way) {
        return Ok(upstream);
    }
    asked.set(Some(Instant::now()));
    match shareable(dial, (connector, Some(client)), &worker.config().limits, &worker.http2).await? {
        Opened::Single(opened) => Ok(Upstream::new(opened, way)),
        Opened::Shared(connection) => {
            let (stream, _) = connection.stream();
            worker.pool.borrow_mut().share(way, connection);
            Ok(Upstream::new((Wire::Http2(Box::new(stream)), 0), way))
        }
    }
}

/// Opens a connection for one exchange that no other shares.
///
/// # Errors
/// [`ConnectError`].
pub(crate) async fn connect_alone(
    dial: Dial<'_>,
    connector: &Connector,
    limits: &http1::Limits,
) -> Result<Wire, ConnectError> {
    if !connector.may_share() {
        return Ok(single(dial, connector, None).await?.0);
    }
    Ok(match shareable(dial, (connector, None), limits, &http2::Memory::default()).await? {
        Opened::Single((wire, _)) => wire,
        Opened::Shared(connection) => Wire::Http2(Box::new(connection.stream().0)),
    })
}

/// What a connection turned out to be that many requests may share.
enum Opened {
    /// The endpoint chose HTTP/1.1.
    Single((Wire, u64)),
    Shared(Rc<Connection>),
}

async fn shareable(
    dial: Dial<'_>,
    (connector, client): (&Connector, Option<Ends>),
    limits: &http1::Limits,
    memory: &http2::Memory,
) -> Result<Opened, ConnectError> {
    let opened = match single(dial, connector, client).await? {
        (Wire::Tls(secured), _) if speaks_http2(connector, &secured) => {
            let Secured { stream, socket } = *secured;
            Connection::open(stream, socket, true, limits, memory).await
        }
        (Wire::Tcp(stream), written) => {
            let socket = Socket::new(stream, written);
            Connection::open(socket.clone(), socket, false, limits, memory).await
        }
        opened => return Ok(Opened::Single(opened)),
    };
    opened.map(Opened::Shared).map_err(ConnectError::Http2)
}

/// TCP, over which the endpoint hears who the `client` is and which has TLS above it, where that is wanted; and how many bytes were
/// written to TCP alone.
async fn single(
    dial: Dial<'_>,
    connector: &Connector,
    client: Option<Ends>,
) -> Result<(Wire, u64), ConnectError> {
    let mut stream = dial.tcp().await.map_err(ConnectError::Tcp)?;
    let header = connector.proxy_protocol.map(|version| told::header(version, client)).unwrap_or_default();
    stream.write_all(&header).await.map_err(ConnectError::Tcp)?;
    let written = header.len() as u64;
    let Some(config) = &connector.tls else { return Ok((Wire::Tcp(stream), written)) };
    let socket = Socket::new(stream, written);
    let stream = config.connect(socket.clone()).await.map_err(ConnectError::Tls)?;
    Ok((Wire::Tls(Box::new(Secured { stream, socket })), written))
}

/// What the endpoint chose; one that knows no ALPN speaks what its Service says.
fn speaks_http2(connector: &Connector, secured: &Secured) -> bool {
    match secured.stream.get_ref().1.alpn_protocol() {
        Some(chosen) => chosen == alpn::H2,
        None => connector.protocol == AppProtocol::Http2,
    }
}

impl Upstream {
    fn new((stream, written): (Wire, u64), way: Way) -> Self {
        let (read, idle_since) = (BytesMut::new(), Instant::now());
        Self { stream, way, read, written, is_reused: false, idle_since, permit: None, open: None }
    }

    /// Counts its connection for as long as it lives.
    pub(crate) fn count(&mut self, open: Open) {
        match &self.stream {
            Wire::Http2(stream) => stream.count(open),
            Wire::Tcp(_) | Wire::Tls(_) => self.open = Some(open),
        }
    }

    /// Lets its connection count against a limit for as long as it lives. One that was found open counts already.
    pub(crate) fn hold(&mut self, permit: Permit) {
        match &self.stream {
            Wire::Http2(stream) => stream.hold(permit),
            Wire::Tcp(_) | Wire::Tls(_) => self.permit = Some(permit),
        }
    }

    /// Bytes that have been written to TCP so far: those of a request that begins now come behind them.
    pub(crate) fn mark(&self) -> u64 {
        match &self.stream {
            Wire::Tcp(_) => self.written,
            Wire::Tls(secured) => secured.socket.written(),
            // The stream has its own.
            Wire::Http2(_) => 0,
        }
    }

    /// Whether the protocol can be exchanged for another: not on one stream of many.
    pub(crate) fn can_upgrade(&self) -> bool {
        !self.is_http2()
    }

    /// Whether it is one of many streams on a connection of HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.stream, Wire::Http2(_))
    }

    /// Whether the endpoint has surely taken nothing of a request that it did not answer. `written_before`: what
    /// [`Self::mark`] was before it; `is_orderly`: the endpoint closed with FIN.
    ///
    /// A FIN brings the last acknowledgement with it. A reset does not (Linux tcp_reset() comes before tcp_ack()), and on
    /// a connection that has served requests TCP delays acknowledgements: the endpoint may have read the request.
    pub(crate) fn is_untouched(&self, written_before: u64, is_orderly: bool) -> bool {
        let is_whole = is_orderly || !self.is_reused;
        match &self.stream {
            Wire::Tcp(stream) => is_whole && !has_acknowledged_since(stream, written_before),
            Wire::Tls(secured) => {
                is_whole && !has_acknowledged_since(secured.socket.stream(), written_before)
            }
            Wire::Http2(stream) => stream.is_untouched(is_whole),
        }
    }

    /// Whether it can carry another request: open, and without bytes that nobody asked for.
    fn is_quiet(&mut self) -> bool {
        if !self.read.is_empty() {
            return false;
        }
        let mut byte = [0];
        match &mut self.stream {
            Wire::Tcp(stream) => {
                matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            // Session tickets may come at any time; they are taken on the way.
            Wire::Tls(secured) => {
                let mut cx = Context::from_waker(Waker::noop());
                let mut buffer = ReadBuf::new(&mut byte);
                Pin::new(&mut secured.stream).poll_read(&mut cx, &mut buffer).is_pending()
            }
            Wire::Http2(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::addresses::Addresses;

    fn way(addresses: Addresses) -> Way {
        Way { addresses, connector: Connector::http1().id, told: None }
    }

    async fn pair() -> (Upstream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(listener.local_addr().unwrap().into(), 1, Arc::default());
        let way = way(endpoint.addresses);
        let dialled = endpoint.dial(Duration::from_secs(60)).tcp().await;
        let upstream = Upstream::new((Wire::Tcp(dialled.unwrap()), 0), way);
        (upstream, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_connection_comes_back_once_and_is_marked_as_reused() {
        let (upstream, _peer) = pair().await;
        let way = upstream.way;
        let mut pool = Pool::new(1);
        pool.put(upstream);
        assert!(pool.idle(&way).is_some_and(|u| u.is_reused));
        assert!(pool.idle(&way).is_none());
    }

    #[tokio::test]
    async fn closed_and_talkative_connections_are_not_reused() {
        for talk in [false, true] {
            let (upstream, mut peer) = pair().await;
            let way = upstream.way;
            let mut pool = Pool::new(8);
            if talk {
                peer.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
            } else {
                peer.shutdown().await.unwrap();
            }
            let Wire::Tcp(stream) = &upstream.stream else { panic!("TCP") };
            stream.readable().await.unwrap();
            pool.put(upstream);
            assert!(pool.idle(&way).is_none(), "talk: {talk}");
        }
    }

    #[tokio::test]
    async fn a_sweep_closes_the_old_and_the_unknown() {
        let (upstream, mut peer) = pair().await;
        let way = upstream.way;
        let mut pool = Pool::new(8);
        pool.put(upstream);
        pool.sweep(Instant::now() - std::time::Duration::from_secs(5), |_| true);
        assert!(!pool.is_empty());
        pool.sweep(Instant::now() - std::time::Duration::from_secs(5), |known| *known != way);
        assert!(pool.is_empty());
        assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0, "closed");
    }

    #[tokio::test]
    async fn acknowledgement_is_told_by_the_kernel() {
        let (mut upstream, _peer) = pair().await;
        assert!(upstream.is_untouched(0, true));
        upstream.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let deadline = Instant::now() + std::time::Duration::from_secs(5);
        while upstream.is_untouched(0, true) && Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        assert!(!upstream.is_untouched(0, true));
        assert!(upstream.is_untouched(18, true));
    }
}
