use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::{ServerConfig, ServerStream};

/// More bytes than any client needs to say what it wants, post-quantum key shares included.
const HELLO_BYTES_MAX: usize = 64 * 1024;

/// A fatal `unrecognized_name` alert in a plaintext record (RFC 8446 section 6, RFC 6066 section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What a client said first, and its connection.
pub struct Hello<S> {
    accepted: Accepted,
    io: S,
    bytes: Vec<u8>,
    server_name: Option<String>,
}

/// Reads a ClientHello from `io`.
///
/// # Errors
/// The client is gone (`UnexpectedEof` and others), or what it says is no TLS (`InvalidData`; it has got an alert).
pub async fn hello<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> io::Result<Hello<S>> {
    let recording = Recording { io, bytes: Vec::new() };
    let start = LazyConfigAcceptor::new(Acceptor::default(), recording).await?;
    let server_name = start.client_hello().server_name().map(str::to_ascii_lowercase);
    let Recording { io, bytes } = start.io;
    Ok(Hello { accepted: start.accepted, io, bytes, server_name })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Hello<S> {
    /// The name that the client asks for, in lower case.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Ends TLS here, as `config` says.
    ///
    /// # Errors
    /// The handshake failed; the client has been told why, or is gone.
    pub async fn accept(self, config: &ServerConfig) -> io::Result<ServerStream<S>> {
        StartHandshake::from_parts(self.accepted, self.io).into_stream(config.config.clone()).await
    }

    /// Tells the client that its name is not served here, and closes.
    pub async fn refuse(mut self) {
        // A client that is gone need not be told.
        let _ = self.io.write_all(&UNRECOGNIZED_NAME).await;
        let _ = self.io.shutdown().await;
    }

    /// The connection and the bytes that were read from it, to pass both on untouched.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.io, self.bytes)
    }
}

/// Keeps what is read.
struct Recording<S> {
    io: S,
    bytes: Vec<u8>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Recording<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.len() > HELLO_BYTES_MAX {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a ClientHello without end")));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.bytes.extend_from_slice(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recording<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
