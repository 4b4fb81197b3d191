//! Listening sockets: one for each thread and address, sharing the port by SO_REUSEPORT.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use model::{ListenerId, Snapshot};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, for each thread.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ListenProblem {
    /// The address.
    pub address: SocketAddr,
    /// The listeners that are not served because of it.
    pub listeners: Vec<ListenerId>,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for ListenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {} (", self.address)?;
        for (i, listener) in self.listeners.iter().enumerate() {
            write!(f, "{}{listener}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, "): {}. ", self.error)?;
        f.write_str(match self.error.kind() {
            io::ErrorKind::AddrInUse => "Another program has this port: `ss -ltnp` names it. End it, or give the listener another port",
            io::ErrorKind::PermissionDenied => {
                "Ports below 1024 need CAP_NET_BIND_SERVICE: run with it, or give the listener a port from 1024 on"
            }
            io::ErrorKind::AddrNotAvailable => "No interface of this host has the address: add it, or leave spec.addresses empty",
            _ => "The other listeners are served",
        })
    }
}

/// The addresses that the snapshot's listeners want, each with the listeners behind it.
///
/// A listener without addresses wants the unspecified one: `[::]`, which takes IPv4 too, or `0.0.0.0` where the host
/// has no IPv6.
pub(crate) fn wanted(snapshot: &Snapshot) -> BTreeMap<SocketAddr, Vec<ListenerId>> {
    let any = any_address();
    let mut wanted: BTreeMap<SocketAddr, Vec<ListenerId>> = BTreeMap::new();
    for listener in snapshot.listeners.values() {
        let addresses =
            if listener.addresses.is_empty() { std::slice::from_ref(&any) } else { &listener.addresses };
        for address in addresses {
            wanted.entry(SocketAddr::new(*address, listener.port)).or_default().push(listener.id.clone());
        }
    }
    wanted
}

/// Opens one listening socket a thread.
///
/// Another process on the port is an error even if it, too, says SO_REUSEPORT: a first socket without the option
/// finds that out, so that two gateways never share a port by accident. Where this gateway itself listens on the port
/// (`is_ours`: on one address, and now on all) it cannot tell, and is left out.
pub(crate) fn open(address: SocketAddr, threads: usize, is_ours: bool) -> io::Result<Vec<TcpListener>> {
    if !is_ours {
        drop(bind(address, false)?);
    }
    (0..threads)
        .map(|_| {
            let socket = bind(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
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
    use super::*;

    #[test]
    fn a_port_that_another_socket_holds_is_refused_and_the_message_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = open(address, 2, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let problem = ListenProblem { address, listeners: vec![ListenerId::default_http()], error };
        let text = problem.to_string();
        assert!(
            text.contains(&address.to_string()) && text.contains("default/http") && text.contains("ss -ltnp"),
            "{text}"
        );
    }

    #[test]
    fn a_port_that_shares_is_refused_to_a_second_gateway() {
        let mine = open("127.0.0.1:0".parse().unwrap(), 1, false).unwrap();
        let address = mine[0].local_addr().unwrap();
        assert_eq!(open(address, 1, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn every_thread_gets_a_socket_on_the_same_port() {
        let port =
            { open("127.0.0.1:0".parse().unwrap(), 1, false).unwrap()[0].local_addr().unwrap().port() };
        let sockets = open(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), 3, false).unwrap();
        assert_eq!(sockets.len(), 3);
        assert!(sockets.iter().all(|s| s.local_addr().unwrap().port() == port));
    }
}
