//! Resets in the states that have no leg: the endpoint has left, or userspace has the connection.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Netns, RawConnection, RawHost, Recorder, Segment, flag};

use crate::attacks::{assert_lives, served};
use crate::options::{LIMIT, assert_answers, get, is_whole};
use crate::told::{self, Leg};
use crate::world::{Network, World};

on_every_network!(
    a_client_resets_a_connection_that_its_endpoint_left,
    an_endpoint_resets_a_connection_that_it_left,
    resets_of_what_userspace_has_are_its_own,
);

const IN_USERSPACE: &str = "userspace (Tier 3) has it, established";
const NO_SOCKET: &str = "userspace (Tier 3) does not have it yet, or not any more";

/// Closes, without saying so, behind its answer to a path that ends with `/end`.
fn leaving(netns: &Netns, address: SocketAddr) -> anyhow::Result<Recorder> {
    Recorder::start(netns, address, |peer| {
        loop {
            let request = String::from_utf8_lossy(&peer.request()?).into_owned();
            let text = format!("uri={}\n", request.split(' ').nth(1).unwrap_or_default());
            let head = "HTTP/1.1 200 OK\r\nX-Endpoint: b0\r\n";
            peer.send(format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()))?;
            if text.ends_with("/end\n") {
                return Ok(());
            }
        }
    })
}

/// A connection whose endpoint has left it; and its leg as it is to the endpoint, whose FIN is the last it sent.
fn left(world: &World, host: &RawHost, port: u16) -> (RawConnection, Leg) {
    let mut connection = served(world, host, port);
    let leg = told::leg(world, connection.local);
    host.write(&mut connection, &get("/a/end")).unwrap();
    let answer = host.read(&mut connection, LIMIT, is_whole).unwrap();
    assert_answers(&answer, "b0", "/a/end");
    told::wait_for(world, connection.local, "state: ", "unbound");
    let sent = u32::try_from(answer.len()).unwrap() + 1;
    (connection, Leg { seq: leg.seq.wrapping_add(sent), ..leg })
}

/// What comes for the client within a moment.
fn rest(host: &RawHost, connection: &RawConnection) -> Vec<Segment> {
    std::iter::from_fn(|| host.receive(connection.local, Duration::from_millis(100)).unwrap()).collect()
}

fn a_client_resets_a_connection_that_its_endpoint_left(network: Network) {
    let world = World::with_endpoint(network, leaving);
    if world.hook == "off" {
        return;
    }
    let host = RawHost::new(&world.lab).unwrap();
    let (mut connection, _) = left(&world, &host, 5000);
    // A reset that is not exactly at its place is asked about (RFC 5961 section 3.2).
    let reset = connection.segment(flag::RST, b"");
    host.send(&Segment { seq: reset.seq.wrapping_add(1), ..reset.clone() }).unwrap();
    let asked = rest(&host, &connection);
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((asked.flags, asked.seq, asked.ack), (flag::ACK, connection.ack, connection.seq));
    told::wait_for(&world, connection.local, "state: ", "unbound");
    world.decides(1, || assert_lives(&host, &mut connection));

    // One that is ends it, and no late copy of its first request begins it anew.
    let (mut connection, _) = left(&world, &host, 5001);
    let begin = connection.answer.ack;
    host.send(&connection.segment(flag::RST, b"")).unwrap();
    told::wait_for(&world, connection.local, "the kernel tier has no connection", "it ended or never was");
    let copy = Segment {
        seq: begin,
        ack: connection.answer.seq.wrapping_add(1),
        ..connection.segment(flag::ACK | flag::PSH, &get("/a"))
    };
    host.send(&copy).unwrap();
    let answers = rest(&host, &connection);
    assert!(answers.iter().all(|answer| answer.payload.is_empty()), "{answers:?}");
    world.decides(1, || connection = served(&world, &host, 5001));
    assert_lives(&host, &mut connection);
}

fn an_endpoint_resets_a_connection_that_it_left(network: Network) {
    let world = World::with_endpoint(network, leaving);
    if world.hook == "off" {
        return;
    }
    let (host, endpoint) = (RawHost::new(&world.lab).unwrap(), RawHost::at_endpoint(&world.lab, 0).unwrap());
    let (mut connection, leg) = left(&world, &host, 5010);
    resets(&endpoint, &leg);
    assert_eq!(rest(&host, &connection), []);
    told::wait_for(&world, connection.local, "state: ", "unbound");
    world.decides(1, || assert_lives(&host, &mut connection));
}

/// The endpoint resets its leg, at its next byte and at the one before.
fn resets(endpoint: &RawHost, leg: &Leg) {
    for seq in [leg.seq, leg.seq.wrapping_sub(1)] {
        for flags in [flag::RST, flag::RST | flag::ACK] {
            endpoint.send(&Segment::new(leg.endpoint, leg.gateway, flags, seq, leg.ack)).unwrap();
        }
    }
}

fn resets_of_what_userspace_has_are_its_own(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    let (host, endpoint) = (RawHost::new(&world.lab).unwrap(), RawHost::at_endpoint(&world.lab, 0).unwrap());
    // Half of a request, which userspace waits for the rest of.
    let request = get("/user");
    let (half, other_half) = request.split_at(10);
    for (port, is_answered) in [(5020, true), (5021, false)] {
        let mut connection = served(&world, &host, port);
        let leg = told::leg(&world, connection.local);
        let begin = connection.clone();
        host.write(&mut connection, half).unwrap();
        told::wait_for(&world, connection.local, "handed off: ", IN_USERSPACE);

        // The endpoint that it had, and a client that is not exact.
        resets(&endpoint, &leg);
        let reset = connection.segment(flag::RST, b"");
        let reset = Segment { seq: reset.seq.wrapping_add(1), ..reset };
        world.counts(&[("pass_owned", 1)], || host.send(&reset).unwrap());
        let answers = rest(&host, &connection);
        assert!(answers.iter().all(|answer| answer.flags & flag::RST == 0), "{answers:?}");
        told::wait_for(&world, connection.local, "handed off: ", IN_USERSPACE);
        if is_answered {
            host.write(&mut connection, other_half).unwrap();
            assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/user");
        }

        // The client, exactly: its socket is gone, and nothing that it sent before is served again.
        host.send(&connection.segment(flag::RST, b"")).unwrap();
        told::wait_for(&world, connection.local, "handed off, but ", NO_SOCKET);
        host.send(&begin.segment(flag::ACK | flag::PSH, &request)).unwrap();
        let answers = rest(&host, &connection);
        assert!(answers.iter().all(|answer| answer.payload.is_empty()), "{answers:?}");
        told::wait_for(&world, connection.local, "handed off, but ", NO_SOCKET);
        connection = served(&world, &host, port);
        assert_lives(&host, &mut connection);
    }
}
