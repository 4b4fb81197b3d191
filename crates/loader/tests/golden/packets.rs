//! Frames, put together layer by layer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A TCP frame under construction: valid until told otherwise.
#[derive(Clone)]
pub(crate) struct Packet {
    vlan_tags: Vec<u16>,
    destination: IpAddr,
    port: u16,
    flags: u8,
    protocol: u8,
    ip_options: usize,
    fragment: u16,
    version: Option<u8>,
    header_words: Option<u8>,
    next_header: Option<u8>,
    tcp_words: u8,
    truncate_to: Option<usize>,
}

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const SYN_ACK: u8 = SYN | ACK;
pub(crate) const RST: u8 = 0x04;

impl Packet {
    pub(crate) fn to(destination: &str, port: u16) -> Self {
        Self {
            vlan_tags: Vec::new(),
            destination: destination.parse().unwrap(),
            port,
            flags: ACK,
            protocol: TCP,
            ip_options: 0,
            fragment: 0x4000,
            version: None,
            header_words: None,
            next_header: None,
            tcp_words: 5,
            truncate_to: None,
        }
    }

    pub(crate) fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    pub(crate) fn udp(self) -> Self {
        Self { protocol: UDP, ..self }
    }

    /// One tag per type, outermost first.
    pub(crate) fn vlans(self, types: &[u16]) -> Self {
        Self { vlan_tags: types.to_vec(), ..self }
    }

    /// Bytes of IPv4 options, a multiple of 4.
    pub(crate) fn ip_options(self, length: usize) -> Self {
        Self { ip_options: length, ..self }
    }

    /// The IPv4 flags and offset field.
    pub(crate) fn fragment(self, field: u16) -> Self {
        Self { fragment: field, ..self }
    }

    pub(crate) fn ip_version(self, version: u8) -> Self {
        Self { version: Some(version), ..self }
    }

    pub(crate) fn ip_header_words(self, words: u8) -> Self {
        Self { header_words: Some(words), ..self }
    }

    pub(crate) fn ipv6_next_header(self, next: u8) -> Self {
        Self { next_header: Some(next), ..self }
    }

    pub(crate) fn tcp_header_words(self, words: u8) -> Self {
        Self { tcp_words: words, ..self }
    }

    pub(crate) fn truncated_to(self, length: usize) -> Self {
        Self { truncate_to: Some(length), ..self }
    }

    pub(crate) fn build(self) -> Vec<u8> {
        // For loopback's own address: BPF_PROG_TEST_RUN has frames come in there.
        let mut frame = vec![0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2];
        for tag in &self.vlan_tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0x20, 0x64]); // priority 1, VLAN 100
        }
        let transport = self.transport();
        match self.destination {
            IpAddr::V4(destination) => self.ipv4(&mut frame, destination, transport.len()),
            IpAddr::V6(destination) => self.ipv6(&mut frame, destination, transport.len()),
        }
        frame.extend(transport);
        frame.truncate(self.truncate_to.unwrap_or(usize::MAX));
        frame
    }

    fn ipv4(&self, frame: &mut Vec<u8>, destination: Ipv4Addr, payload: usize) {
        let words = self.header_words.unwrap_or(u8::try_from(5 + self.ip_options / 4).unwrap());
        let total = u16::try_from(20 + self.ip_options + payload).unwrap();
        frame.extend([0x08, 0x00, self.version.unwrap_or(4) << 4 | words, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 1]);
        frame.extend(self.fragment.to_be_bytes());
        frame.extend([64, self.protocol, 0, 0]);
        frame.extend([198, 51, 100, 9]);
        frame.extend(destination.octets());
        frame.extend(vec![1; self.ip_options]); // no-operation options
    }

    fn ipv6(&self, frame: &mut Vec<u8>, destination: Ipv6Addr, payload: usize) {
        frame.extend([0x86, 0xdd, self.version.unwrap_or(6) << 4, 0, 0, 0]);
        frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
        frame.extend([self.next_header.unwrap_or(self.protocol), 64]);
        frame.extend("2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
        frame.extend(destination.octets());
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = vec![0xc3, 0x50]; // port 50000
        bytes.extend(self.port.to_be_bytes());
        if self.protocol == UDP {
            bytes.extend([0, 12, 0, 0, 1, 2, 3, 4]);
            return bytes;
        }
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, self.tcp_words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(vec![1; usize::from(self.tcp_words.saturating_sub(5)) * 4]);
        bytes
    }
}
