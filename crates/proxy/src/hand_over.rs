//! Listening sockets that go from one process to another, so that no connection is refused while they change places.
//!
//! Both processes hold the same sockets for a while: what waits to be accepted is accepted by either, and closing them in one
//! loses nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use ::addresses::Pool;
use model::Transport;
use socket2::Socket;

use crate::sockets::{self, Opened, Place};

/// A socket that listens, of one thread of a gateway.
#[derive(Debug)]
pub struct ListeningSocket {
    /// What it is.
    pub transport: Transport,
    /// The address that was asked for.
    pub address: SocketAddr,
    /// The socket.
    pub socket: OwnedFd,
}

impl ListeningSocket {
    /// Another descriptor of a thread's socket.
    pub(crate) fn dup((transport, address): Place, socket: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { transport, address, socket: socket.try_clone_to_owned()? })
    }

    /// What it is for a thread.
    ///
    /// # Errors
    /// It is no such socket.
    fn open(self) -> io::Result<(Place, Opened)> {
        let socket = Socket::from(self.socket);
        let local = socket.local_addr()?.as_socket();
        let is_udp = socket.r#type()? == socket2::Type::DGRAM;
        let is_right = local == Some(self.address)
            && is_udp == (self.transport == Transport::Udp)
            && (is_udp || socket.is_listener()?);
        if !is_right {
            let message = format!("a socket that was handed over is not one for {}", self.address);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let opened = if is_udp { Opened::Udp(socket.into()) } else { Opened::Tcp(socket.into()) };
        Ok(((self.transport, self.address), opened))
    }
}

/// The sockets by place.
///
/// # Errors
/// Something that was handed over is no such socket.
pub(crate) fn by_place(inherited: Vec<ListeningSocket>) -> io::Result<BTreeMap<Place, Vec<Opened>>> {
    let mut places: BTreeMap<Place, Vec<Opened>> = BTreeMap::new();
    for socket in inherited {
        let (place, opened) = socket.open()?;
        places.entry(place).or_default().push(opened);
    }
    Ok(places)
}

/// Opens what is lacking for one socket a thread: the gateway that had them may have had fewer.
///
/// # Errors
/// The system's; nothing is lost of what is there.
pub(crate) fn top_up(
    place: Place,
    opened: &mut Vec<Opened>,
    threads: usize,
    floating: &Pool,
) -> io::Result<()> {
    let lacking = threads.saturating_sub(opened.len());
    opened.extend(sockets::open(place, lacking, true, floating)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn handed(transport: Transport, address: SocketAddr, socket: impl Into<OwnedFd>) -> ListeningSocket {
        ListeningSocket { transport, address, socket: socket.into() }
    }

    #[test]
    fn each_thread_gets_a_socket_and_none_is_lost() {
        let open = |count| {
            sockets::open((Transport::Tcp, "127.0.0.1:0".parse().unwrap()), count, false, &Pool::default())
                .unwrap()
        };
        let Some(Opened::Tcp(first)) = open(1).pop() else { panic!("no TCP socket") };
        let address = first.local_addr().unwrap();
        let place = (Transport::Tcp, address);
        let one = || vec![handed(Transport::Tcp, address, first.try_clone().unwrap())];
        let mut sockets = by_place(one()).unwrap().remove(&place).unwrap();
        top_up(place, &mut sockets, 3, &Pool::default()).unwrap();
        assert_eq!(sockets.len(), 3);
        let two = one().into_iter().chain(one()).collect();
        let mut sockets = by_place(two).unwrap().remove(&place).unwrap();
        top_up(place, &mut sockets, 1, &Pool::default()).unwrap();
        assert_eq!(sockets.len(), 2);
    }

    #[test]
    fn what_is_no_such_socket_is_refused() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let other = SocketAddr::new(address.ip(), address.port() ^ 1);
        let udp = UdpSocket::bind(address).unwrap();
        let connected = std::net::TcpStream::connect(address).unwrap();
        let of_connection = connected.local_addr().unwrap();
        for wrong in [
            handed(Transport::Tcp, other, tcp.try_clone().unwrap()),
            handed(Transport::Udp, address, tcp.try_clone().unwrap()),
            handed(Transport::Tcp, address, udp),
            handed(Transport::Tcp, of_connection, connected),
            handed(Transport::Tcp, address, std::fs::File::open("/dev/null").unwrap()),
        ] {
            assert!(by_place(vec![wrong]).is_err());
        }
    }
}
