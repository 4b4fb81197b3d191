//! TCP segments as frames, and frames as segments: written by hand, so that nothing of the code under test is in them.

use std::net::{IpAddr, SocketAddr};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// Link addresses of a router, from which everything comes, and of the gateway.
pub(crate) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// Loopback's own: as whose frames BPF_PROG_TEST_RUN has them, and only what is for the device is looked at.
pub(crate) const GATEWAY: [u8; 6] = [0; 6];

/// A segment in numbers; options as they stand in the header, padding included.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seg {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Seg {
    pub(crate) fn new(src: SocketAddr, dst: SocketAddr, flags: u8, seq: u32, ack: u32) -> Self {
        Self { src, dst, seq, ack, flags, window: 502, options: vec![], data: vec![] }
    }

    pub(crate) fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    pub(crate) fn data(self, data: &[u8]) -> Self {
        Self { data: data.to_vec(), ..self }
    }

    pub(crate) fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    /// The frame from the router to the gateway, with whole checksums.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let mut frame = [GATEWAY, ROUTER].concat();
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend((tcp.len() as u16 + 20).to_be_bytes());
                frame.extend([0x12, 0x34, 0x40, 0, 61, 6, 0, 0]);
                frame.extend(src.octets());
                frame.extend(dst.octets());
                let checksum = !fold(sum(&frame[14..34]));
                frame[24..26].copy_from_slice(&checksum.to_be_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((tcp.len() as u16).to_be_bytes());
                frame.extend([6, 61]);
                frame.extend(src.octets());
                frame.extend(dst.octets());
            }
            _ => panic!("one family"),
        }
        frame.extend(tcp);
        frame
    }

    fn tcp(&self) -> Vec<u8> {
        assert!(self.options.len().is_multiple_of(4) && self.options.len() <= 40);
        let mut tcp = Vec::new();
        tcp.extend(self.src.port().to_be_bytes());
        tcp.extend(self.dst.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([(5 + self.options.len() as u8 / 4) << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(&self.data);
        let checksum = !fold(pseudo(self.src.ip(), self.dst.ip(), tcp.len()) + sum(&tcp));
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        tcp
    }

    /// What a frame that leaves the gateway says. Lengths, versions and both checksums must be right to the bit.
    pub(crate) fn read(frame: &[u8]) -> Self {
        let (src, dst, ttl, tcp) = match frame[12..14] {
            [0x08, 0x00] => {
                let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
                assert_eq!((frame[14], fold(sum(&frame[14..34]))), (0x45, 0xffff), "header of IPv4");
                let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).unwrap());
                assert_eq!(frame.len(), 14 + total, "length of IPv4");
                (address(26), address(30), frame[22], &frame[34..])
            }
            [0x86, 0xdd] => {
                let length = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
                let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
                assert_eq!((frame[14] >> 4, frame.len()), (6, 54 + length), "header of IPv6");
                (address(22), address(38), frame[21], &frame[54..])
            }
            _ => panic!("neither IPv4 nor IPv6: {frame:x?}"),
        };
        assert!(ttl > 0, "hop limit");
        assert_eq!(fold(pseudo(src, dst, tcp.len()) + sum(tcp)), 0xffff, "checksum of TCP in {frame:x?}");
        let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let head = usize::from(tcp[12] >> 4) * 4;
        assert_eq!((tcp[12] & 15, half(18)), (0, 0), "reserved bits and urgent pointer");
        Self {
            src: (src, half(0)).into(),
            dst: (dst, half(2)).into(),
            seq: word(4),
            ack: word(8),
            flags: tcp[13],
            window: half(14),
            options: tcp[20..head].to_vec(),
            data: tcp[head..].to_vec(),
        }
    }
}

/// Timestamps as a segment of an open connection has them.
pub(crate) fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
}

/// Takes a whole checksum that was right, and makes it wrong.
pub(crate) fn with_wrong_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let at = if frame[12] == 8 { 34 } else { 54 } + 16;
    frame[at] ^= 0x40;
    frame
}

/// Leaves in the checksum field what a host leaves there whose device computes the rest.
pub(crate) fn with_checksum_left_to_device(mut frame: Vec<u8>) -> Vec<u8> {
    let is_v4 = frame[12] == 8;
    let (at, address) = if is_v4 { (34, 4) } else { (54, 16) };
    let tcp_len = frame.len() - at;
    let sum = fold(sum(&frame[at - 2 * address..at]) + 6 + tcp_len as u64);
    frame[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
    frame
}

pub(crate) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

fn pseudo(src: IpAddr, dst: IpAddr, tcp_len: usize) -> u64 {
    let of = |address: IpAddr| match address {
        IpAddr::V4(v4) => sum(&v4.octets()),
        IpAddr::V6(v6) => sum(&v6.octets()),
    };
    of(src) + of(dst) + 6 + tcp_len as u64
}

/// The frame with options in its IPv4 header.
pub(crate) fn with_ip_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.splice(34..34, options.iter().copied());
    frame[14] = 0x40 | (5 + options.len() / 4) as u8;
    finish_v4(&mut frame);
    frame
}

/// The frame with this field of flags and offset: in its IPv4 header, or in a fragment header behind that of IPv6.
pub(crate) fn with_fragment_header(frame: &[u8], field: u16) -> Vec<u8> {
    let [high, low] = field.to_be_bytes();
    if frame[12] != 8 {
        return with_extension(frame, 44, &[high, low, 0, 0, 0, 7]);
    }
    let mut frame = frame.to_vec();
    frame[20..22].copy_from_slice(&[high, low]);
    finish_v4(&mut frame);
    frame
}

/// The frame with an extension header of that type before all that follows the IPv6 header; `rest` is behind its first two
/// bytes.
pub(crate) fn with_extension(frame: &[u8], kind: u8, rest: &[u8; 6]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let length = u16::from_be_bytes([frame[18], frame[19]]) + 8;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    let next = std::mem::replace(&mut frame[20], kind);
    frame.splice(54..54, [next, 0].into_iter().chain(rest.iter().copied()));
    frame
}

/// Length and checksum of the IPv4 header.
fn finish_v4(frame: &mut [u8]) {
    let length = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[24..26].fill(0);
    let end = 14 + usize::from(frame[14] & 15) * 4;
    let checksum = !fold(sum(&frame[14..end]));
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}
