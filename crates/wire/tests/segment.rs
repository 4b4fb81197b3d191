//! Properties of the parser: it reads back what was written, and stays inside whatever it is given.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use proptest::prelude::*;
use wire::{
    Cursor, EthernetHeader, Ipv4Header, Ipv6Header, ListenerKey, Segment, SegmentError, TcpFlags, TcpHeader,
    VlanTag, listener_of,
};
use zerocopy::IntoBytes;

/// What goes into a frame.
#[derive(Debug, Clone)]
struct Fields {
    v6: bool,
    tags: usize,
    option_words: u8,
    tcp_words: u8,
    addresses: [[u8; 16]; 2],
    ports: [u16; 2],
    flags: u8,
    payload: Vec<u8>,
}

fn fields() -> impl Strategy<Value = Fields> {
    let shape = (any::<bool>(), 0..=2usize, 0..=10u8, 5..=15u8);
    let content =
        (any::<[[u8; 16]; 2]>(), any::<[u16; 2]>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40));
    (shape, content).prop_map(|((v6, tags, option_words, tcp_words), (addresses, ports, flags, payload))| {
        Fields { v6, tags, option_words, tcp_words, addresses, ports, flags, payload }
    })
}

fn v4(address: [u8; 16]) -> [u8; 4] {
    [address[12], address[13], address[14], address[15]]
}

fn mapped(address: [u8; 4]) -> [u8; 16] {
    std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets()
}

/// The frame, and how long its headers are up to the fixed part of TCP.
fn frame(fields: &Fields) -> (Vec<u8>, usize) {
    let network = if fields.v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let mut types: Vec<[u8; 2]> = vec![[0x81, 0x00]; fields.tags];
    types.push(network);
    let ethernet = EthernetHeader { destination: [2; 6], source: [4; 6], ether_type: types[0] };
    let mut frame = ethernet.as_bytes().to_vec();
    for ether_type in &types[1..] {
        frame.extend(VlanTag { control: [0, 9], ether_type: *ether_type }.as_bytes());
    }
    let [source, destination] = fields.addresses;
    if fields.v6 {
        let header = Ipv6Header {
            version_class_flow: [0x60, 0, 0, 0],
            payload_length: [0, 60],
            next_header: 6,
            hop_limit: 1,
            source,
            destination,
        };
        frame.extend(header.as_bytes());
    } else {
        let words = 5 + fields.option_words;
        let header = Ipv4Header {
            version_length: 0x40 | words,
            traffic_class: 0,
            total_length: [1, 0],
            identification: [0; 2],
            flags_offset: [0x40, 0],
            time_to_live: 1,
            protocol: 6,
            checksum: [0; 2],
            source: v4(source),
            destination: v4(destination),
        };
        frame.extend(header.as_bytes());
        frame.extend(vec![1; usize::from(fields.option_words) * 4]);
    }
    let tcp = TcpHeader {
        source_port: fields.ports[0].to_be_bytes(),
        destination_port: fields.ports[1].to_be_bytes(),
        sequence: [0; 4],
        acknowledgement: [0; 4],
        data_offset: fields.tcp_words << 4,
        flags: fields.flags,
        window: [0; 2],
        checksum: [0; 2],
        urgent: [0; 2],
    };
    frame.extend(tcp.as_bytes());
    let headers = frame.len();
    frame.extend(&fields.payload);
    (frame, headers)
}

proptest! {
    #[test]
    fn reads_back_what_was_written(fields in fields()) {
        let (frame, _) = frame(&fields);
        let segment = Segment::parse(Cursor::new(&frame)).unwrap();
        let expected = |address| if fields.v6 { address } else { mapped(v4(address)) };
        prop_assert_eq!(segment.source, expected(fields.addresses[0]));
        prop_assert_eq!(segment.destination, expected(fields.addresses[1]));
        prop_assert_eq!(segment.source_port, fields.ports[0].to_be_bytes());
        prop_assert_eq!(segment.destination_port, fields.ports[1].to_be_bytes());
        prop_assert_eq!(segment.flags, TcpFlags(fields.flags));
    }

    /// Every cut before the end of the headers is noticed; none is read past, which a guard of other bytes would show.
    #[test]
    fn every_cut_in_the_headers_is_truncation(fields in fields(), cut in any::<prop::sample::Index>()) {
        let (frame, headers) = frame(&fields);
        let cut = cut.index(headers);
        prop_assert_eq!(Segment::parse(Cursor::new(&frame[..cut])), Err(SegmentError::Truncated));
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..128), network in 0..4usize) {
        let mut bytes = bytes;
        if let Some(ether_type) = bytes.get_mut(12..14) {
            ether_type.copy_from_slice(&[[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0x88, 0xa8]][network]);
        }
        // A copy of exactly that length, so that Miri and sanitizers see a read past its end.
        let exact = bytes.clone().into_boxed_slice();
        prop_assert_eq!(Segment::parse(Cursor::new(&exact)), Segment::parse(Cursor::new(&bytes)));
    }

    #[test]
    fn the_exact_entry_wins_over_any(fields in fields(), exact in any::<bool>(), any_address in any::<bool>()) {
        let (frame, _) = frame(&fields);
        let segment = Segment::parse(Cursor::new(&frame)).unwrap();
        prop_assume!(segment.destination != ListenerKey::ANY);
        let exact_key = ListenerKey::tcp(segment.destination, segment.destination_port);
        let any_key = ListenerKey::tcp(ListenerKey::ANY, segment.destination_port);
        let found = listener_of(&segment, |key| {
            if exact && *key == exact_key { Some("exact") } else if any_address && *key == any_key { Some("any") } else { None }
        });
        let expected = if exact { Some("exact") } else if any_address { Some("any") } else { None };
        prop_assert_eq!(found, expected);
    }
}
