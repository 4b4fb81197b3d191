//! Frames that carry TCP, written and read as network cards and stacks do.

use std::net::{IpAddr, SocketAddr};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// A frame on its way, and what the socket buffer says of it.
#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) frame: Vec<u8>,
    /// The checksum is left to the device: the field holds the sum of the pseudo-header.
    pub(crate) partial: bool,
    /// It stands for several segments.
    pub(crate) large: bool,
    /// The wire changed a bit: the checksum must show it to the end.
    pub(crate) corrupt: bool,
}

/// A segment in numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seg {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) scale: Option<u8>,
    pub(crate) sack_ok: bool,
    pub(crate) timestamps: Option<(u32, u32)>,
    pub(crate) sack: Vec<(u32, u32)>,
    pub(crate) data: Vec<u8>,
}

impl Seg {
    pub(crate) fn bare(src: SocketAddr, dst: SocketAddr, flags: u8, seq: u32, ack: u32) -> Self {
        Self {
            src,
            dst,
            seq,
            ack,
            flags,
            window: 65_535,
            mss: None,
            scale: None,
            sack_ok: false,
            timestamps: None,
            sack: vec![],
            data: vec![],
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Data, SYN and FIN.
    pub(crate) fn len(&self) -> u32 {
        self.data.len() as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }

    /// The frame; `odd` chooses another order and padding of options.
    pub(crate) fn packet(&self, partial: bool, large: bool, odd: bool) -> Packet {
        let mut tcp = Vec::with_capacity(60 + self.data.len());
        tcp.extend(self.src.port().to_be_bytes());
        tcp.extend(self.dst.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([0, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        self.options(&mut tcp, odd);
        tcp[12] = (tcp.len() as u8 / 4) << 4;
        tcp.extend(&self.data);
        let mut frame = [mac(self.dst.ip()), mac(self.src.ip())].concat();
        network_header(&mut frame, self.src.ip(), self.dst.ip(), tcp.len());
        let pseudo = pseudo(self.src.ip(), self.dst.ip(), tcp.len());
        let field = if partial { fold(pseudo) } else { !fold(pseudo + sum(&tcp)) };
        tcp[16..18].copy_from_slice(&field.to_be_bytes());
        frame.extend(tcp);
        Packet { frame, partial, large, corrupt: false }
    }

    fn options(&self, tcp: &mut Vec<u8>, odd: bool) {
        if odd {
            tcp.push(1);
        }
        if let Some(mss) = self.mss {
            tcp.extend([2, 4]);
            tcp.extend(mss.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            tcp.extend([1, 3, 3, scale]);
        }
        if self.sack_ok {
            tcp.extend([1, 1, 4, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            if !odd {
                tcp.extend([1, 1]);
            }
            tcp.extend([8, 10]);
            tcp.extend(value.to_be_bytes());
            tcp.extend(echo.to_be_bytes());
        }
        if !self.sack.is_empty() {
            tcp.extend([1, 1, 5, 2 + 8 * self.sack.len() as u8]);
            self.sack.iter().for_each(|(from, to)| {
                tcp.extend(from.to_be_bytes());
                tcp.extend(to.to_be_bytes());
            });
        }
        while !tcp.len().is_multiple_of(4) {
            tcp.push(if odd { 0 } else { 1 });
        }
        assert!(tcp.len() <= 60, "too many options");
    }

    /// What a frame says; none if its checksums do not fit.
    pub(crate) fn read(packet: &Packet) -> Option<Self> {
        let frame = &packet.frame;
        let (src, dst, tcp) = match frame[12..14] {
            [0x08, 0x00] => {
                let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
                assert_eq!((frame[14], fold(sum(&frame[14..34]))), (0x45, 0xffff), "header of IPv4");
                let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).unwrap());
                (address(26), address(30), &frame[34..14 + total])
            }
            _ => {
                let length = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
                let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
                (address(22), address(38), &frame[54..54 + length])
            }
        };
        let pseudo = pseudo(src, dst, tcp.len());
        let field = u16::from_be_bytes([tcp[16], tcp[17]]);
        let fits = if packet.partial { same(field, fold(pseudo)) } else { fold(pseudo + sum(tcp)) == 0xffff };
        if !fits {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let head = usize::from(tcp[12] >> 4) * 4;
        let mut seg = Self::bare((src, half(0)).into(), (dst, half(2)).into(), tcp[13], word(4), word(8));
        seg.window = half(14);
        seg.data = tcp[head..].to_vec();
        let mut at = 20;
        while at < head && tcp[at] != 0 {
            let (kind, len) = if tcp[at] == 1 { (1, 1) } else { (tcp[at], usize::from(tcp[at + 1])) };
            match kind {
                2 => seg.mss = Some(half(at + 2)),
                3 => seg.scale = Some(tcp[at + 2]),
                4 => seg.sack_ok = true,
                5 => {
                    seg.sack =
                        (0..(len - 2) / 8).map(|n| (word(at + 2 + 8 * n), word(at + 6 + 8 * n))).collect()
                }
                8 => seg.timestamps = Some((word(at + 2), word(at + 6))),
                _ => {}
            }
            at += len;
        }
        Some(seg)
    }
}

fn network_header(frame: &mut Vec<u8>, src: IpAddr, dst: IpAddr, tcp_len: usize) {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((tcp_len as u16 + 20).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
            let checksum = !fold(sum(&frame[14..34]));
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((tcp_len as u16).to_be_bytes());
            frame.extend([6, 64]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
        }
        _ => panic!("mixed families"),
    }
}

/// The link address of the node with an address.
pub(crate) fn mac(address: IpAddr) -> [u8; 6] {
    let [.., a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    [2, 0, a, b, c, d]
}

pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Zero has two forms.
fn same(a: u16, b: u16) -> bool {
    a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
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
