//! What carries requests: TCP, TLS over it, a stream of HTTP/2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A client's side of a connection.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Makes closing it reset the connection, so that the client cannot take half a response for a whole one.
    fn reset_on_close(&mut self);

    /// Whether the end of the stream must be said before it is closed.
    fn says_goodbye(&self) -> bool {
        false
    }

    /// Bytes that left since the last call, although writes had taken them before: a client that takes them does not stall.
    fn take_sent(&mut self) -> usize {
        0
    }

    /// The socket, where what is written goes out as it is.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    /// Whether it is one of many streams on a connection of HTTP/2.
    fn is_http2(&self) -> bool {
        false
    }

    /// Ready when the client has said that it wants no answer any more, while its request is under way: streams can tell.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// The same while nothing is read or written, when connections can tell too: by a reset. An end of what the client sends is
    /// none: who has sent all may wait for the answer (RFC 9293 section 3.6, a half-closed connection), and one who has left
    /// looks the same until something is sent to it.
    async fn gone(&mut self) {
        std::future::poll_fn(|cx| self.poll_gone(cx)).await;
    }
}

impl Transport for TcpStream {
    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn reset_on_close(&mut self) {
        // Should it fail, the connection closes in the ordinary way.
        let _ = socket2::SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }

    async fn gone(&mut self) {
        // Fails only where the runtime ends, and with it the connection.
        let _ = self.ready(Interest::ERROR).await;
    }
}

impl<S: Transport> Transport for tls::ServerStream<S> {
    fn reset_on_close(&mut self) {
        self.get_mut().0.reset_on_close();
    }

    /// Without close_notify an end could be an attacker's (RFC 8446 section 6.1).
    fn says_goodbye(&self) -> bool {
        true
    }

    async fn gone(&mut self) {
        self.get_mut().0.gone().await;
    }
}

impl Transport for http2::ServerStream {
    fn reset_on_close(&mut self) {
        self.reset();
    }

    fn take_sent(&mut self) -> usize {
        self.take_sent()
    }

    fn is_http2(&self) -> bool {
        true
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(cx)
    }
}

/// A stream with bytes that were read from it already.
pub(crate) struct Rewound<S> {
    stream: S,
    read: BytesMut,
}

impl<S> Rewound<S> {
    pub(crate) fn new(stream: S, read: BytesMut) -> Self {
        Self { stream, read }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let size = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..size]);
        self.read.advance(size);
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
