//! Behind a 101: bytes in both directions, whatever they mean (RFC 9110 section 7.8).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Exchange, Failure};
use crate::io::{poll_read, poll_write_both};
use crate::transport::Transport;
use crate::worker::Worker;

const READ_BYTES: usize = 16 * 1024;

/// How far each direction has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tunnel {
    to_endpoint: Way,
    to_client: Way,
}

/// One direction. It ends by itself: who has said all may still listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Open,
    /// The sender has ended; the receiver is to hear of it.
    Ending,
    Over,
}

/// Which side of a direction broke.
enum Broken {
    Sender,
    Receiver,
}

impl<S: Transport> Exchange<'_, S> {
    /// Moves bytes on in both directions; ready when both have ended.
    pub(super) fn poll_tunnel(
        &mut self,
        cx: &mut Context<'_>,
        tunnel: &mut Tunnel,
    ) -> Poll<Result<(), Failure>> {
        let (down, up) = (&mut *self.down, &mut *self.up);
        let mut sent = 0;
        let to_endpoint = Pass {
            worker: self.worker,
            from: &mut down.stream,
            read: &mut down.read,
            to: &mut up.stream,
            moved: &mut sent,
        };
        let sending = to_endpoint.poll(cx, &mut tunnel.to_endpoint);
        let mut answered = 0;
        let to_client = Pass {
            worker: self.worker,
            from: &mut up.stream,
            read: &mut up.read,
            to: &mut down.stream,
            moved: &mut answered,
        };
        let answering = to_client.poll(cx, &mut tunnel.to_client);
        self.moved += sent + answered;
        self.bytes_down += answered as u64;
        match (sending, answering) {
            (Poll::Ready(Err(Broken::Sender)), _) | (_, Poll::Ready(Err(Broken::Receiver))) => {
                Poll::Ready(Err(Failure::ClientGone))
            }
            (Poll::Ready(Err(Broken::Receiver)), _) | (_, Poll::Ready(Err(Broken::Sender))) => {
                Poll::Ready(Err(Failure::BrokenOff))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

/// A step of one direction.
struct Pass<'p, A, B> {
    worker: &'p Worker,
    from: &'p mut A,
    read: &'p mut BytesMut,
    to: &'p mut B,
    /// Bytes that left.
    moved: &'p mut usize,
}

impl<A: AsyncRead + Unpin, B: AsyncWrite + Unpin> Pass<'_, A, B> {
    /// Moves bytes on as far as it goes; ready when the receiver knows of the end. A direction in which nothing moves holds no
    /// buffer: most tunnels are quiet most of the time.
    fn poll(self, cx: &mut Context<'_>, way: &mut Way) -> Poll<Result<(), Broken>> {
        let Self { worker, from, read, to, moved } = self;
        loop {
            match way {
                Way::Over => return Poll::Ready(Ok(())),
                Way::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| Broken::Receiver)?;
                    *way = Way::Over;
                }
                Way::Open => {
                    let (mut none, mut pending) = (BytesMut::new(), read.len());
                    let written = poll_write_both(to, cx, &mut none, read, &mut pending, |_| {}, moved);
                    ready!(written).map_err(|_| Broken::Receiver)?;
                    if read.capacity() == 0 {
                        *read = worker.take_buffer();
                    }
                    match poll_read(from, cx, read, READ_BYTES) {
                        Poll::Pending => {
                            worker.return_buffer(std::mem::take(read));
                            ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Broken::Receiver)?;
                            return Poll::Pending;
                        }
                        Poll::Ready(Ok(0)) => *way = Way::Ending,
                        Poll::Ready(Ok(_)) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Sender)),
                    }
                }
            }
        }
    }
}
