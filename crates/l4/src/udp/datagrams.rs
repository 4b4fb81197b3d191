use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
    recvmsg, sendmsg, setsockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A socket for the datagrams of many clients. It knows to which of the host's addresses each came, so that the answer
/// comes from there (`IP_PKTINFO`, ip(7); `IPV6_PKTINFO`, RFC 3542 section 6).
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    is_v6: bool,
}

/// A datagram that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// How long it is.
    pub bytes: usize,
    /// Where it came from.
    pub client: SocketAddr,
    /// The address it was sent to.
    pub local: IpAddr,
}

impl Datagrams {
    /// Readies a socket. It must not be bound yet: of datagrams that come before, the system does not know the address.
    ///
    /// # Errors
    /// What the system says of the options.
    pub fn prepare(socket: &impl AsFd, is_v6: bool) -> io::Result<()> {
        if is_v6 {
            // Of IPv4 datagrams on a socket for both families too: addresses are IPv4-mapped then.
            Ok(setsockopt(socket, Ipv6RecvPacketInfo, &true)?)
        } else {
            Ok(setsockopt(socket, Ipv4PacketInfo, &true)?)
        }
    }

    /// Takes a prepared, bound, non-blocking socket.
    ///
    /// # Errors
    /// What the runtime says of the socket.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let is_v6 = socket.local_addr()?.is_ipv6();
        Ok(Self { socket: UdpSocket::from_std(socket)?, is_v6 })
    }

    /// The socket itself.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits for a datagram and puts it into `buffer`.
    ///
    /// # Errors
    /// What the system says; the next call may go well.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || self.receive_now(buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }

    /// Sends a datagram to `client` from the address `local`. Dropped where the system has no room: it is UDP.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&self, bytes: &[u8], client: SocketAddr, local: IpAddr) -> io::Result<()> {
        let iov = [IoSlice::new(bytes)];
        let descriptor = self.socket.as_raw_fd();
        if self.is_v6 {
            let source = mapped(local);
            let info =
                libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: source.octets() }, ipi6_ifindex: 0 };
            let (port, scope) = match client {
                SocketAddr::V4(client) => (client.port(), 0),
                SocketAddr::V6(client) => (client.port(), client.scope_id()),
            };
            let to = std::net::SocketAddrV6::new(mapped(client.ip()), port, 0, scope);
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmsg(descriptor, &iov, &control, MsgFlags::empty(), Some(&SockaddrIn6::from(to)))?;
        } else {
            let (IpAddr::V4(source), SocketAddr::V4(to)) = (local, client) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(descriptor, &iov, &control, MsgFlags::empty(), Some(&SockaddrIn::from(to)))?;
        }
        Ok(())
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let mut iov = [IoSliceMut::new(buffer)];
        let received: nix::sys::socket::RecvMsg<'_, '_, SockaddrStorage> =
            recvmsg(self.socket.as_raw_fd(), &mut iov, Some(&mut control), MsgFlags::empty())?;
        let local = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::from(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes())))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(IpAddr::from(Ipv6Addr::from(info.ipi6_addr.s6_addr)))
            }
            _ => None,
        });
        let client = received.address.as_ref().and_then(address);
        match (client, local) {
            (Some(client), Some(local)) => Ok(Datagram { bytes: received.bytes, client, local }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || storage.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    let v6 = || storage.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into()));
    storage.family().and_then(|_| v4().or_else(v6))
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers one datagram from where it was sent to.
    async fn answer(bound: &str, dialled: &str) -> (SocketAddr, Vec<u8>) {
        let bound: SocketAddr = bound.parse().unwrap();
        let domain = socket2::Domain::for_address(bound);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM.nonblocking(), None).unwrap();
        Datagrams::prepare(&socket, bound.is_ipv6()).unwrap();
        socket.bind(&bound.into()).unwrap();
        let socket: std::net::UdpSocket = socket.into();
        let port = socket.local_addr().unwrap().port();
        let datagrams = Datagrams::new(socket).unwrap();
        let any = if dialled.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let client = UdpSocket::bind(any).await.unwrap();
        let dialled: IpAddr = dialled.parse().unwrap();
        client.send_to(b"question", SocketAddr::new(dialled, port)).await.unwrap();
        let mut buffer = [0; 100];
        let came = datagrams.receive(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..came.bytes], came.local.to_canonical()), (&b"question"[..], dialled));
        datagrams.send(b"answer", came.client, came.local).unwrap();
        let (bytes, from) = client.recv_from(&mut buffer).await.unwrap();
        (from, buffer[..bytes].to_vec())
    }

    #[tokio::test]
    async fn answers_come_from_the_address_that_was_asked() {
        for (bound, dialled) in [
            ("0.0.0.0:0", "127.0.0.9"),
            ("[::]:0", "127.0.0.9"),
            ("[::]:0", "::1"),
            ("127.0.0.5:0", "127.0.0.5"),
        ] {
            let (from, bytes) = answer(bound, dialled).await;
            assert_eq!((from.ip().to_string(), &bytes[..]), (dialled.to_owned(), &b"answer"[..]), "{bound}");
        }
    }
}
