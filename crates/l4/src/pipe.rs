//! Pipes for splice(2).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe is to hold: four times as much as by default, in as many more places.
const PIPE_BYTES: i32 = 256 * 1024;

/// Empty pipes, kept for the next use by one thread: a connection has one only while bytes are on their way, so ten
/// thousand idle connections hold none.
#[derive(Debug)]
pub struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    idle_max: usize,
}

/// An empty pipe, or one with bytes of the connection that has it.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
}

impl Pipe {
    /// Bytes in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes what `from` has, `most` bytes at most; 0: it has ended.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::WouldBlock`]: nothing is there, or the pipe is full.
    pub fn fill(&mut self, from: &TcpStream, most: usize) -> io::Result<usize> {
        let fill = || Ok(splice(from, None, &self.writer, None, most, flags())?);
        let bytes = from.try_io(Interest::READABLE, fill)?;
        self.held += bytes;
        Ok(bytes)
    }

    /// Gives `to` what the pipe holds, as far as it takes it.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::WouldBlock`]: it takes nothing now.
    pub fn empty(&mut self, to: &TcpStream) -> io::Result<usize> {
        let empty = || Ok(splice(&self.reader, None, to, None, self.held, flags())?);
        let bytes = to.try_io(Interest::WRITABLE, empty)?;
        self.held = self.held.saturating_sub(bytes);
        Ok(bytes)
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

impl Pipes {
    /// Keeps at most `idle_max`.
    pub fn new(idle_max: usize) -> Self {
        Self { idle: RefCell::default(), idle_max }
    }

    /// An empty one.
    ///
    /// # Errors
    /// The system's: no descriptor is left.
    pub fn take(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.idle.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Segments that nothing joined fill a place each; one that may not grow is slower.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(Pipe { reader, writer, held: 0 })
    }

    /// Takes back a pipe; one that still holds bytes of its connection is closed with them.
    pub fn give(&self, pipe: Pipe) {
        let mut idle = self.idle.borrow_mut();
        if pipe.held == 0 && idle.len() < self.idle_max {
            idle.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pipes_are_kept_as_there_may_be() {
        let pipes = Pipes::new(1);
        let (one, other) = (pipes.take().unwrap(), pipes.take().unwrap());
        pipes.give(one);
        pipes.give(other);
        assert_eq!(pipes.idle.borrow().len(), 1);
        assert!(pipes.take().is_ok() && pipes.idle.borrow().is_empty());
    }
}
