use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::io_error;
use crate::{Memory, ServerStream, Settings};

/// A client's connection.
pub struct Server<S> {
    connection: h2::server::Connection<S, Bytes>,
    limits: http1::Limits,
    memory: Memory,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// Exchanges prefaces over `io`. Streams keep what they can in `memory`, which others of the thread may have, too.
    ///
    /// # Errors
    /// The peer does not speak HTTP/2, or is gone.
    pub async fn handshake(
        io: S,
        settings: &Settings,
        limits: &http1::Limits,
        memory: &Memory,
    ) -> io::Result<Self> {
        let connection = h2::server::Builder::new()
            .enable_connect_protocol()
            .max_concurrent_streams(settings.streams_max)
            .initial_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window)
            .max_send_buffer_size(settings.send_buffer_max)
            .max_header_list_size(settings.header_list_max)
            .max_pending_accept_reset_streams(settings.pending_reset_max)
            .max_local_error_reset_streams(Some(settings.error_reset_max))
            .reset_stream_duration(settings.reset_memory)
            .handshake(io)
            .await
            .map_err(io_error)?;
        Ok(Self { connection, limits: *limits, memory: memory.clone() })
    }

    /// The next request; none: the connection is over, in order. All of its streams move only while this is polled.
    ///
    /// # Errors
    /// The connection is over otherwise, and so are its streams.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<ServerStream>>> {
        self.connection.poll_accept(cx).map(|next| {
            Some(match next? {
                Ok((request, respond)) => Ok(ServerStream::new(request, respond, &self.limits, &self.memory)),
                Err(error) => Err(io_error(error)),
            })
        })
    }

    /// Ends the connection and all of its streams, and tells the client that it asks too much (ENHANCE_YOUR_CALM).
    pub fn calm(&mut self) {
        self.connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
    }

    /// Takes no new streams, tells the client so, and lets those under way finish (GOAWAY, RFC 9113 section 6.8).
    pub fn shut_down(&mut self) {
        self.connection.graceful_shutdown();
    }
}
