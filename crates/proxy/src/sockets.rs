//! Listening sockets: one for each thread and address, sharing the port by SO_REUSEPORT.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use ::addresses::Pool;
use model::{ListenerId, Snapshot, Transport};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, for each thread.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ListenProblem {
    /// What the socket would have been.
    pub transport: Transport,
    /// The address.
    pub address: SocketAddr,
    /// The listeners that are not served because of it.
    pub listeners: Vec<ListenerId>,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for ListenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (suffix, ss) = match self.transport {
            Transport::Tcp => ("", "-ltnp"),
            Transport::Udp => ("/udp", "-lunp"),
        };
        write!(f, "cannot listen on {}{suffix} (", self.address)?;
        for (i, listener) in self.listeners.iter().enumerate() {
            write!(f, "{}{listener}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, "): {}. ", self.error)?;
        f.write_str(match self.error.kind() {
            io::ErrorKind::AddrInUse => return write!(f, "Another program has this port: `ss {ss}` names it. End it, or give the listener another port"),
            io::ErrorKind::PermissionDenied => {
                "Ports below 1024 need CAP_NET_BIND_SERVICE: run with it, or give the listener a port from 1024 on"
            }
            io::ErrorKind::AddrNotAvailable => "No interface of this host has the address: add it, or leave spec.addresses empty",
            _ => "The other listeners are served",
        })
    }
}

/// What a socket is, and where.
pub(crate) type Place = (Transport, SocketAddr);

/// The addresses that the snapshot's listeners want, each with the listeners behind it.
///
/// A listener without addresses wants the unspecified one: `[::]`, which takes IPv4 too, or `0.0.0.0` where the host
/// has no IPv6.
pub(crate) fn wanted(snapshot: &Snapshot) -> BTreeMap<Place, Vec<ListenerId>> {
    let any = any_address();
    let mut wanted: BTreeMap<Place, Vec<ListenerId>> = BTreeMap::new();
    for listener in snapshot.listeners.values() {
        let addresses =
            if listener.addresses.is_empty() { std::slice::from_ref(&any) } else { &listener.addresses };
        for address in addresses {
            let place = (listener.protocol.transport(), SocketAddr::new(*address, listener.port));
            wanted.entry(place).or_default().push(listener.id.clone());
        }
    }
    wanted
}

/// A socket for one thread.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It listens.
    Tcp(TcpListener),
    /// It is bound.
    Udp(UdpSocket),
}

/// Opens one listening socket a thread.
///
/// Another process on the port is an error even if it, too, says SO_REUSEPORT: a first socket without the option
/// finds that out, so that two gateways never share a port by accident. Where this gateway itself listens on the port
/// (`is_ours`: on one address, and now on all) it cannot tell, and is left out.
///
/// Addresses of `floating` are listened on though no interface has them: whoever announces one serves from that moment on.
pub(crate) fn open(place: Place, threads: usize, is_ours: bool, floating: &Pool) -> io::Result<Vec<Opened>> {
    let is_floating = floating.contains(place.1.ip());
    if !is_ours {
        drop(bind(place, false, is_floating)?);
    }
    (0..threads)
        .map(|_| {
            let socket = bind(place, true, is_floating)?;
            if place.0 == Transport::Udp {
                return Ok(Opened::Udp(socket.into()));
            }
            socket.listen(BACKLOG)?;
            Ok(Opened::Tcp(socket.into()))
        })
        .collect()
}

fn bind((transport, address): Place, reuse_port: bool, is_floating: bool) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    // On UDP it would let a second gateway in.
    socket.set_reuse_address(transport == Transport::Tcp)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    match address.ip() {
        IpAddr::V4(_) if is_floating => socket.set_freebind_v4(true)?,
        IpAddr::V6(_) if is_floating => socket.set_freebind_v6(true)?,
        _ => {}
    }
    if transport == Transport::Udp {
        l4::Datagrams::prepare(&socket, address.is_ipv6())?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A client over IPv4 on a socket for both families appears as `::ffff:a.b.c.d`.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn any_address() -> IpAddr {
    match Socket::new(Domain::IPV6, Type::STREAM, None) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use ::addresses::AddressRange;

    use super::*;

    #[test]
    fn a_port_that_another_socket_holds_is_refused_and_the_message_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = open((Transport::Tcp, address), 2, false, &Pool::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let transport = Transport::Tcp;
        let problem =
            ListenProblem { transport, address, listeners: vec![ListenerId::default_http()], error };
        let text = problem.to_string();
        assert!(
            text.contains(&address.to_string()) && text.contains("default/http") && text.contains("ss -ltnp"),
            "{text}"
        );
    }

    fn local(opened: &Opened) -> SocketAddr {
        match opened {
            Opened::Tcp(socket) => socket.local_addr().unwrap(),
            Opened::Udp(socket) => socket.local_addr().unwrap(),
        }
    }

    #[test]
    fn a_port_that_shares_is_refused_to_a_second_gateway() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let mine = open((transport, "127.0.0.1:0".parse().unwrap()), 1, false, &Pool::default()).unwrap();
            let address = local(&mine[0]);
            assert_eq!(
                open((transport, address), 1, false, &Pool::default()).unwrap_err().kind(),
                io::ErrorKind::AddrInUse
            );
            let other = if transport == Transport::Tcp { Transport::Udp } else { Transport::Tcp };
            // Another program may have this one there, but hardly all.
            let has_its_own = (0..20).any(|_| {
                let mine =
                    open((transport, "127.0.0.1:0".parse().unwrap()), 1, false, &Pool::default()).unwrap();
                open((other, local(&mine[0])), 1, false, &Pool::default()).is_ok()
            });
            assert!(has_its_own, "the other transport has ports of its own");
        }
    }

    #[test]
    fn addresses_that_come_and_go_are_listened_on_before_they_are_there() {
        let pool: Pool = ["192.0.2.7", "2001:db8::7"]
            .map(|text| text.parse::<AddressRange>().unwrap())
            .into_iter()
            .collect();
        for address in ["192.0.2.7:0", "[2001:db8::7]:0"] {
            for transport in [Transport::Tcp, Transport::Udp] {
                let place = (transport, address.parse().unwrap());
                let refused = open(place, 1, false, &Pool::default()).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::AddrNotAvailable, "{address}");
                let opened = open(place, 1, false, &pool).unwrap();
                assert_eq!(local(&opened[0]).ip(), place.1.ip());
            }
        }
    }

    #[test]
    fn every_thread_gets_a_socket_on_the_same_port() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let port = {
                local(
                    &open((transport, "127.0.0.1:0".parse().unwrap()), 1, false, &Pool::default()).unwrap()
                        [0],
                )
                .port()
            };
            let place = (transport, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
            let sockets = open(place, 3, false, &Pool::default()).unwrap();
            assert_eq!(sockets.len(), 3);
            assert!(sockets.iter().all(|socket| local(socket).port() == port));
        }
    }
}
