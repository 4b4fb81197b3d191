//! Connections to endpoints, and the pool of idle ones that each thread keeps.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::endpoint::Endpoint;

/// A connection to an endpoint.
pub(crate) struct Upstream {
    pub(crate) stream: TcpStream,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Bytes that came and are not yet taken.
    pub(crate) read: BytesMut,
    /// Bytes written since it was opened.
    pub(crate) written: u64,
    /// Whether it has served a request before this one.
    pub(crate) is_reused: bool,
    idle_since: Instant,
}

impl Upstream {
    pub(crate) async fn connect(endpoint: Arc<Endpoint>) -> io::Result<Self> {
        let stream = TcpStream::connect(endpoint.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            endpoint,
            read: BytesMut::new(),
            written: 0,
            is_reused: false,
            idle_since: Instant::now(),
        })
    }

    /// Whether the endpoint's TCP has acknowledged any of the bytes written after the first `written_before`.
    ///
    /// `tcpi_bytes_acked` (RFC 4898 tcpEStatsAppHCThruOctetsAcked, `tcp_info` since Linux 4.1) counts the SYN as one.
    /// When in doubt the answer is yes: a request that may have been taken must not be sent twice.
    pub(crate) fn has_acknowledged_since(&self, written_before: u64) -> bool {
        match bytes_acked(&self.stream) {
            Some(acked) => acked > written_before + 1,
            None => true,
        }
    }

    /// Whether it can carry another request: open, and without bytes that nobody asked for.
    fn is_quiet(&self) -> bool {
        let mut byte = [0];
        self.read.is_empty()
            && matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn bytes_acked(stream: &TcpStream) -> Option<u64> {
    // SAFETY: tcp_info is plain integers, for which zero is valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the descriptor is open while `stream` lives; the kernel writes at most `length` bytes into `info`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    let end = std::mem::offset_of!(libc::tcp_info, tcpi_bytes_acked) + size_of::<u64>();
    (result == 0 && length as usize >= end).then_some(info.tcpi_bytes_acked)
}

/// Idle connections by endpoint, the youngest taken first.
pub(crate) struct Pool {
    idle: HashMap<SocketAddr, Vec<Upstream>>,
    idle_max: usize,
}

impl Pool {
    /// Keeps at most `idle_max` connections for each endpoint.
    pub(crate) fn new(idle_max: usize) -> Self {
        Self { idle: HashMap::new(), idle_max }
    }

    /// An idle connection that is still good.
    pub(crate) fn take(&mut self, address: &SocketAddr) -> Option<Upstream> {
        let idle = self.idle.get_mut(address)?;
        while let Some(mut upstream) = idle.pop() {
            if upstream.is_quiet() {
                upstream.is_reused = true;
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended.
    pub(crate) fn put(&mut self, mut upstream: Upstream) {
        let idle = self.idle.entry(upstream.endpoint.address).or_default();
        if idle.len() < self.idle_max && upstream.read.is_empty() {
            upstream.idle_since = Instant::now();
            // An idle connection holds no buffer: ten thousand of them must not hold ten thousand buffers.
            upstream.read = BytesMut::new();
            idle.push(upstream);
        }
    }

    /// Closes what one endpoint has: after it broke one connection the others are likely stale.
    pub(crate) fn forget(&mut self, address: &SocketAddr) {
        self.idle.remove(address);
    }

    /// Closes what is idle since before `oldest`, what the endpoint closed, and what `keep` does not know any more.
    pub(crate) fn sweep(&mut self, oldest: Instant, keep: impl Fn(&SocketAddr) -> bool) {
        self.idle.retain(|address, idle| {
            if !keep(address) {
                return false;
            }
            idle.retain(|upstream| upstream.idle_since >= oldest && upstream.is_quiet());
            !idle.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Upstream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Arc::new(Endpoint::new(listener.local_addr().unwrap(), 1));
        let upstream = Upstream::connect(endpoint).await.unwrap();
        (upstream, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_connection_comes_back_once_and_is_marked_as_reused() {
        let (upstream, _peer) = pair().await;
        let address = upstream.endpoint.address;
        let mut pool = Pool::new(1);
        pool.put(upstream);
        assert!(pool.take(&address).is_some_and(|u| u.is_reused));
        assert!(pool.take(&address).is_none());
    }

    #[tokio::test]
    async fn closed_and_talkative_connections_are_not_reused() {
        for talk in [false, true] {
            let (upstream, mut peer) = pair().await;
            let address = upstream.endpoint.address;
            let mut pool = Pool::new(8);
            if talk {
                peer.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
            } else {
                peer.shutdown().await.unwrap();
            }
            upstream.stream.readable().await.unwrap();
            pool.put(upstream);
            assert!(pool.take(&address).is_none(), "talk: {talk}");
        }
    }

    #[tokio::test]
    async fn a_sweep_closes_the_old_and_the_unknown() {
        let (upstream, mut peer) = pair().await;
        let address = upstream.endpoint.address;
        let mut pool = Pool::new(8);
        pool.put(upstream);
        pool.sweep(Instant::now() - std::time::Duration::from_secs(5), |_| true);
        assert_eq!(pool.idle.len(), 1);
        pool.sweep(Instant::now() - std::time::Duration::from_secs(5), |a| *a != address);
        assert_eq!(pool.idle.len(), 0);
        assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0, "closed");
    }

    #[tokio::test]
    async fn acknowledgement_is_told_by_the_kernel() {
        let (mut upstream, _peer) = pair().await;
        assert!(!upstream.has_acknowledged_since(0));
        upstream.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let deadline = Instant::now() + std::time::Duration::from_secs(5);
        while !upstream.has_acknowledged_since(0) && Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        assert!(upstream.has_acknowledged_since(0));
        assert!(!upstream.has_acknowledged_since(18));
    }
}
