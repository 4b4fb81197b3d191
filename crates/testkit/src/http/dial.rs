use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::client::{ClientError, Connection};
use crate::Netns;

/// How to connect, where [`Connection::open`] is too plain.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    to: SocketAddr,
    from: Option<IpAddr>,
    from_port: u16,
    mss: Option<u32>,
    receive_buffer: Option<usize>,
}

impl Dial {
    /// A connection to this address.
    pub fn to(address: SocketAddr) -> Self {
        Self { to: address, from: None, from_port: 0, mss: None, receive_buffer: None }
    }

    /// From this local address.
    #[must_use]
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// From this local port, also while an earlier connection of it is in TIME_WAIT.
    #[must_use]
    pub fn from_port(mut self, port: u16) -> Self {
        self.from_port = port;
        self
    }

    /// Announces this maximum segment size, in bytes, and sends no larger one.
    #[must_use]
    pub fn mss(mut self, bytes: u32) -> Self {
        self.mss = Some(bytes);
        self
    }

    /// A receive buffer of about this size, in bytes; below 64 KiB the window scale becomes 0.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Connects from `netns`, within 5 s.
    ///
    /// # Errors
    /// As [`Connection::open`]; also a local port that is taken.
    pub fn open(self, netns: &Netns) -> Result<Connection, ClientError> {
        let socket = netns.run(|| self.connect_when_free()).map_err(ClientError::Namespace)??;
        Connection::over(socket.into())
    }

    /// Connects from the namespace that the calling thread is in, within 5 s.
    ///
    /// # Errors
    /// As [`Dial::open`].
    pub fn open_here(self) -> Result<Connection, ClientError> {
        Connection::over(self.connect_when_free()?.into())
    }

    /// A port of ours may be busy for a moment more: with the last acknowledgement of the connection before.
    fn connect_when_free(self) -> io::Result<Socket> {
        let deadline = Instant::now() + PORT_WAIT;
        loop {
            match self.connect() {
                Err(error) if self.from_port != 0 && is_busy(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    fn connect(self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = self.mss {
            setsockopt(&socket.as_fd(), sockopt::TcpMaxSeg, &bytes)?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let any = if self.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if self.from_port != 0 {
            socket.set_reuse_address(true)?;
        }
        if self.from_port != 0 || self.from.is_some() {
            socket.bind(&SocketAddr::new(self.from.unwrap_or(any), self.from_port).into())?;
        }
        socket.connect_timeout(&self.to.into(), Duration::from_secs(5))?;
        Ok(socket)
    }
}

/// How long a local port may stay busy.
const PORT_WAIT: Duration = Duration::from_secs(3);

fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}
