//! A connection in the kernel, in words.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use api::v1;
use dataplane::flow::{flag, is_due, phase, state};
use wire::{Flow, IpAddress, TcpOptions, Tuple};

use super::text::number;

/// A connection as it is listed. `route` and `listener` are the names of its indices; `now` is the programs' clock.
pub(crate) fn row(flow: &Flow, route: String, listener: String, now: u64) -> v1::Flow {
    v1::Flow {
        client: source(&flow.client).to_string(),
        vip: destination(&flow.client).to_string(),
        state: state_name(flow.state).to_owned(),
        endpoint: endpoint(flow).map(|address| address.to_string()).unwrap_or_default(),
        route,
        listener,
        requests: flow.requests,
        outstanding: flow.outstanding.into(),
        legs: flow.legs,
        age_ms: since(flow.began, now),
        idle_ms: since(flow.last_seen, now),
    }
}

/// Everything that the record says, a line for each matter.
pub(crate) fn facts(flow: &Flow, row: &v1::Flow) -> Vec<String> {
    let mut facts = vec![
        format!("state: {}: {}", row.state, state_meaning(flow.state)),
        format!(
            "client: {} dialled {} ({}) {} ago; the last segment of either side came {} ago",
            row.client,
            row.vip,
            if row.listener.is_empty() { "no listener has it now" } else { &row.listener },
            span(row.age_ms),
            span(row.idle_ms)
        ),
        leg(flow, row),
        requests(flow, row),
        format!(
            "agreed with the client: {}; promised to it: MSS {}, {}",
            options(flow.client_options),
            flow.vip_mss,
            scale(flow.vip_scale)
        ),
    ];
    if has_leg(flow) && flow.state != state::OPENING {
        facts.push(format!("agreed with the endpoint: {}", options(flow.leg_options)));
    }
    facts.push(format!(
        "the client's space: it sent up to {}, the next request begins at {}; it was sent up to {}, acknowledged {}",
        flow.client_end, flow.next_seq, flow.sent_end, flow.client_ack
    ));
    if has_leg(flow) {
        facts.push(format!(
            "the leg's space: our SYN {}, the endpoint's {}; it sent up to {}, acknowledged {}; the next head or boundary is \
             expected at {}",
            flow.leg_isn, flow.leg_peer_isn, flow.leg_end, flow.leg_ack, flow.leg_next
        ));
        facts.push(format!(
            "from the client's space to the leg's: sequence +{}, acknowledgement +{}, timestamp +{}, echo +{}{}{}",
            flow.seq_add,
            flow.ack_add,
            flow.tsval_add,
            flow.tsecr_add,
            inserted(flow),
            told(flow)
        ));
    }
    let said = said(flow.flags);
    if !said.is_empty() {
        facts.push(format!("ends: {}", said.join(", ")));
    }
    facts
}

/// The endpoint of the leg, if there is one.
pub(crate) fn endpoint(flow: &Flow) -> Option<SocketAddr> {
    has_leg(flow).then(|| source(&flow.leg))
}

/// The sender of a tuple.
pub(crate) fn source(tuple: &Tuple) -> SocketAddr {
    socket(tuple.source, tuple.source_port)
}

/// The receiver of a tuple.
pub(crate) fn destination(tuple: &Tuple) -> SocketAddr {
    socket(tuple.destination, tuple.destination_port)
}

/// An address of a shared record.
pub(crate) fn socket(address: IpAddress, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(address).to_canonical(), u16::from_be_bytes(port))
}

/// As shared records have it: IPv4 mapped.
pub(crate) fn mapped(address: IpAddr) -> IpAddress {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// A span of milliseconds for people.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

fn since(then: u64, now: u64) -> u64 {
    now.saturating_sub(then) / 1_000_000
}

fn has_leg(flow: &Flow) -> bool {
    flow.leg != Tuple::default()
}

fn state_name(value: u8) -> &'static str {
    match value {
        state::OPENING => "opening",
        state::SPLICED => "spliced",
        state::UNBOUND => "unbound",
        state::CLOSING => "closing",
        state::ENDING => "ending",
        state::HANDED | state::TAKEN => "handed off",
        _ => "free",
    }
}

