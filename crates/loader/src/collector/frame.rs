//! Segments of ours that end a connection, as finished frames.

use dataplane::flow::{state, to_leg};
use wire::{Flow, Hop, Leg, TcpFlags, Tuple};

use crate::segment::{self, Segment};

/// A frame and the device it leaves by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) device: u32,
    pub(super) bytes: Vec<u8>,
}

/// What of a segment of ours differs from one to the next.
struct Last {
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    /// Value and echo.
    timestamps: Option<(u32, u32)>,
}

/// NOP, NOP, kind and length of the timestamps option (RFC 7323 appendix A).
const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];

/// FIN to the client of a connection that ends (`dataplane::flow::end_for`).
pub(super) fn fin_to_client(flow: &Flow) -> Option<Frame> {
    to_client(flow, TcpFlags::FIN | TcpFlags::ACK, flow.sent_end.wrapping_sub(1))
}

/// RST to the client: at what it should expect next, and at what it acknowledged last, since it takes one only exactly there
/// (RFC 5961 section 3.2) and what lies between may be lost.
pub(super) fn resets_to_client(flow: &Flow) -> Vec<Frame> {
    let mut places = vec![flow.sent_end, flow.client_ack];
    places.dedup();
    places.into_iter().filter_map(|at| to_client(flow, TcpFlags::RST | TcpFlags::ACK, at)).collect()
}

/// RST to the endpoint, likewise.
pub(super) fn resets_to_leg(flow: &Flow) -> Vec<Frame> {
    if flow.leg == Tuple::default() {
        return Vec::new();
    }
    // Before the SYN-ACK nothing but our SYN was sent.
    let first = flow.leg_isn.wrapping_add(1);
    let mut places = match flow.state {
        state::OPENING => vec![first],
        _ => vec![to_leg(flow, flow.client_end), flow.leg_ack],
    };
    places.dedup();
    let frames = places.into_iter().map(|sequence| {
        let last = Last { flags: TcpFlags::RST, sequence, acknowledgement: 0, timestamps: None };
        frame(&flow.leg.reversed(), &flow.up, &last)
    });
    frames.flatten().collect()
}

/// RST to the endpoint of a leg that its flow has left. `key` is what the endpoint sends from and to.
pub(super) fn reset_of(key: &Tuple, leg: &Leg) -> Option<Frame> {
    let last = Last { flags: TcpFlags::RST, sequence: leg.reset_seq, acknowledgement: 0, timestamps: None };
    frame(&key.reversed(), &leg.up, &last)
}

fn to_client(flow: &Flow, flags: u8, sequence: u32) -> Option<Frame> {
    let timestamps = flow.client_options.timestamps().then_some((flow.sent_tsval, flow.client_tsval));
    let last = Last { flags, sequence, acknowledgement: flow.client_end, timestamps };
    frame(&flow.client.reversed(), &flow.down, &last)
}

/// The segment as a frame; `None` when the way was never learned, or leads between families.
fn frame(tuple: &Tuple, hop: &Hop, last: &Last) -> Option<Frame> {
    if hop.device == 0 {
        return None;
    }
    let options =
        last.timestamps.map(|(value, echo)| [TIMESTAMPS, value.to_be_bytes(), echo.to_be_bytes()].concat());
    let segment = Segment {
        flags: last.flags,
        sequence: last.sequence,
        acknowledgement: last.acknowledgement,
        // Whoever is told to end sends nothing more: any window does.
        window: u16::MAX,
        options: options.as_deref().unwrap_or_default(),
        payload: &[],
    };
    let bytes = segment::frame(tuple, [hop.destination, hop.source], &segment)?;
    Some(Frame { device: hop.device, bytes })
}

#[cfg(test)]
mod tests {
    use wire::{Cursor, TcpOptions};

    use super::*;
    use crate::segment::sum;

