//! Connections to endpoints, and the pool that each thread keeps of them.

mod multiplexed;
mod pool;
mod socket;
mod wire;

use std::io;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::connector::{Connector, Speaks, Way};
use crate::endpoint::Endpoint;
use crate::worker::Worker;
use multiplexed::Connection;
use socket::{Socket, has_acknowledged_since};

pub(crate) use pool::Pool;
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
}

/// Opens a connection to `endpoint`; or finds that another request of this thread just did, where one carries many.
///
/// # Errors
/// Of TCP, or what is above it. The endpoint has got nothing of a request.
pub(crate) async fn connect(
    worker: &Worker,
    endpoint: &Endpoint,
    connector: &Connector,
) -> io::Result<Upstream> {
    let way = connector.way(endpoint.address);
    match connector.protocol {
        Speaks::Http1 => Ok(Upstream::new(Wire::Tcp(tcp(endpoint).await?), way)),
        Speaks::Http2 => {
            let opening = worker.pool.borrow_mut().opening(&way);
            let _turn = opening.lock().await;
            if let Some(upstream) = worker.pool.borrow_mut().stream(&way) {
                return Ok(upstream);
            }
            let socket = Socket::new(tcp(endpoint).await?);
            let limits = &worker.config().limits;
            let connection = Connection::open(socket.clone(), socket, false, limits).await?;
            let (stream, _) = connection.stream();
            worker.pool.borrow_mut().share(way, connection);
            Ok(Upstream::new(Wire::Http2(Box::new(stream)), way))
        }
    }
}

async fn tcp(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(endpoint.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Upstream {
    fn new(stream: Wire, way: Way) -> Self {
        Self { stream, way, read: BytesMut::new(), written: 0, is_reused: false, idle_since: Instant::now() }
    }

    /// Whether the endpoint has surely taken nothing of a request that it did not answer. `written_before`: bytes that were
    /// written before it; `is_orderly`: the endpoint closed with FIN.
    ///
    /// A FIN brings the last acknowledgement with it. A reset does not (Linux tcp_reset() comes before tcp_ack()), and on
    /// a connection that has served requests TCP delays acknowledgements: the endpoint may have read the request.
    pub(crate) fn is_untouched(&self, written_before: u64, is_orderly: bool) -> bool {
        let is_whole = is_orderly || !self.is_reused;
        match &self.stream {
            Wire::Tcp(stream) => is_whole && !has_acknowledged_since(stream, written_before),
            Wire::Http2(stream) => stream.is_untouched(is_whole),
        }
    }

    /// Whether it can carry another request: open, and without bytes that nobody asked for.
    fn is_quiet(&self) -> bool {
        let Wire::Tcp(stream) = &self.stream else { return false };
        let mut byte = [0];
        self.read.is_empty()
            && matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Upstream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(listener.local_addr().unwrap(), 1);
        let way = Connector::of(model::AppProtocol::Http1).unwrap().way(endpoint.address);
        let upstream = Upstream::new(Wire::Tcp(tcp(&endpoint).await.unwrap()), way);
        (upstream, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_connection_comes_back_once_and_is_marked_as_reused() {
        let (upstream, _peer) = pair().await;
        let way = upstream.way;
        let mut pool = Pool::new(1);
        pool.put(upstream);
        assert!(pool.take(&way).is_some_and(|u| u.is_reused));
        assert!(pool.take(&way).is_none());
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
            assert!(pool.take(&way).is_none(), "talk: {talk}");
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
