//! Large bodies of known length, from socket to socket: no byte of them is copied into userspace.

use std::io::ErrorKind;
use std::task::{Context, Poll, ready};

use super::{Download, Exchange, Failure};
use crate::transport::Transport;
use crate::upstream::Wire;

/// Bodies of which less is left are copied: two calls for a pipe cost more than that.
pub(super) const BYTES_MIN: u64 = 64 * 1024;
/// As much as a pipe of the thread holds.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks before others of the thread have their turn.
const TURNS: usize = 4;

/// How far splicing has come.
enum Spliced {
    All,
    /// The pipe is empty, and the system lets nothing into it.
    Refused,
}

impl<S: Transport> Exchange<'_, S> {
    /// Moves the body on, if both sides are plain sockets, there is a pipe and the system splices; what was read before has left.
    /// None: it is to be copied.
    pub(super) fn poll_splice(&mut self, cx: &mut Context<'_>) -> Option<Poll<Result<(), Failure>>> {
        let (Some(_), Wire::Tcp(_)) = (self.down.stream.plain(), &self.up.stream) else { return None };
        if self.pipe.is_none() {
            self.pipe = Some(self.worker.pipes.take().ok()?);
        }
        let passed = self.poll_turns(cx);
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.held() == 0) {
            // Who waits holds no pipe.
            self.worker.pipes.give(pipe);
        }
        match passed {
            Poll::Ready(Ok(Spliced::Refused)) => None,
            passed => Some(passed.map_ok(|_| ())),
        }
    }

    fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<Result<Spliced, Failure>> {
        let (Download::Body { body, .. }, Some(pipe)) = (&mut self.download, &mut self.pipe) else {
            return Poll::Ready(Ok(Spliced::Refused));
        };
        let (Some(to), Wire::Tcp(from)) = (self.down.stream.plain(), &self.up.stream) else {
            return Poll::Ready(Ok(Spliced::Refused));
        };
        for _ in 0..TURNS {
            while pipe.held() > 0 {
                match pipe.empty(to) {
                    Ok(0) => return Poll::Ready(Err(Failure::ClientGone)),
                    Ok(bytes) => {
                        body.pass(bytes as u64);
                        self.moved += bytes;
                        self.bytes_down += bytes as u64;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.waits_for_client = true;
                        ready!(to.poll_write_ready(cx)).map_err(|_| Failure::ClientGone)?;
                        self.waits_for_client = false;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return Poll::Ready(Err(Failure::ClientGone)),
                }
            }
            let left = body.length_left().unwrap_or(0);
            if left == 0 {
                return Poll::Ready(Ok(Spliced::All));
            }
            let most = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            match pipe.fill(from, most) {
                Ok(0) => return Poll::Ready(Err(Failure::BrokenOff)),
                Ok(bytes) => self.moved += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(from.poll_read_ready(cx)).map_err(|_| Failure::BrokenOff)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    return Poll::Ready(Ok(Spliced::Refused));
                }
                Err(_) => return Poll::Ready(Err(Failure::BrokenOff)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
