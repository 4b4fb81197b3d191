use std::net::{IpAddr, SocketAddr};

/// TCP's flags, as in the header's fourteenth byte (RFC 9293 section 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Opens a connection.
    pub const SYN: u8 = 2;
    /// Ends a connection.
    pub const RST: u8 = 4;
    /// Asks to deliver at once.
    pub const PSH: u8 = 8;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;
}

/// Option layouts of a SYN, as systems send them.
#[derive(Clone, Copy, Debug)]
pub struct Options;

impl Options {
    /// Linux: MSS 1460, SACK, timestamps, NOP, window scale 7.
    pub const LINUX: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 16, 0, 0, 0, 0, 0, 1, 3, 3, 7];
    /// Windows: MSS 1460, NOP, window scale 8, NOP, NOP, SACK; no timestamps.
    pub const WINDOWS: &[u8] = &[2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2];
    /// macOS: MSS 1460, NOP, window scale 6, NOP, NOP, timestamps, SACK, end, padding.
    pub const MACOS: &[u8] = &[2, 4, 5, 180, 1, 3, 3, 6, 1, 1, 8, 10, 0, 0, 16, 0, 0, 0, 0, 0, 4, 2, 0, 0];
    /// None at all: MSS 536 (IPv4) or 1220 (IPv6) by default, no scaling.
    pub const NONE: &[u8] = &[];
}

/// A TCP segment in an Ethernet frame. Everything can be set, so everything can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whom it claims to come from.
    pub source: SocketAddr,
    /// Whom it goes to; of the same family.
    pub destination: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// [`flag`]s.
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options; padded with zeros to a multiple of four bytes (at most 40).
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
    /// What to add to the right checksum.
    pub checksum_error: u16,
    /// The header's length in words of four bytes, if it is to be wrong.
    pub data_offset: Option<u8>,
    /// Bytes behind the IP packet, as short Ethernet frames have.
    pub padding: Vec<u8>,
}

impl Segment {
    /// A bare segment with a window of 64,000 bytes.
    pub fn new(source: SocketAddr, destination: SocketAddr, flags: u8, seq: u32, ack: u32) -> Self {
        Self {
            source,
            destination,
            seq,
            ack,
            flags,
            window: 64_000,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
            checksum_error: 0,
            data_offset: None,
            padding: Vec::new(),
        }
    }

    /// The sequence number behind this segment.
    pub fn end(&self) -> u32 {
        let flags = u32::from(self.flags & flag::SYN != 0) + u32::from(self.flags & flag::FIN != 0);
        self.seq.wrapping_add(length(self.payload.len())).wrapping_add(flags)
    }

    /// The timestamps option, as (value, echo reply).
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let data = self.option(8)?;
        Some((word(data.get(..4)?), word(data.get(4..8)?)))
    }

    /// The data of the option of this kind.
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = self.options.as_slice();
        loop {
            match *rest.first()? {
                0 => return None,
                1 => rest = &rest[1..],
                found => {
                    let length = usize::from(*rest.get(1)?);
                    let data = rest.get(2..length)?;
                    if found == kind {
                        return Some(data);
                    }
                    rest = &rest[length..];
                }
            }
        }
    }

    /// The frame, from and to these hardware addresses.
    pub fn frame(&self, from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
        let tcp = self.tcp();
        let mut frame = [to, from].concat();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, 0];
                header.extend(short(20 + tcp.len()));
                // No identification, may not be fragmented, 64 hops, TCP.
                header.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = fold(add(0, &header));
                header[10..12].copy_from_slice(&(!sum).to_be_bytes());
                frame.extend([0x08, 0x00]);
                frame.extend(header);
            }
            (source, destination) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(short(tcp.len()));
                frame.extend([6, 64]);
                frame.extend(octets(source));
                frame.extend(octets(destination));
            }
        }
        frame.extend(tcp);
        frame.extend(&self.padding);
        frame
    }

    /// Reads a frame. None if it is no whole TCP segment over IPv4 without options, or IPv6 without extension headers.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(14..)?;
        let (source, destination, tcp): (IpAddr, IpAddr, &[u8]) = match frame.get(12..14)? {
            [0x08, 0x00] if *packet.first()? == 0x45 && *packet.get(9)? == 6 => {
                let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
                let address = |at: usize| Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into());
                (address(12)?, address(16)?, packet.get(20..length)?)
            }
            [0x86, 0xdd] if *packet.get(6)? == 6 => {
                let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
                let address = |at: usize| Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into());
                (address(8)?, address(24)?, packet.get(40..40 + length)?)
            }
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
        let header = usize::from(tcp.get(12)? >> 4) * 4;
        Some(Self {
            window: port(14)?,
            urgent: port(18)?,
            options: tcp.get(20..header)?.to_vec(),
            payload: tcp.get(header..)?.to_vec(),
            ..Self::new(
                SocketAddr::new(source, port(0)?),
                SocketAddr::new(destination, port(2)?),
                *tcp.get(13)?,
                word(tcp.get(4..8)?),
                word(tcp.get(8..12)?),
            )
        })
    }

    fn tcp(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        let words = u8::try_from(5 + options.len() / 4).unwrap_or(15);
        let mut tcp = Vec::with_capacity(20 + options.len() + self.payload.len());
        tcp.extend(self.source.port().to_be_bytes());
        tcp.extend(self.destination.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([self.data_offset.unwrap_or(words) << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(options);
        tcp.extend(&self.payload);
        let pseudo = add(add(6, &octets(self.source.ip())), &octets(self.destination.ip()));
        let sum = fold(add(pseudo + u64::from(length(tcp.len())), &tcp));
        let checksum = (!sum).wrapping_add(self.checksum_error);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        tcp
    }
}

/// RFC 1071, without the final complement.
pub(super) fn add(sum: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(2).fold(sum, |sum, pair| {
        sum + u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
    })
}

pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

pub(super) fn short(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_read_in_both_families() {
        for (source, destination) in [("10.0.0.1:1000", "10.0.0.2:80"), ("[fd77::1]:1000", "[fd77::2]:80")] {
            let segment = Segment {
                options: Options::LINUX.to_vec(),
                payload: b"hello".to_vec(),
                ..Segment::new(source.parse().unwrap(), destination.parse().unwrap(), flag::ACK, 1, u32::MAX)
            };
            let frame = segment.frame([1; 6], [2; 6]);
            assert_eq!(Segment::parse(&frame), Some(segment.clone()));
            assert_eq!((segment.end(), segment.timestamps()), (6, Some((4096, 0))));
            let padded = Segment { padding: vec![7; 9], ..segment.clone() };
            assert_eq!(Segment::parse(&padded.frame([1; 6], [2; 6])), Some(segment));
        }
    }

    #[test]
    fn the_checksum_is_that_of_rfc_9293() {
        let segment =
            Segment::new("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), flag::SYN, 0, 0);
        let tcp = segment.tcp();
        let pseudo = add(6 + 20, &[10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(fold(add(pseudo, &tcp)), 0xffff);
        let wrong = Segment { checksum_error: 1, ..segment }.tcp();
        assert_ne!(fold(add(pseudo, &wrong)), 0xffff);
    }
}
