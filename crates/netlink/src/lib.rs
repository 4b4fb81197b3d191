//! Netlink (netlink(7)): one question and its answer at a time, lists, requests, and news.
//!
//! Sockets belong to the network namespace of the thread that opens them. What messages mean is others' business.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// include/uapi/asm-generic/errno-base.h.
const EINTR: i32 = 4;
const HEADER_LENGTH: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Flags in an attribute's type: nested, byte order.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
/// More than any single message.
const MESSAGE_MAX: usize = 32 * 1024;

/// So often a list is asked for that changes while it is read.
const DUMPS_MAX: u32 = 8;

/// A socket in the network namespace of the thread that opened it. For one request at a time.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    /// Of the last request: what is left of the answer to an earlier one that failed is known by another.
    sequence: AtomicU32,
}

/// A message: its header's parts, and what follows them.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Socket {
    /// For questions.
    ///
    /// # Errors
    ///
    /// The kernel's answer to opening a socket.
    pub fn open(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(protocol))?;
        Ok(Self::of(fd))
    }

    /// For news of these groups (`RTMGRP_*`); does not block.
    ///
    /// # Errors
    ///
    /// The kernel's answer to opening a socket, or to joining the groups.
    pub fn listen(protocol: SockProtocol, groups: u32) -> io::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, Some(protocol))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(fd)
    }

    /// Sends one request and returns the body of its answer, of which there must be one.
    ///
    /// # Errors
    ///
    /// The kernel's answer, such as ENETUNREACH for a route that there is not.
    pub fn ask(&self, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        self.request(kind, NLM_F_REQUEST, body)?;
        self.answers(|message| match message.kind {
            NLMSG_ERROR => Err(failure(message.body)),
            _ => Ok(Some(message.body.to_vec())),
        })
    }

    /// Sends one request for a list and returns the bodies of its entries.
    ///
    /// # Errors
    ///
    /// The kernel's answer, such as EPERM, or EINTR for a list that changed each time while it was read.
    pub fn dump(&self, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..DUMPS_MAX {
            if let Some(entries) = self.dump_once(kind, body)? {
                return Ok(entries);
            }
        }
        Err(io::Error::from_raw_os_error(EINTR))
    }

    /// Nothing: the list changed while it was read, so that entries may be missing.
    fn dump_once(&self, kind: u16, body: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
        self.request(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
        let mut entries = Vec::new();
        let mut is_whole = true;
        self.answers(|message| {
            is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.kind {
                NLMSG_ERROR => return Err(failure(message.body)),
                // An error that cut the list short stands in it.
                NLMSG_DONE if message.body.get(..4).is_some_and(|code| code != [0; 4]) => {
                    return Err(failure(message.body));
                }
                NLMSG_DONE => return Ok(Some(())),
                _ => entries.push(message.body.to_vec()),
            }
            Ok(None)
        })?;
        Ok(is_whole.then_some(entries))
    }

    /// Has something done, and waits until it is. `flags` are those of the request (`NLM_F_CREATE`, ...).
    ///
    /// # Errors
    ///
    /// The kernel's answer, such as EEXIST or EPERM.
    pub fn act(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.request(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)?;
        self.answers(|message| match message.kind {
            NLMSG_ERROR if message.body.get(..4) == Some(&[0; 4]) => Ok(Some(())),
            NLMSG_ERROR => Err(failure(message.body)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        })
    }

    fn of(fd: OwnedFd) -> Self {
        Self { fd, sequence: AtomicU32::new(0) }
    }

    /// Takes in the answers to the last request, until `take` has what it wants of them.
    fn answers<T>(&self, mut take: impl FnMut(Message<'_>) -> io::Result<Option<T>>) -> io::Result<T> {
        let sequence = self.sequence.load(Ordering::Relaxed);
        let mut answer = vec![0; MESSAGE_MAX];
        loop {
            let received = recv(self.fd.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            let mut rest = answer.get(..received).unwrap_or_default();
            if rest.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            while !rest.is_empty() {
                let message = parse(rest).ok_or(io::ErrorKind::InvalidData)?;
                let length = (HEADER_LENGTH + message.body.len()).next_multiple_of(4);
                if message.sequence == sequence
                    && let Some(taken) = take(message)?
                {
                    return Ok(taken);
                }
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }

    fn request(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let mut request = Vec::with_capacity(HEADER_LENGTH + body.len());
        request.extend(u32::try_from(HEADER_LENGTH + body.len()).map_err(io::Error::other)?.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(flags.to_ne_bytes());
        let sequence = self.sequence.load(Ordering::Relaxed).wrapping_add(1);
        self.sequence.store(sequence, Ordering::Relaxed);
        request.extend(sequence.to_ne_bytes());
        request.extend([0; 4]); // port: the kernel's
        request.extend(body);
        send(self.fd.as_raw_fd(), &request, MsgFlags::empty())?;
        Ok(())
    }
}

/// The first message.
fn parse(message: &[u8]) -> Option<Message<'_>> {
    let length = usize::try_from(u32::from_ne_bytes(message.get(..4)?.try_into().ok()?)).ok()?;
    Some(Message {
        kind: u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?),
        flags: u16::from_ne_bytes(message.get(6..8)?.try_into().ok()?),
        sequence: u32::from_ne_bytes(message.get(8..12)?.try_into().ok()?),
        body: message.get(HEADER_LENGTH..length)?,
    })
}

/// The error that a message begins with.
fn failure(body: &[u8]) -> io::Error {
    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    io::Error::from_raw_os_error(-code)
}

/// Appends an attribute.
pub fn push_attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// The value of the first attribute of that type.
pub fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?) & ATTRIBUTE_TYPE_MASK;
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::socketpair;

    use super::*;

    const SOME: u16 = 4;

    const ENTRY: u16 = 20;

    /// A socket, and who is the kernel to it.
    fn pair() -> (Socket, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (socket, kernel) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        (Socket::of(socket), kernel)
    }

    fn say(kernel: &OwnedFd, kind: u16, flags: u16, sequence: u32, body: &[u8]) {
        let length = u32::try_from(HEADER_LENGTH + body.len()).unwrap().to_ne_bytes();
        let (kind, flags) = (kind.to_ne_bytes(), flags.to_ne_bytes());
        let message = [&length[..], &kind, &flags, &sequence.to_ne_bytes(), &[0; 4], body].concat();
        send(kernel.as_raw_fd(), &message, MsgFlags::empty()).unwrap();
    }

    #[test]
    fn what_is_left_of_an_earlier_answer_is_passed_over() {
        let (socket, kernel) = pair();
        say(&kernel, NLMSG_ERROR, 0, 1, &(-1i32).to_ne_bytes());
        let refused = socket.act(SOME, 0, &[]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        // A second answer to the first request, and then those to the next three.
        for sequence in [1, 2] {
            say(&kernel, NLMSG_ERROR, 0, sequence, &[if sequence == 1 { 255 } else { 0 }; 4]);
        }
        socket.act(SOME, 0, &[]).unwrap();
        say(&kernel, ENTRY, 0, 2, b"old");
        say(&kernel, NLMSG_DONE, 0, 2, &[0; 4]);
        say(&kernel, ENTRY, 0, 3, b"entry");
        say(&kernel, NLMSG_DONE, 0, 3, &[0; 4]);
        assert_eq!(socket.dump(SOME, &[]).unwrap(), [b"entry"]);
        say(&kernel, ENTRY, 0, 3, b"old");
        say(&kernel, ENTRY, 0, 4, b"new");
        assert_eq!(socket.ask(SOME, &[]).unwrap(), b"new");
    }

    #[test]
    fn a_list_that_changes_while_it_is_read_is_asked_for_again() {
        let (socket, kernel) = pair();
        say(&kernel, ENTRY, NLM_F_DUMP_INTR, 1, b"part");
        say(&kernel, NLMSG_DONE, 0, 1, &[0; 4]);
        say(&kernel, ENTRY, 0, 2, b"entry");
        say(&kernel, NLMSG_DONE, NLM_F_DUMP_INTR, 2, &[0; 4]);
        say(&kernel, ENTRY, 0, 3, b"whole");
        say(&kernel, NLMSG_DONE, 0, 3, &[0; 4]);
        assert_eq!(socket.dump(SOME, &[]).unwrap(), [b"whole"]);
        for sequence in 4..4 + DUMPS_MAX {
            say(&kernel, NLMSG_DONE, NLM_F_DUMP_INTR, sequence, &[0; 4]);
        }
        assert_eq!(socket.dump(SOME, &[]).unwrap_err().kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn broken_attributes_are_nothing() {
        for broken in [&[][..], &[0; 8], &[255, 255, 4, 0], &[4, 0, 9], &[3, 0, 4, 0]] {
            assert_eq!(attribute(broken, SOME), None, "{broken:?}");
        }
    }
}
