use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::segment::{Segment, flag};
use crate::{Lab, Netns, exec};

/// A client on the front segment with addresses that no kernel owns: every segment it sends is made by hand, and nothing
/// answers for it. It shares the wire of the lab's first client.
#[derive(Debug)]
pub struct RawHost {
    socket: OwnedFd,
    hardware: [u8; 6],
    gateway: [u8; 6],
}

/// A connection of a [`RawHost`], as far as it has come.
#[derive(Clone, Debug)]
pub struct RawConnection {
    /// Our address and port.
    pub local: SocketAddr,
    /// Theirs.
    pub remote: SocketAddr,
    /// The next sequence number we send.
    pub seq: u32,
    /// The next sequence number we expect.
    pub ack: u32,
    /// The SYN-ACK that answered us.
    pub answer: Segment,
    /// Our timestamp and their newest, if both sides sent the option.
    timestamps: Option<(u32, u32)>,
}

impl RawHost {
    /// Its address in the lab.
    pub const V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
    /// Its address in the lab.
    pub const V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0xc8);

    /// Takes its place beside the first client of `lab`, and makes it known to the gateway.
    ///
    /// # Errors
    /// The packet socket cannot be opened (needs root).
    pub fn new(lab: &Lab) -> Result<Self> {
        let hardware = hardware_address(lab.client(), "eth0")?;
        let gateway = hardware_address(lab.gateway(), "front0")?;
        let text = hardware.map(|byte| format!("{byte:02x}")).join(":");
        for address in [IpAddr::V4(Self::V4), IpAddr::V6(Self::V6)] {
            let mut command = Command::new("ip");
            command.args(["neigh", "replace", &address.to_string(), "lladdr", &text, "dev", "front0"]);
            command.args(["nud", "permanent"]);
            let output = exec(Some(lab.gateway()), command, Duration::from_secs(10))?;
            ensure!(output.status.success(), "ip neigh: {}", String::from_utf8_lossy(&output.stderr));
        }
        let socket = lab.client().run(packet_socket)?.context("cannot open a packet socket")?;
        Ok(Self { socket, hardware, gateway })
    }

    /// On the wire of endpoint `index`, to speak in the endpoint's name beside its own stack.
    ///
    /// # Errors
    /// As [`RawHost::new`].
    pub fn at_endpoint(lab: &Lab, index: usize) -> Result<Self> {
        let hardware = hardware_address(lab.backend(index), "eth0")?;
        let gateway = hardware_address(lab.gateway(), "back0")?;
        let socket = lab.backend(index).run(packet_socket)?.context("cannot open a packet socket")?;
        Ok(Self { socket, hardware, gateway })
    }

    /// Its address of the same family as `remote`, with this port.
    pub fn address(&self, remote: SocketAddr, port: u16) -> SocketAddr {
        SocketAddr::new(if remote.is_ipv4() { Self::V4.into() } else { Self::V6.into() }, port)
    }

    /// Sends a segment to the gateway.
    ///
    /// # Errors
    /// The wire is gone.
    pub fn send(&self, segment: &Segment) -> io::Result<()> {
        self.send_frame(&segment.frame(self.hardware, self.gateway))
    }

    /// Sends a whole frame as it is.
    ///
    /// # Errors
    /// The wire is gone.
    pub fn send_frame(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the buffer outlives the call.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        match sent {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// The frame of a segment, for [`RawHost::send_frame`] after a change.
    pub fn frame(&self, segment: &Segment) -> Vec<u8> {
        segment.frame(self.hardware, self.gateway)
    }

    /// The packet socket, bound to its wire.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The next segment to `local`, within `limit`; None if none comes.
    ///
    /// # Errors
    /// The wire is gone.
    pub fn receive(&self, local: SocketAddr, limit: Duration) -> io::Result<Option<Segment>> {
        let deadline = Instant::now() + limit;
        let mut buffer = vec![0; 70_000];
        loop {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Ok(None) };
            let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let wait = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
            // SAFETY: one entry, which outlives the call.
            if unsafe { libc::poll(&raw mut poll, 1, wait) } <= 0 {
                continue;
            }
            // SAFETY: the buffer is as long as is said, and outlives the call.
            let count = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            let Ok(count) = usize::try_from(count) else { continue };
            let segment = buffer.get(..count).and_then(Segment::parse);
            if let Some(segment) = segment.filter(|segment| segment.destination == local) {
                return Ok(Some(segment));
            }
        }
    }

    /// Opens a connection from `port` with these options in the SYN and this initial sequence number.
    ///
    /// # Errors
    /// No SYN-ACK comes within 3 s (the SYN is sent again each second).
    pub fn connect(&self, remote: SocketAddr, port: u16, options: &[u8], isn: u32) -> Result<RawConnection> {
        let local = self.address(remote, port);
        let syn = Segment { options: options.to_vec(), ..Segment::new(local, remote, flag::SYN, isn, 0) };
        for _ in 0..3 {
            self.send(&syn)?;
            let Some(answer) = self.receive(local, Duration::from_secs(1))? else { continue };
            ensure!(
                answer.flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN | flag::ACK
                    && answer.ack == isn.wrapping_add(1),
                "no SYN-ACK but {answer:?}"
            );
            let timestamps =
                syn.timestamps().zip(answer.timestamps()).map(|(ours, theirs)| (ours.0, theirs.0));
            let (seq, ack) = (isn.wrapping_add(1), answer.seq.wrapping_add(1));
            let connection = RawConnection { local, remote, seq, ack, answer, timestamps };
            self.send(&connection.segment(flag::ACK, b""))?;
            return Ok(connection);
        }
        bail!("no answer to a SYN from {local} to {remote}")
    }

    /// Sends `payload` in one segment and steps past it.
    ///
    /// # Errors
    /// The wire is gone.
    pub fn write(&self, connection: &mut RawConnection, payload: &[u8]) -> io::Result<()> {
        let segment = connection.segment(flag::ACK | flag::PSH, payload);
        connection.seq = segment.end();
        self.send(&segment)
    }

    /// Collects and acknowledges what comes in order until `done` accepts it; an end of the connection ends it, too.
    ///
    /// # Errors
    /// It does not within `limit`; a reset.
    pub fn read(
        &self,
        connection: &mut RawConnection,
        limit: Duration,
        done: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let mut received = Vec::new();
        while !done(&received) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(segment) = self.receive(connection.local, left)? else {
                bail!("nothing more within {limit:?} after {:?}", String::from_utf8_lossy(&received));
            };
            ensure!(segment.flags & flag::RST == 0, "reset after {:?}", String::from_utf8_lossy(&received));
            if let (Some(ours), Some(theirs)) = (&mut connection.timestamps, segment.timestamps()) {
                ours.1 = theirs.0;
            }
            if segment.seq == connection.ack {
                connection.ack = segment.end();
                received.extend_from_slice(&segment.payload);
            }
            if segment.end() != segment.seq {
                self.send(&connection.segment(flag::ACK, b""))?;
            }
            if segment.flags & flag::FIN != 0 {
                break;
            }
        }
        Ok(received)
    }
}

