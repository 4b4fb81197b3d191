//! An address that says nothing: neither that it takes a connection, nor that it does not.

use std::net::{Ipv6Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

/// A listener of [::1] whose queue is full: the kernel drops what else comes.
pub struct Silent {
    pub address: SocketAddr,
    _listener: Socket,
    _queued: TcpStream,
}

impl Silent {
    pub fn new() -> Self {
        let listener = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let queued = TcpStream::connect(address).unwrap();
        Self { address, _listener: listener, _queued: queued }
    }
}

/// An address of [::1] that refuses connections.
pub fn refusing() -> SocketAddr {
    std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
