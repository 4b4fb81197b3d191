//! Pipes for splice(2).

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe is to hold: four times as much as by default, in as many more places.
const PIPE_BYTES: i32 = 256 * 1024;

/// The pipes of one thread: a connection has one only while bytes are on their way, so ten thousand idle connections hold
/// none, and ten thousand that wait for slow readers no more than the bound. Those without one copy.
#[derive(Debug)]
pub struct Pipes {
    idle: RefCell<Vec<Ends>>,
    idle_max: usize,
    used_max: usize,
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// What pipes in use have to do with where they come from.
#[derive(Debug)]
struct Shared {
    used: Cell<usize>,
    is_unsupported: Cell<bool>,
    on_unsupported: fn(&io::Error),
}

/// Counts a pipe in use, for as long as it is.
#[derive(Debug)]
struct Use(Rc<Shared>);

impl Drop for Use {
    fn drop(&mut self) {
        self.0.used.set(self.0.used.get().saturating_sub(1));
    }
}

/// An empty pipe, or one with bytes of the connection that has it.
#[derive(Debug)]
pub struct Pipe {
    ends: Ends,
    held: usize,
    counted: Use,
}

impl Pipe {
    /// Bytes in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes what `from` has, `most` bytes at most; 0: it has ended.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::WouldBlock`]: nothing is there, or the pipe is full; [`ErrorKind::Unsupported`]: the pipe
    /// is empty, and the system does not let this process splice. No pipe is had from then on.
    pub fn fill(&mut self, from: &TcpStream, most: usize) -> io::Result<usize> {
        let fill = || Ok(splice(from, None, &self.ends.writer, None, most, flags())?);
        match from.try_io(Interest::READABLE, fill) {
            Ok(bytes) => {
                self.held += bytes;
                Ok(bytes)
            }
            Err(error) if self.held == 0 && is_refusal(&error) => {
                let shared = &self.counted.0;
                if !shared.is_unsupported.replace(true) {
                    (shared.on_unsupported)(&error);
                }
                Err(ErrorKind::Unsupported.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives `to` what the pipe holds, as far as it takes it.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::WouldBlock`]: it takes nothing now.
    pub fn empty(&mut self, to: &TcpStream) -> io::Result<usize> {
        let empty = || Ok(splice(&self.ends.reader, None, to, None, self.held, flags())?);
        let bytes = to.try_io(Interest::WRITABLE, empty)?;
        self.held = self.held.saturating_sub(bytes);
        Ok(bytes)
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

/// Whether the system has no splice(2), or not for this process or these sockets: sandboxes answer so.
fn is_refusal(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EPERM | Errno::ENOSYS | Errno::EINVAL))
}

impl Pipes {
    /// At most `used_max` are in use at once, and at most `idle_max` kept for the next use; each is two descriptors and 256 KiB
    /// of the kernel's memory at most. `on_unsupported` is called once if the system refuses to splice, with its reason.
    pub fn new(used_max: usize, idle_max: usize, on_unsupported: fn(&io::Error)) -> Self {
        let shared = Shared { used: Cell::new(0), is_unsupported: Cell::new(false), on_unsupported };
        Self { idle: RefCell::default(), idle_max, used_max, shared: Rc::new(shared) }
    }

    /// An empty one.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]: as many as may be are in use; [`ErrorKind::Unsupported`]: the system does not splice;
    /// the system's: no descriptor is left. Bytes are to be copied then.
    pub fn take(&self) -> io::Result<Pipe> {
        if self.shared.is_unsupported.get() {
            return Err(ErrorKind::Unsupported.into());
        }
        let used = self.shared.used.get();
        if used >= self.used_max {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        let idle = self.idle.borrow_mut().pop();
        let ends = idle.map_or_else(Ends::open, Ok)?;
        self.shared.used.set(used + 1);
        Ok(Pipe { ends, held: 0, counted: Use(self.shared.clone()) })
    }

    /// Takes back a pipe; one that still holds bytes of its connection is closed with them.
    pub fn give(&self, pipe: Pipe) {
        let mut idle = self.idle.borrow_mut();
        if pipe.held == 0 && idle.len() < self.idle_max {
            idle.push(pipe.ends);
        }
    }
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Segments that nothing joined fill a place each; one that may not grow is slower.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(Self { reader, writer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pipes_are_kept_as_there_may_be() {
        let pipes = Pipes::new(2, 1, |_| {});
        let (one, other) = (pipes.take().unwrap(), pipes.take().unwrap());
        pipes.give(one);
        pipes.give(other);
        assert_eq!(pipes.idle.borrow().len(), 1);
        assert!(pipes.take().is_ok() && pipes.idle.borrow().is_empty());
    }

    #[test]
    fn no_more_pipes_are_in_use_than_there_may_be() {
        let pipes = Pipes::new(2, 2, |_| {});
        for _ in 0..3 {
            let (one, other) = (pipes.take().unwrap(), pipes.take().unwrap());
            assert_eq!(pipes.take().unwrap_err().kind(), ErrorKind::QuotaExceeded);
            pipes.give(one);
            let again = pipes.take().unwrap();
            assert_eq!(pipes.take().unwrap_err().kind(), ErrorKind::QuotaExceeded);
            // Given back, or closed with its connection: it is free.
            pipes.give(again);
            drop(other);
        }
    }
}
