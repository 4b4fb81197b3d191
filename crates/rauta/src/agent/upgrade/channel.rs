//! Messages with descriptors over a unix socket that keeps them apart (SOCK_SEQPACKET).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    UnixCredentials, accept4, bind, connect, getsockopt, listen, recvmsg, sendmsg, setsockopt, socket,
    sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::TimeVal;
use nix::unistd::geteuid;

use super::Message;

/// Descriptors of a message; the system takes up to 253 (SCM_MAX_FD).
pub(super) const DESCRIPTORS_MAX: usize = 64;
/// Bytes of a message.
const BYTES_MAX: usize = 16 * 1024;
/// Whether somebody may speak for an agent of ours: our own user, or root.
pub(super) fn is_ours(who: &UnixCredentials) -> bool {
    who.uid() == geteuid().as_raw() || who.uid() == 0
}

/// How long the other side may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// One end of a conversation.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// Where conversations begin.
#[derive(Debug)]
pub(super) struct Door(OwnedFd);

impl Door {
    /// Listens at `path`, for this user alone. There must be nothing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let fd = seqpacket()?;
        // The file has the mode of the socket from the beginning (unix_bind_bsd, net/unix/af_unix.c).
        fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&fd, Backlog::new(1)?)?;
        Ok(Self(fd))
    }

    /// Waits for the next one, and who it is.
    pub(super) fn accept(&self) -> io::Result<(Channel, UnixCredentials)> {
        let fd = accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
        // SAFETY: accept4 has just made it, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let who = getsockopt(&fd, sockopt::PeerCredentials)?;
        Ok((Channel::new(fd)?, who))
    }
}

impl Channel {
    /// Begins a conversation with who listens at `path`; who it is.
    pub(super) fn connect(path: &Path) -> io::Result<(Self, UnixCredentials)> {
        let fd = seqpacket()?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        let who = getsockopt(&fd, sockopt::PeerCredentials)?;
        Ok((Self::new(fd)?, who))
    }

    fn new(fd: OwnedFd) -> io::Result<Self> {
        let patience = TimeVal::new(i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX), 0);
        setsockopt(&fd, sockopt::ReceiveTimeout, &patience)?;
        setsockopt(&fd, sockopt::SendTimeout, &patience)?;
        Ok(Self(fd))
    }

    /// Sends a message with at most [`DESCRIPTORS_MAX`] descriptors.
    pub(super) fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
        let flags = MsgFlags::MSG_NOSIGNAL;
        // A signal ends a wait that has a limit, whatever SA_RESTART says (signal(7)).
        while let Err(error) = sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&text)], rights, flags, None)
        {
            if error != Errno::EINTR {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// The next message; none: the other side is gone.
    pub(super) fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; BYTES_MAX];
        let mut space = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        let (length, descriptors, flags) = {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let fd = self.0.as_raw_fd();
            while let Err(Errno::EINTR) = recvmsg::<()>(fd, &mut [], None, MsgFlags::MSG_PEEK) {}
            let received = match recvmsg::<()>(fd, &mut slices, Some(&mut space), flags) {
                Err(Errno::ECONNRESET) => return Ok(None),
                received => received?,
            };
            let mut descriptors = Vec::new();
            for control in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(raw) = control {
                    // SAFETY: the system has just put them into this process, and nobody else knows them.
                    descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
            (received.bytes, descriptors, received.flags)
        };
        if length == 0 {
            return Ok(None);
        }
        if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
        }
        let text = bytes.get(..length).unwrap_or_default();
        Ok(Some((serde_json::from_slice(text)?, descriptors)))
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::super::Purpose;
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_as_they_were_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let door = Door::open(&path).unwrap();
        let (new, _) = Channel::connect(&path).unwrap();
        let (old, who) = door.accept().unwrap();
        assert_eq!(who.pid().unsigned_abs(), std::process::id());
        let (mut read, mut write) = std::io::pipe().unwrap();
        let sockets = Message::Sockets { sockets: vec![Purpose::Control], more: true };
        old.send(&sockets, &[write.as_fd()]).unwrap();
        old.send(&Message::Released, &[]).unwrap();
        let (first, descriptors) = new.receive().unwrap().unwrap();
        assert!(matches!(first, Message::Sockets { sockets, more: true } if sockets == [Purpose::Control]));
        write.write_all(b"a").unwrap();
        std::fs::File::from(descriptors.into_iter().next().unwrap()).write_all(b"b").unwrap();
        let mut both = [0; 2];
        read.read_exact(&mut both).unwrap();
        assert_eq!(&both, b"ab");
        assert!(matches!(new.receive().unwrap(), Some((Message::Released, none)) if none.is_empty()));
        drop(old);
        assert!(new.receive().unwrap().is_none());
    }
}
