use std::io;
use std::net::IpAddr;

use super::host::RawHost;
use super::segment::{Segment, add, fold, octets, short};

/// Bytes of an IPv4 header, and of what of a TCP header every router quotes (RFC 792).
const QUOTED_V4: usize = 20 + 8;
const QUOTED_V6: usize = 40 + 8;

impl RawHost {
    /// Sends the error of a router that `quoted` was too big for: to its sender, from whom it was for (RFC 1191 section 4,
    /// RFC 4443 section 3.2). `mtu` in bytes; the highest 16 bits of it are lost over IPv4.
    ///
    /// # Errors
    /// The wire is gone.
    pub fn send_too_big(&self, quoted: &Segment, mtu: u32) -> io::Result<()> {
        self.send_frame(&too_big(&self.frame(quoted), quoted, mtu))
    }
}

/// `frame` is that of `quoted`, with the link addresses that the error shall have.
fn too_big(frame: &[u8], quoted: &Segment, mtu: u32) -> Vec<u8> {
    let (link, packet) = frame.split_at(14);
    let (from, to) = (quoted.destination.ip(), quoted.source.ip());
    let icmp = match quoted.source.ip() {
        IpAddr::V4(_) => error(&[3, 4, 0, 0], mtu & 0xffff, &packet[..QUOTED_V4], 0),
        IpAddr::V6(_) => {
            // RFC 4443 section 2.3: the pseudo-header counts.
            let pseudo = [octets(from), octets(to), vec![0, 58], short(8 + QUOTED_V6).to_vec()].concat();
            error(&[2, 0, 0, 0], mtu, &packet[..QUOTED_V6], add(0, &pseudo))
        }
    };
    [link, &header(from, to, icmp.len()), &icmp].concat()
}

fn error(kind: &[u8; 4], mtu: u32, quotation: &[u8], sum: u64) -> Vec<u8> {
    let mut icmp = [&kind[..], &mtu.to_be_bytes(), quotation].concat();
    let checksum = !fold(add(sum, &icmp));
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    icmp
}

fn header(from: IpAddr, to: IpAddr, length: usize) -> Vec<u8> {
    if from.is_ipv6() {
        let start = [&[0x60, 0, 0, 0][..], &short(length), &[58, 64]].concat();
        return [start, octets(from), octets(to)].concat();
    }
    let start = [&[0x45, 0][..], &short(20 + length), &[0, 0, 0, 0, 64, 1, 0, 0]].concat();
    let mut header = [start, octets(from), octets(to)].concat();
    let checksum = !fold(add(0, &header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_add_up_and_say_what_they_quote() {
        for (from, to, network, quoted_at) in
            [("192.0.2.1:80", "192.0.2.9:4000", 20, 42), ("[fd00::1]:80", "[fd00::9]:4000", 40, 62)]
        {
            let quoted = Segment::new(from.parse().unwrap(), to.parse().unwrap(), 16, 77, 88);
            let plain = quoted.frame([1; 6], [2; 6]);
            let error = too_big(&plain, &quoted, 1300);
            assert_eq!(error[..14], plain[..14]);
            let (ip, icmp) = error[14..].split_at(network);
            assert_eq!(error[quoted_at..], plain[14..14 + error.len() - quoted_at]);
            assert_eq!(u32::from_be_bytes(icmp[4..8].try_into().unwrap()), 1300);
            let (source, destination) = if network == 20 { (12..16, 16..20) } else { (8..24, 24..40) };
            assert_eq!(ip[source], octets(quoted.destination.ip())[..]);
            assert_eq!(ip[destination], octets(quoted.source.ip())[..]);
            if network == 20 {
                assert_eq!((fold(add(0, ip)), fold(add(0, icmp))), (0xffff, 0xffff));
            } else {
                let pseudo = [&ip[8..], &[0, 58], &short(icmp.len())].concat();
                assert_eq!(fold(add(add(0, &pseudo), icmp)), 0xffff);
            }
        }
    }
}
