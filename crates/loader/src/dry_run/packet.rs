//! A packet as people talk of it, and as a frame.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use wire::{Cursor, IpAddress, Segment, TcpHeader, Tuple};
use zerocopy::FromBytes;

use crate::segment;

/// Link addresses of frames that nobody will ever see: locally administered (IEEE 802, section 8.2).
const LINK: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// Kinds of options (RFC 9293 section 3.2, RFC 7323, RFC 2018).
const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;
const SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;

/// A TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Control bits, as in [`wire::TcpFlags`].
    pub flags: u8,
    /// Sequence number of the first byte, or of the SYN.
    pub sequence: u32,
    /// The next byte that the sender expects.
    pub acknowledgement: u32,
    /// As it stands in the header.
    pub window: u16,
    /// What of the options is of interest here.
    pub options: Options,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Options of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Largest segment, in bytes.
    pub mss: Option<u16>,
    /// Shift of windows.
    pub window_scale: Option<u8>,
    /// Whether selective acknowledgements are permitted.
    pub sack: bool,
    /// Value and echo.
    pub timestamps: Option<(u32, u32)>,
}

impl Packet {
    /// Addresses and ports.
    pub(super) fn tuple(&self) -> Tuple {
        Tuple {
            source: octets(self.source.ip()),
            destination: octets(self.destination.ip()),
            source_port: self.source.port().to_be_bytes(),
            destination_port: self.destination.port().to_be_bytes(),
        }
    }

    /// As a frame; `None` between families.
    pub(super) fn frame(&self) -> Option<Vec<u8>> {
        let segment = segment::Segment {
            flags: self.flags,
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            window: self.window,
            options: &self.options.bytes(),
            payload: &self.payload,
        };
        segment::frame(&self.tuple(), LINK, &segment)
    }

    /// Reads a frame; `None` if there is no TCP segment in it.
    pub(super) fn read(frame: &[u8]) -> Option<Self> {
        let found = Segment::parse(Cursor::new(frame)).ok()?;
        let packet = frame.get(usize::from(found.network_at)..)?;
        // A frame may be longer than its packet.
        let length = if found.is_v6 { half(packet, 4)? + 40 } else { half(packet, 2)? };
        let tcp = packet.get(usize::from(found.network_len)..usize::from(length))?;
        let (header, _) = TcpHeader::read_from_prefix(tcp).ok()?;
        let (options, payload) =
            tcp.get(20..)?.split_at_checked(usize::from(header.length()).checked_sub(20)?)?;
        Some(Self {
            source: socket(found.source, found.source_port),
            destination: socket(found.destination, found.destination_port),
            flags: found.flags.0,
            sequence: u32::from_be_bytes(header.sequence),
            acknowledgement: u32::from_be_bytes(header.acknowledgement),
            window: u16::from_be_bytes(header.window),
            options: Options::read(options),
            payload: payload.to_vec(),
        })
    }
}

impl Options {
    /// As Linux lays them out, padded to words.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(mss) = self.mss {
            bytes.extend([MSS, 4]);
            bytes.extend(mss.to_be_bytes());
        }
        if self.sack {
            bytes.extend([SACK_PERMITTED, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            bytes.extend([TIMESTAMPS, 10]);
            bytes.extend(value.to_be_bytes());
            bytes.extend(echo.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            bytes.extend([NOTHING, SCALE, 3, shift]);
        }
        // In front: what follows them is aligned.
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        bytes.splice(0..0, std::iter::repeat_n(NOTHING, padding));
        bytes
    }

    fn read(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        loop {
            match bytes {
                [] | [END, ..] => return options,
                [NOTHING, rest @ ..] => bytes = rest,
                [kind, length, rest @ ..] => {
                    let Some((value, rest)) =
                        usize::from(*length).checked_sub(2).and_then(|length| rest.split_at_checked(length))
                    else {
                        return options;
                    };
                    options.take(*kind, value);
                    bytes = rest;
                }
                [_] => return options,
            }
        }
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (MSS, &[high, low]) => self.mss = Some(u16::from_be_bytes([high, low])),
            (SCALE, &[shift]) => self.window_scale = Some(shift),
            (SACK_PERMITTED, []) => self.sack = true,
            (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                self.timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            }
            _ => {}
        }
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn socket(address: IpAddress, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(address).to_canonical(), u16::from_be_bytes(port))
}

/// As shared records have it: IPv4 mapped.
pub(super) fn octets(address: IpAddr) -> IpAddress {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_reads_back_as_it_was_written() {
        let all = Options { mss: Some(1460), window_scale: Some(7), sack: true, timestamps: Some((1, 2)) };
        for (source, destination) in
            [("192.0.2.9:1", "192.0.2.1:80"), ("[2001:db8::9]:1", "[2001:db8::1]:80")]
        {
            for (options, payload) in [
                (all, &b""[..]),
                (Options::default(), b"odd"),
                (Options { timestamps: Some((7, 0)), ..Options::default() }, b"GET / HTTP/1.1\r\n\r\n"),
            ] {
                let packet = Packet {
                    source: source.parse().unwrap(),
                    destination: destination.parse().unwrap(),
                    flags: 0x18,
                    sequence: u32::MAX,
                    acknowledgement: 9,
                    window: 77,
                    options,
                    payload: payload.to_vec(),
                };
                let mut frame = packet.frame().unwrap();
                assert_eq!(Packet::read(&frame).as_ref(), Some(&packet));
                // Short frames are padded on their way (IEEE 802.3 section 3.2.8).
                frame.extend([0; 9]);
                assert_eq!(Packet::read(&frame), Some(packet));
            }
        }
        assert_eq!(Packet::read(&[0; 60]), None);
    }

    #[test]
    fn options_that_lie_end_the_list() {
        assert_eq!(Options::read(&[SCALE, 3, 7, MSS, 40, 1, 1]).window_scale, Some(7));
        assert_eq!(Options::read(&[MSS, 0, 1, 1]), Options::default());
        assert_eq!(Options::read(&[MSS]), Options::default());
    }
}
