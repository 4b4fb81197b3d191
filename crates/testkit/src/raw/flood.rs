use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use super::host::RawHost;
use super::segment::Segment;

/// Frames of a batch: one system call for all of them.
const BATCH: usize = 64;

/// Where a frame's fields are, in bytes from its start. All but the checksums were 0 when these were computed, so new
/// values are added to what the checksums cover (RFC 1624).
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// The IPv4 header's checksum, if there is one.
    header_checksum: Option<usize>,
    /// The last words of the source address that vary.
    address: usize,
    address_words: usize,
    /// TCP.
    tcp: usize,
}

const IPV4: Layout = Layout { header_checksum: Some(24), address: 28, address_words: 1, tcp: 34 };
const IPV6: Layout = Layout { header_checksum: None, address: 34, address_words: 2, tcp: 54 };

/// Copies of one segment from addresses, ports and with numbers drawn anew for each: as many as one thread can send.
///
/// IPv4 sources are 198.18.0.0/16 (RFC 2544), IPv6 sources 2001:db8::/96 (RFC 3849): nobody answers for them.
#[derive(Debug)]
pub struct Flood<'h> {
    host: &'h RawHost,
    layout: Layout,
    /// What the checksums cover, as it is in every copy.
    header_sum: u64,
    tcp_sum: u64,
    frames: Vec<Vec<u8>>,
    state: u64,
}

impl<'h> Flood<'h> {
    /// Prepares copies of `segment` (its flags, options and payload) to its destination.
    pub fn new(host: &'h RawHost, segment: &Segment) -> Self {
        let (layout, source) = match segment.destination {
            address if address.is_ipv4() => (IPV4, IpAddr::from([198, 18, 0, 0])),
            _ => (IPV6, IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0])),
        };
        let segment = Segment { source: (source, 0).into(), seq: 0, ack: 0, ..segment.clone() };
        let frame = host.frame(&segment);
        let sum = |at: usize| u64::from(!word(&frame, at));
        let (header_sum, tcp_sum) = (layout.header_checksum.map_or(0, sum), sum(layout.tcp + 16));
        // A state of 0 would stay 0.
        Self { host, layout, header_sum, tcp_sum, frames: vec![frame; BATCH], state: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Sends the next batch; returns how many of it the wire took.
    ///
    /// # Errors
    /// The wire is gone. A queue that is full is none: nothing, or not all, is sent then.
    pub fn send(&mut self) -> io::Result<usize> {
        let mut frames = std::mem::take(&mut self.frames);
        for frame in &mut frames {
            self.draw(frame);
        }
        let sent = send_all(self.host, &frames);
        self.frames = frames;
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(0),
            sent => sent,
        }
    }

    /// Other addresses, ports and numbers.
    fn draw(&mut self, frame: &mut [u8]) {
        let Layout { header_checksum, address, address_words, tcp } = self.layout;
        let (one, other) = (self.next().to_be_bytes(), self.next().to_be_bytes());
        let [a, b, c, d, port @ .., _, _] = one;
        let port = 1024 + u16::from_be_bytes(port) % 60_000;
        let address_bytes = &[a, b, c, d][..2 * address_words];
        frame[address..address + address_bytes.len()].copy_from_slice(address_bytes);
        frame[tcp..tcp + 2].copy_from_slice(&port.to_be_bytes());
        frame[tcp + 4..tcp + 12].copy_from_slice(&other);
        let varied = sum_of(address_bytes);
        if let Some(at) = header_checksum {
            frame[at..at + 2].copy_from_slice(&checksum(self.header_sum + varied));
        }
        let sum = self.tcp_sum + varied + u64::from(port) + sum_of(&other);
        frame[tcp + 16..tcp + 18].copy_from_slice(&checksum(sum));
    }

    fn next(&mut self) -> u64 {
        // xorshift64 (Marsaglia 2003).
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

fn send_all(host: &RawHost, frames: &[Vec<u8>]) -> io::Result<usize> {
    let mut parts: Vec<libc::iovec> = frames
        .iter()
        .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all zero is a valid value of this plain structure.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
            message
        })
        .collect();
    let count = libc::c_uint::try_from(messages.len()).unwrap_or(0);
    // SAFETY: each message points to one part, each part to a whole frame; all outlive the call, which only reads frames.
    let sent = unsafe { libc::sendmmsg(host.socket().as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The sum of `bytes`, of even number, as words.
fn sum_of(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(2).map(|pair| u64::from(word(pair, 0))).sum()
}

fn checksum(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(u16::MAX)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lab, flag};

    #[test]
    fn copies_differ_and_are_whole() {
        let lab = Lab::builder().build().unwrap();
        let host = RawHost::new(&lab).unwrap();
        for gateway in ["10.77.0.1:8080", "[fd77::1]:8080"] {
            let to = gateway.parse().unwrap();
            let segment = Segment { payload: b"hello".to_vec(), ..Segment::new(to, to, flag::ACK, 0, 0) };
            let mut flood = Flood::new(&host, &segment);
            let mut frames = vec![flood.frames[0].clone(); 100];
            frames.iter_mut().for_each(|frame| flood.draw(frame));
            for frame in &frames {
                let parsed = Segment::parse(frame).unwrap();
                assert_eq!((parsed.destination, parsed.payload.as_slice()), (to, b"hello".as_slice()));
                // Made anew from its fields, it has the same checksums.
                assert_eq!(&host.frame(&parsed), frame);
            }
            let mut sources: Vec<_> =
                frames.iter().map(|frame| Segment::parse(frame).unwrap().source).collect();
            sources.sort_unstable();
            sources.dedup();
            assert_eq!(sources.len(), 100);
            assert_eq!(flood.send().unwrap(), BATCH);
        }
    }
}
