//! TCP segments as finished frames: in IP, in Ethernet, with their checksums.

use wire::Tuple;

/// What of a segment differs from one to the next. Options stand as in the header, padding included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment<'s> {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) window: u16,
    pub(crate) options: &'s [u8],
    pub(crate) payload: &'s [u8],
}

const TTL: u8 = 64;

/// The segment of `tuple` behind an Ethernet header with these addresses, destination first; `None` between families, and when
/// it is longer than IP can say.
pub(crate) fn frame(tuple: &Tuple, link: [[u8; 6]; 2], segment: &Segment) -> Option<Vec<u8>> {
    let tcp = tcp(tuple, segment);
    let length = u16::try_from(tcp.len()).ok()?;
    let mut bytes = link.concat();
    match (v4(&tuple.source), v4(&tuple.destination)) {
        (Some(source), Some(destination)) => {
            bytes.extend([0x08, 0x00]);
            let mut header = vec![0x45, 0];
            header.extend(length.checked_add(20)?.to_be_bytes());
            header.extend([0, 0, 0x40, 0, TTL, wire::ip_protocol::TCP, 0, 0]); // do not fragment
            header.extend(source);
            header.extend(destination);
            let checksum = !sum(&[&header]);
            put(&mut header, 10, checksum);
            bytes.extend(header);
        }
        (None, None) => {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(length.to_be_bytes());
            bytes.extend([wire::ip_protocol::TCP, TTL]);
            bytes.extend(tuple.source);
            bytes.extend(tuple.destination);
        }
        _ => return None,
    }
    bytes.extend(tcp);
    Some(bytes)
}

/// The TCP header with its options and checksum, and what it carries.
fn tcp(tuple: &Tuple, segment: &Segment) -> Vec<u8> {
    let words = u8::try_from(5 + segment.options.len() / 4).unwrap_or(15);
    let mut tcp = [tuple.source_port, tuple.destination_port].concat();
    tcp.extend(segment.sequence.to_be_bytes());
    tcp.extend(segment.acknowledgement.to_be_bytes());
    tcp.extend([words << 4, segment.flags]);
    tcp.extend(segment.window.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(segment.options);
    tcp.extend(segment.payload);
    // Zeroes do not change a sum: the pseudo-headers of both families add up from the mapped addresses, but for the ff:ff
    // that mapped ones bring, which are zero in one's complement.
    let length = u16::try_from(tcp.len()).unwrap_or(0).to_be_bytes();
    let pseudo = [0, wire::ip_protocol::TCP, length[0], length[1]];
    let checksum = !sum(&[&tuple.source, &tuple.destination, &pseudo, &tcp]);
    put(&mut tcp, 16, checksum);
    tcp
}

/// The one's complement sum of parts, all but the last of even length (RFC 1071).
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    words.fold(0, |sum: u16, word| {
        let high = word.first().copied().unwrap_or(0);
        let word = u16::from_be_bytes([high, word.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

fn put(header: &mut [u8], at: usize, value: u16) {
    if let Some(field) = header.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

fn v4(address: &wire::IpAddress) -> Option<[u8; 4]> {
    std::net::Ipv6Addr::from(*address).to_ipv4_mapped().map(|address| address.octets())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_last_byte_counts_as_the_high_half_of_a_word() {
        assert_eq!(sum(&[&[0x12, 0x34], &[0x56]]), 0x1234 + 0x5600);
        assert_eq!(sum(&[&[0xff, 0xff, 0x00, 0x02]]), 2, "the carry comes round");
    }

    #[test]
    fn nothing_goes_between_families() {
        let four = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
        let tuple = Tuple { source: four, destination: [1; 16], ..Tuple::default() };
        let segment =
            Segment { flags: 0, sequence: 0, acknowledgement: 0, window: 0, options: &[], payload: &[] };
        assert_eq!(frame(&tuple, [[0; 6]; 2], &segment), None);
    }
}
