//! TCP to an endpoint, as those see it who do not own it.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection below TLS or HTTP/2: what the endpoint's TCP has acknowledged stays to be asked when those have failed.
#[derive(Clone)]
pub(crate) struct Socket(Rc<Inner>);

struct Inner {
    stream: TcpStream,
    written: Cell<u64>,
}

impl Socket {
    /// A connection that `written` bytes were written to.
    pub(crate) fn new(stream: TcpStream, written: u64) -> Self {
        Self(Rc::new(Inner { stream, written: Cell::new(written) }))
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.0.stream
    }

    /// Bytes written since it was opened.
    pub(crate) fn written(&self) -> u64 {
        self.0.written.get()
    }
}

/// Whether the endpoint's TCP has acknowledged any of the bytes written after the first `written_before`.
///
/// `tcpi_bytes_acked` (RFC 4898 tcpEStatsAppHCThruOctetsAcked, `tcp_info` since Linux 4.1) counts the SYN as one.
/// When in doubt the answer is yes: a request that may have been taken must not be sent twice.
pub(crate) fn has_acknowledged_since(stream: &TcpStream, written_before: u64) -> bool {
    match bytes_acked(stream) {
        Some(acked) => acked > written_before + 1,
        None => true,
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

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &self.0.stream;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buf) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(cx))?;
            match write(&self.0.stream) {
                Ok(size) => {
                    self.0.written.set(self.written() + size as u64);
                    return Poll::Ready(Ok(size));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&self.0.stream).shutdown(std::net::Shutdown::Write))
    }
}
