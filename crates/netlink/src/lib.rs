//! Netlink (netlink(7)): one question and its answer at a time, lists, requests, and news.
//!
//! Sockets belong to the network namespace of the thread that opens them. What messages mean is others' business.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

const HEADER_LENGTH: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Flags in an attribute's type: nested, byte order.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
/// More than any single message.
const MESSAGE_MAX: usize = 32 * 1024;

/// A socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// For questions.
    ///
    /// # Errors
    ///
    /// The kernel's answer to opening a socket.
    pub fn open(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(protocol))?;
        Ok(Self(fd))
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
        let mut answer = vec![0; MESSAGE_MAX];
        let received = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let message = answer.get(..received).and_then(parse).ok_or(io::ErrorKind::InvalidData)?;
        match message {
            (NLMSG_ERROR, body) => Err(failure(body)),
            (_, body) => Ok(body.to_vec()),
        }
    }

    /// Sends one request for a list and returns the bodies of its entries.
    ///
    /// # Errors
    ///
    /// The kernel's answer, such as EPERM.
    pub fn dump(&self, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.request(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
        let mut entries = Vec::new();
        let mut answer = vec![0; MESSAGE_MAX];
        loop {
            let received = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            let mut rest = answer.get(..received).unwrap_or_default();
            while !rest.is_empty() {
                let (kind, body) = parse(rest).ok_or(io::ErrorKind::InvalidData)?;
                match kind {
                    NLMSG_ERROR => return Err(failure(body)),
                    // An error that cut the list short stands in it.
                    NLMSG_DONE if body.get(..4).is_some_and(|code| code != [0; 4]) => {
                        return Err(failure(body));
                    }
                    NLMSG_DONE => return Ok(entries),
                    _ => entries.push(body.to_vec()),
                }
                let length = (HEADER_LENGTH + body.len()).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }

    /// Has something done, and waits until it is. `flags` are those of the request (`NLM_F_CREATE`, ...).
    ///
    /// # Errors
    ///
    /// The kernel's answer, such as EEXIST or EPERM.
    pub fn act(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.request(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)?;
        let mut answer = vec![0; MESSAGE_MAX];
        let received = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        match answer.get(..received).and_then(parse) {
            Some((NLMSG_ERROR, body)) if body.get(..4) == Some(&[0; 4]) => Ok(()),
            Some((NLMSG_ERROR, body)) => Err(failure(body)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn request(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let mut request = Vec::with_capacity(HEADER_LENGTH + body.len());
        request.extend(u32::try_from(HEADER_LENGTH + body.len()).map_err(io::Error::other)?.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(flags.to_ne_bytes());
        request.extend([0; 8]); // sequence and port: one request at a time
        request.extend(body);
        send(self.0.as_raw_fd(), &request, MsgFlags::empty())?;
        Ok(())
    }
}

/// Kind and body of the first message.
fn parse(message: &[u8]) -> Option<(u16, &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(message.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    Some((kind, message.get(HEADER_LENGTH..length)?))
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
    use super::*;

    const SOME: u16 = 4;

    #[test]
    fn broken_attributes_are_nothing() {
        for broken in [&[][..], &[0; 8], &[255, 255, 4, 0], &[4, 0, 9], &[3, 0, 4, 0]] {
            assert_eq!(attribute(broken, SOME), None, "{broken:?}");
        }
    }
}