    fn flow(client: &str, vip: &str, leg: (&str, &str)) -> Flow {
        let address = |text: &str| match text.parse().unwrap() {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(address) => address.octets(),
        };
        let tuple = |source: &str, from: u16, destination: &str, to: u16| Tuple {
            source: address(source),
            destination: address(destination),
            source_port: from.to_be_bytes(),
            destination_port: to.to_be_bytes(),
        };
        Flow {
            state: state::SPLICED,
            client: tuple(client, 40_000, vip, 80),
            leg: tuple(leg.0, 8080, leg.1, 20_000),
            down: Hop { device: 3, destination: [2; 6], source: [4; 6] },
            up: Hop { device: 5, destination: [6; 6], source: [8; 6] },
            sent_end: 1000,
            client_end: 500,
            client_ack: 1000,
            seq_add: 100,
            leg_ack: 600,
            client_options: TcpOptions { flags: TcpOptions::TIMESTAMPS, ..TcpOptions::default() },
            sent_tsval: 7,
            client_tsval: 9,
            ..Flow::default()
        }
    }

    fn v4() -> Flow {
        flow("192.0.2.9", "192.0.2.1", ("10.0.0.2", "10.0.0.1"))
    }

    fn ending(mut flow: Flow) -> Flow {
        dataplane::flow::end_for(&mut flow);
        flow
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn a_fin_stands_behind_all_that_the_client_was_sent() {
        let frame = fin_to_client(&ending(v4())).unwrap();
        let bytes = &frame.bytes;
        assert_eq!((frame.device, &bytes[..6], &bytes[6..12]), (3, &[2; 6][..], &[4; 6][..]));
        let segment = wire::Segment::parse(Cursor::new(bytes)).unwrap();
        assert_eq!((segment.source, segment.destination), (v4().client.destination, v4().client.source));
        assert_eq!((segment.source_port, segment.flags.0), ([0, 80], TcpFlags::FIN | TcpFlags::ACK));
        let tcp = &bytes[34..];
        assert_eq!((word(tcp, 4), word(tcp, 8)), (1000, 500));
        assert_eq!((tcp[12], word(tcp, 24), word(tcp, 28)), (8 << 4, 7, 9), "timestamps");
        assert_eq!(tcp.len(), 32);
    }

    #[test]
    fn checksums_add_up_to_all_ones_in_both_families() {
        let v6 = flow("2001:db8::9", "2001:db8::1", ("fd00::2", "fd00::1"));
        for (flow, network) in [(v4(), 20), (v6, 40)] {
            for frame in fin_to_client(&ending(flow)).into_iter().chain(resets_to_leg(&flow)) {
                let (header, tcp) = frame.bytes[14..].split_at(network);
                let (source, destination) = match network {
                    20 => (&header[12..16], &header[16..20]),
                    _ => (&header[8..24], &header[24..40]),
                };
                if network == 20 {
                    assert_eq!(sum(&[header]), 0xffff);
                    assert_eq!(usize::from(header[3]), 20 + tcp.len());
                } else {
                    assert_eq!(usize::from(header[5]), tcp.len());
                }
                let length = [0, u8::try_from(tcp.len()).unwrap()];
                assert_eq!(sum(&[source, destination, &[0, 6], &length, tcp]), 0xffff);
            }
        }
    }

    #[test]
    fn a_reset_of_the_leg_is_where_the_endpoint_expects_it() {
        let idle = resets_to_leg(&v4());
        assert_eq!(idle.len(), 1, "all is acknowledged: one place");
        assert_eq!((idle[0].device, word(&idle[0].bytes, 38)), (5, 600));
        assert_eq!(idle[0].bytes[47], TcpFlags::RST);

        let inserted = Flow { insert_len: 60, points_used: 1, points: [499, 0, 0, 0, 0, 0, 0, 0], ..v4() };
        let places: Vec<u32> = resets_to_leg(&inserted).iter().map(|frame| word(&frame.bytes, 38)).collect();
        assert_eq!(places, [660, 600], "behind the inserted text, and what is acknowledged");

        let opening = Flow { state: state::OPENING, leg_isn: 77, ..v4() };
        assert_eq!(word(&resets_to_leg(&opening)[0].bytes, 38), 78);
        assert_eq!(resets_to_leg(&Flow { leg: Tuple::default(), ..v4() }), []);
    }

    #[test]
    fn without_a_known_way_nothing_is_made() {
        assert_eq!(fin_to_client(&ending(Flow { down: Hop::default(), ..v4() })), None);
    }
}
