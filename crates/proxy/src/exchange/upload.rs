//! From the client to the endpoint.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http1::BodyError;
use tokio::io::AsyncWrite;

use super::{Download, Exchange, read_body_bytes};
use crate::io::{poll_read, poll_write_both};
use crate::transport::Transport;

/// Why the upload stopped.
pub(super) enum UploadError {
    Endpoint(io::Error),
    Client,
    Body(BodyError),
}

impl<S: Transport> Exchange<'_, S> {
    /// Sends the head, then body bytes as they come; ready when all are sent.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        loop {
            self.body.validate(&self.down.read).map_err(UploadError::Body)?;
            if !self.to_up.is_empty() || self.body.pending > 0 {
                if let Some(memory) = self.body.replay.wants_memory(self.body.pending) {
                    self.worker.lend_buffer(memory);
                }
                let before = self.moved;
                let (replay, taps) = (&mut self.body.replay, &self.body.taps);
                let written = poll_write_both(
                    &mut self.up.stream,
                    cx,
                    &mut self.to_up,
                    &mut self.down.read,
                    &mut self.body.pending,
                    |bytes| {
                        replay.record(bytes);
                        taps.iter().for_each(|tap| tap.copy(bytes));
                    },
                    &mut self.moved,
                );
                self.up.written += (self.moved - before) as u64;
                ready!(written).map_err(UploadError::Endpoint)?;
                continue;
            }
            // What is below may keep bytes back: TLS records, frames that wait for the endpoint's window.
            let flushed = Pin::new(&mut self.up.stream).poll_flush(cx).map_err(UploadError::Endpoint);
            if self.body.is_done() {
                return flushed;
            }
            if let Poll::Ready(Err(error)) = flushed {
                return Poll::Ready(Err(error));
            }
            self.worker.lend_buffer(&mut self.down.read);
            let size = read_body_bytes(self.down.stream.is_http2());
            match poll_read(&mut self.down.stream, cx, &mut self.down.read, size) {
                Poll::Pending => {
                    // A client that waits for 100 waits for the endpoint.
                    let is_its_turn =
                        !self.may_pause && (!self.waits_for_continue() || self.body.bytes() > 0);
                    self.waits_for_client = is_its_turn && matches!(self.download, Download::Head);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(UploadError::Client)),
                Poll::Ready(Ok(read)) => self.moved += read,
            }
        }
    }
}