fn state_meaning(value: u8) -> &'static str {
    match value {
        state::OPENING => "a SYN is out to the endpoint, the request waits for its answer",
        state::SPLICED => "both legs are joined",
        state::UNBOUND => "the client is connected, no endpoint is; the next request opens a leg",
        state::CLOSING => "the client closed while no endpoint was bound, our FIN is out",
        state::ENDING => "nobody used it: our FIN is out, and comes again until the client answers it",
        state::HANDED => "given to the host's stack, where userspace serves it; kept until a socket has it",
        state::TAKEN => {
            "given to the host's stack, and userspace has answered; kept for late copies of its segments"
        }
        _ => "being made or removed",
    }
}

fn leg(flow: &Flow, row: &v1::Flow) -> String {
    if !has_leg(flow) {
        return format!("leg: none now, {} so far", row.legs);
    }
    let tries = match flow.tries {
        0 | 1 => String::new(),
        tries => format!("; the request was sent {tries} times to endpoints that did not answer"),
    };
    let ours = destination(&flow.leg);
    format!("leg: to endpoint {} from {ours}, leg {} of this connection{tries}", row.endpoint, row.legs)
}

fn requests(flow: &Flow, row: &v1::Flow) -> String {
    let route = match row.route.as_str() {
        "" => "a route that is gone or not known".to_owned(),
        route => route.to_owned(),
    };
    let outstanding = match flow.outstanding {
        0 => "nothing is outstanding".to_owned(),
        count => {
            let next = match flow.phase {
                phase::HEAD => "the next byte begins a response head".to_owned(),
                phase::BODY => format!("{} of a body are to come", number(flow.remaining, "byte")),
                phase::CHUNKED => "a chunked body is under way".to_owned(),
                phase::PARTIAL => "of a response head the rest is to come".to_owned(),
                _ => "where the response ends cannot be seen".to_owned(),
            };
            let what = number(u32::from(count), "request");
            format!("{what} without the end of its response, {next}")
        }
    };
    let held = match flow.held {
        0 => String::new(),
        held => format!("; the next request is held and came {} again", number(u32::from(held), "time")),
    };
    format!(
        "requests: {} so far, the newest by {route}; {outstanding}{held}",
        number(row.requests, "request")
    )
}

fn options(options: TcpOptions) -> String {
    let yes = |on: bool, name: &str| if on { name.to_owned() } else { format!("no {name}") };
    format!(
        "MSS {}, {}, {}, {}",
        options.mss,
        scale(options.window_scale),
        yes(options.sack(), "SACK"),
        yes(options.timestamps(), "timestamps")
    )
}

fn scale(shift: u8) -> String {
    match shift {
        TcpOptions::NO_SCALE => "no window scale".to_owned(),
        shift => format!("window scale {shift}"),
    }
}

fn inserted(flow: &Flow) -> String {
    let length = number(u32::from(flow.insert_len), "byte");
    match (flow.insert_len, flow.points_used) {
        (0, _) => String::new(),
        (_, 0) => format!("; {length} inserted for each request"),
        (_, points) => {
            let points = number(u32::from(points), "request");
            format!("; {length} inserted for each request, not yet acknowledged for {points}")
        }
    }
}

fn told(flow: &Flow) -> String {
    let length = number(flow.told & !Flow::TOLD_HEARD, "byte");
    match (flow.told, is_due(flow)) {
        (0, _) => String::new(),
        (_, false) => format!("; {length} said first, of the client (PROXY protocol)"),
        (_, true) => format!("; {length} said first, of the client (PROXY protocol), not yet acknowledged"),
    }
}

