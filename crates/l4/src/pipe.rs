//! Pipes for splice(2).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// Empty pipes, kept for the next use by one thread: a connection has one only while bytes are on their way, so ten
/// thousand idle connections hold none.
#[derive(Debug)]
pub struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    idle_max: usize,
}

/// An empty pipe, or one with bytes of the connection that has it.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) reader: OwnedFd,
    pub(crate) writer: OwnedFd,
}

impl Pipes {
    /// Keeps at most `idle_max`.
    pub fn new(idle_max: usize) -> Self {
        Self { idle: RefCell::default(), idle_max }
    }

    pub(crate) fn take(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.idle.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Pipe { reader, writer })
    }

    /// Takes back a pipe that is empty.
    pub(crate) fn give(&self, pipe: Pipe) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.idle_max {
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