impl RawConnection {
    /// The next segment of this connection, not counted as sent.
    pub fn segment(&self, flags: u8, payload: &[u8]) -> Segment {
        let mut options = Vec::new();
        if let Some((ours, theirs)) = self.timestamps {
            options.extend([1, 1, 8, 10]);
            options.extend(ours.to_be_bytes());
            options.extend(theirs.to_be_bytes());
        }
        Segment {
            options,
            payload: payload.to_vec(),
            ..Segment::new(self.local, self.remote, flags, self.seq, self.ack)
        }
    }
}

fn hardware_address(netns: &Netns, interface: &str) -> Result<[u8; 6]> {
    let found = netns.run(|| -> nix::Result<Option<[u8; 6]>> {
        Ok(nix::ifaddrs::getifaddrs()?
            .filter(|entry| entry.interface_name == interface)
            .find_map(|entry| entry.address?.as_link_addr()?.addr()))
    })??;
    found.with_context(|| format!("no hardware address of {interface} in {}", netns.name()))
}

/// A packet socket on `eth0` of the calling thread's namespace.
fn packet_socket() -> Result<OwnedFd> {
    let protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
    // SAFETY: no pointers.
    let fd =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(protocol)) };
    if fd < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel just made this descriptor for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let index = nix::net::if_::if_nametoindex("eth0")?;
    // SAFETY: all zero is a valid value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = protocol;
    address.sll_ifindex = index.cast_signed();
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: the address is of this length and outlives the call.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(socket)
}