fn said(flags: u8) -> Vec<&'static str> {
    [
        (flag::CLOSE, "one side said that it will close"),
        (flag::CLIENT_FIN, "the client closed its direction"),
        (flag::CLIENT_FIN_ACKED, "which the endpoint acknowledged"),
        (flag::LEG_FIN, "the endpoint closed its direction"),
        (flag::LEG_FIN_ACKED, "which the client acknowledged"),
        (flag::LEG_ENDS, "the endpoint closed its leg: it ends when the client has all its bytes"),
    ]
    .into_iter()
    .filter(|(bit, _)| flags & bit != 0)
    .map(|(_, text)| text)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn tuple(from: &str, to: &str) -> Tuple {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        Tuple {
            source: mapped(from.ip()),
            destination: mapped(to.ip()),
            source_port: from.port().to_be_bytes(),
            destination_port: to.port().to_be_bytes(),
        }
    }

    fn spliced() -> Flow {
        Flow {
            state: state::SPLICED,
            outstanding: 1,
            client: tuple("192.0.2.9:40000", "198.51.100.1:80"),
            leg: tuple("10.0.0.2:8080", "10.0.0.1:20000"),
            client_options: TcpOptions { mss: 1460, window_scale: 7, flags: TcpOptions::SACK },
            leg_options: TcpOptions { mss: 1400, window_scale: TcpOptions::NO_SCALE, flags: 2 },
            began: SECOND,
            last_seen: 3 * SECOND,
            next_seq: 1234,
            seq_add: 77,
            insert_len: 54,
            points_used: 1,
            phase: phase::BODY,
            remaining: 5000,
            requests: 3,
            legs: 2,
            vip_mss: 1388,
            vip_scale: 7,
            flags: flag::CLOSE,
            ..Flow::default()
        }
    }

    #[test]
    fn what_an_endpoint_was_told_first_is_shown() {
        for (told, says) in [
            (0, None),
            (28, Some("; 28 bytes said first, of the client (PROXY protocol), not yet acknowledged\n")),
            (52 | Flow::TOLD_HEARD, Some("; 52 bytes said first, of the client (PROXY protocol)\n")),
        ] {
            let (_, facts) = shown(&Flow { told, ..spliced() });
            assert_eq!(says.is_some(), facts.contains("said first"), "{facts}");
            assert!(says.is_none_or(|says| facts.contains(says)), "{facts}");
        }
    }

    fn shown(flow: &Flow) -> (v1::Flow, String) {
        let row = row(flow, "HTTPRoute shop/web rule 0".into(), "shop/web/http".into(), 4 * SECOND);
        let facts = facts(flow, &row).join("\n");
        (row, facts)
    }

    #[test]
    fn a_spliced_connection_shows_both_its_legs() {
        let (row, facts) = shown(&spliced());
        assert_eq!((row.client.as_str(), row.vip.as_str()), ("192.0.2.9:40000", "198.51.100.1:80"));
        assert_eq!((row.state.as_str(), row.endpoint.as_str()), ("spliced", "10.0.0.2:8080"));
        assert_eq!((row.age_ms, row.idle_ms, row.requests, row.outstanding), (3000, 1000, 3, 1));
        for part in [
            "state: spliced: both legs are joined",
            "192.0.2.9:40000 dialled 198.51.100.1:80 (shop/web/http) 3.0 s ago; the last segment of either side came 1.0 s ago",
            "to endpoint 10.0.0.2:8080 from 10.0.0.1:20000, leg 2 of this connection",
            "3 requests so far, the newest by HTTPRoute shop/web rule 0",
            "1 request without the end of its response, 5000 bytes of a body are to come",
            "client: MSS 1460, window scale 7, SACK, no timestamps; promised to it: MSS 1388, window scale 7",
            "endpoint: MSS 1400, no window scale, no SACK, timestamps",
            "the next request begins at 1234",
            "sequence +77",
            "54 bytes inserted for each request, not yet acknowledged for 1 request",
            "ends: one side said that it will close",
        ] {
            assert!(facts.contains(part), "no {part:?} in\n{facts}");
        }
    }

    #[test]
    fn a_connection_without_a_leg_says_nothing_of_one() {
        let flow = Flow { state: state::UNBOUND, outstanding: 0, leg: Tuple::default(), ..spliced() };
        let (row, facts) = shown(&flow);
        assert_eq!((row.state.as_str(), row.endpoint.as_str()), ("unbound", ""));
        assert!(facts.contains("leg: none now, 2 so far"), "{facts}");
        assert!(facts.contains("nothing is outstanding"), "{facts}");
        assert!(!facts.contains("the leg's space") && !facts.contains("with the endpoint"), "{facts}");
    }

    #[test]
    fn six_is_shown_in_brackets_and_a_clock_behind_is_no_age() {
        let flow =
            Flow { client: tuple("[2001:db8::9]:1", "[2001:db8::1]:80"), began: 9 * SECOND, ..spliced() };
        let (row, _) = shown(&flow);
        assert_eq!((row.client.as_str(), row.age_ms), ("[2001:db8::9]:1", 0));
    }

    #[test]
    fn spans_read_well() {
        assert_eq!([999, 1_250, 61_000, 7_260_000].map(span), ["999 ms", "1.2 s", "1 min 1 s", "2 h 1 min"]);
    }
}
