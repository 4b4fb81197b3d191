//! Netlink (netlink(7)): one question and its answer at a time, and news.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

const HEADER_LENGTH: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Flags in an attribute's type: nested, byte order.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
/// More than any single message.
const MESSAGE_MAX: usize = 32 * 1024;

/// A socket in the network namespace of the thread that opened it.
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// For questions.
    pub(crate) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(protocol))?;
        Ok(Self(fd))
    }

    /// For news of these groups (`RTMGRP_*`); does not block.
    pub(crate) fn listen(protocol: SockProtocol, groups: u32) -> io::Result<OwnedFd> {
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
    pub(crate) fn ask(&self, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut request = Vec::with_capacity(HEADER_LENGTH + body.len());
        request.extend(u32::try_from(HEADER_LENGTH + body.len()).map_err(io::Error::other)?.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(NLM_F_REQUEST.to_ne_bytes());
        request.extend([0; 8]); // sequence and port: one request at a time
        request.extend(body);
        send(self.0.as_raw_fd(), &request, MsgFlags::empty())?;

        let mut answer = vec![0; MESSAGE_MAX];
        let received = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let message = answer.get(..received).and_then(parse).ok_or(io::ErrorKind::InvalidData)?;
        match message {
            (NLMSG_ERROR, body) => {
                let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                Err(io::Error::from_raw_os_error(-code))
            }
            (_, body) => Ok(body.to_vec()),
        }
    }
}

/// Kind and body of the first message.
fn parse(message: &[u8]) -> Option<(u16, &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(message.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    Some((kind, message.get(HEADER_LENGTH..length)?))
}

/// Appends an attribute.
pub(crate) fn push_attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// The value of the first attribute of that type.
pub(crate) fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
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
