//! The tables, connections and settings of the kernel tier, as the agent reaches them.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Barrier,
    time::Duration,
};

use aya::maps::{HashMap, Map, MapData};
use dataplane::flow::{end_for, flag, state};
use loader::{Answered, Collected, Datapath, Limits, MapError, Prefix, Write, now};
use nix::{
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv},
};
use wire::{Closed, Cursor, EndpointRecord, Flow, Hop, Leg, Segment, Settings, TcpFlags, Tuple};
use zerocopy::IntoBytes;

use crate::{
    machine::tap,
    sandbox::{Sandbox, UPLINK, in_sandbox, lay_wire},
};

/// As the router would be told, but nothing of it is ever sent by the tests.
fn started(options: &loader::Options) -> Datapath {
    let datapath = Datapath::start(options).unwrap();
    datapath.kernel_routing().expect("this kernel routes");
    datapath
}

/// Programs at the uplink, and one end of a wire beside it.
fn beside_a_wire(sandbox: &Sandbox) -> (Datapath, u32) {
    lay_wire();
    let device = if_nametoindex("left").unwrap();
    let interfaces = vec![UPLINK.to_owned()];
    (started(&loader::Options { interfaces, ..sandbox.options() }), device)
}

fn put(datapath: &mut Datapath, map: &str, key: &[u8], value: &[u8]) {
    datapath.apply([Write { map, key, value: Some(value) }]).unwrap();
}

#[test]
fn tables_are_written_by_bytes_and_read_back() {
    in_sandbox(|sandbox| {
        let mut datapath = started(&sandbox.options());
        let record = EndpointRecord { generation: 7, port: [1, 2], ..EndpointRecord::default() };
        put(&mut datapath, "ENDPOINTS", 5u32.as_bytes(), record.as_bytes());
        let dump = datapath.dump("ENDPOINTS").unwrap();
        assert_eq!(dump.len(), wire::ENDPOINTS_MAX, "batch after batch");
        let used: Vec<_> = dump.iter().filter(|(_, value)| value.iter().any(|byte| *byte != 0)).collect();
        assert_eq!(used, [&(5u32.as_bytes().to_vec(), record.as_bytes().to_vec())]);
        datapath.apply([Write { map: "ENDPOINTS", key: 5u32.as_bytes(), value: None }]).unwrap();
        assert!(
            datapath.dump("ENDPOINTS").unwrap().iter().all(|(_, value)| value.iter().all(|byte| *byte == 0))
        );

        let error = datapath.apply([Write { map: "NONE", key: &[], value: None }]).unwrap_err();
        assert!(matches!(error, MapError::Unknown { .. }), "{error}");
        let short = Write { map: "ENDPOINTS", key: 5u32.as_bytes(), value: Some(&[1, 2, 3]) };
        let error = datapath.apply([short]).unwrap_err();
        assert!(matches!(error, MapError::Shape { .. }), "{error}");
        datapath.detach().unwrap();
    });
}

#[test]
fn trusted_networks_are_exactly_those_given() {
    in_sandbox(|sandbox| {
        let mut datapath = started(&sandbox.options());
        let network = |address: &str, length| Prefix { address: address.parse().unwrap(), length };
        datapath.trusted_proxies(&[network("10.0.0.0", 8), network("fd00::", 8)]).unwrap();
        assert_eq!(datapath.dump("TRUSTED_PROXIES").unwrap().len(), 2);
        datapath
            .trusted_proxies(&[network("10.9.9.9", 8), network("192.0.2.0", 24), network("::", 0)])
            .unwrap();
        let lengths: Vec<u8> =
            datapath.dump("TRUSTED_PROXIES").unwrap().iter().map(|(key, _)| key[0]).collect();
        assert_eq!(lengths, [0, 104, 120]);
        datapath.trusted_proxies(&[]).unwrap();
        assert_eq!(datapath.dump("TRUSTED_PROXIES").unwrap(), []);
        datapath.detach().unwrap();
    });
}

#[test]
fn what_is_in_use_is_told_with_the_room_there_really_is() {
    in_sandbox(|sandbox| {
        let with_room = |max_flows| loader::Options { max_flows, ..sandbox.options() };
        let mut datapath = started(&with_room(2048));
        let key = |port: u8| Tuple { source_port: [0, port], ..Tuple::default() };
        let flow = Flow { state: state::UNBOUND, last_seen: now(), ..Flow::default() };
        for port in 1..=3 {
            put(&mut datapath, "FLOWS", key(port).as_bytes(), flow.as_bytes());
        }
        put(&mut datapath, "LEGS", key(9).as_bytes(), Leg::default().as_bytes());
        let in_use = datapath.in_use().unwrap();
        assert_eq!((in_use.flows, in_use.flows_max, in_use.legs, in_use.legs_max), (3, 2048, 1, 4096));
        // The maps of the last run stay, with their size.
        datapath.keep();
        let datapath = started(&with_room(4096));
        assert_eq!(datapath.in_use().unwrap(), in_use);
        datapath.detach().unwrap();
    });
}

#[test]
fn nobody_has_answered_and_nothing_is_told_yet() {
    in_sandbox(|sandbox| {
        let datapath = started(&sandbox.options());
        let none = wire::Responses::default();
        assert_eq!(datapath.responses(Answered::AtListener(0)).unwrap(), Some(none));
        assert_eq!(datapath.responses(Answered::AtListener(u32::MAX)).unwrap(), None, "beyond the counters");
        let mut events = datapath.events().unwrap();
        assert!(!events.wait(Duration::from_millis(1)));
        assert_eq!(events.take(), None);
        let time = datapath.run_time().expect("this kernel tells run times");
        assert_eq!(time.packets == 0, time.total.is_zero(), "{time:?}");
        datapath.detach().unwrap();
    });
}

#[test]
fn settings_keep_their_key_over_a_restart_and_beat() {
    in_sandbox(|sandbox| {
        let mut first = started(&sandbox.options());
        first.set_settings(&Settings { redraw_after: 3, ..Settings::default() }).unwrap();
        let key = first.settings().cookie_key;
        let owner = first.settings().note_owner;
        assert!(key != [0, 0] && owner != 0, "drawn");
        let beat = first.settings().heartbeat;
        assert!(beat <= now() && now() - beat < 1_000_000_000, "on the programs' clock");
        first.keep();

        let mut second = started(&sandbox.options());
        assert_eq!((second.settings().redraw_after, second.settings().cookie_key), (3, key));
        second.set_settings(&Settings { redraw_after: 4, ..Settings::default() }).unwrap();
        assert_eq!(second.settings().cookie_key, key, "handshakes under way stay valid");
        assert_eq!(second.settings().note_owner, owner, "and so do notes");
        second.heartbeat().unwrap();
        assert!(second.settings().heartbeat > beat);
        let stored = second.dump("SETTINGS").unwrap().remove(0).1;
        assert_eq!(stored, second.settings().as_bytes(), "as programs see it");
        second.detach().unwrap();
    });
}

#[test]
fn flows_have_as_much_room_as_asked_for_and_keep_it_over_a_restart() {
    in_sandbox(|sandbox| {
        let mut datapath = started(&loader::Options { max_flows: 2048, ..sandbox.options() });
        let mut error = None;
        for port in 0..4096u16 {
            let client = Tuple { source_port: port.to_be_bytes(), ..Tuple::default() };
            let flow = Flow { client, state: state::UNBOUND, ..Flow::default() };
            let write = Write { map: "FLOWS", key: client.as_bytes(), value: Some(flow.as_bytes()) };
            if let Err(full) = datapath.apply([write]) {
                error = Some((port, full));
                break;
            }
        }
        let (fitted, error) = error.expect("it is full at some point");
        // A hash of fixed size keeps a few for each CPU.
        assert!((2048..2304).contains(&fitted), "{fitted}");
        assert!(matches!(error, MapError::NoRoom { entries: 2048, .. }), "{error}");
        assert_eq!(datapath.flows().unwrap().len(), usize::from(fitted), "every one is seen once");
        datapath.keep();

        let datapath = started(&loader::Options { max_flows: 4096, ..sandbox.options() });
        assert_eq!(datapath.flows().unwrap().len(), usize::from(fitted), "connections are not lost");
        datapath.detach().unwrap();
    });
}

/// A connection from port `port`, its leg likewise, over the device.
fn connection(port: u16, device: u32) -> Flow {
    let v4 = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
    let tuple = |from: u8, source: u16, to: u8, destination: u16| Tuple {
        source: v4(from),
        destination: v4(to),
        source_port: source.to_be_bytes(),
        destination_port: destination.to_be_bytes(),
    };
    let hop = Hop { device, destination: [2; 6], source: [4; 6] };
    Flow {
        state: state::SPLICED,
        client: tuple(9, port, 1, 80),
        leg: tuple(2, 8080, 1, port),
        down: hop,
        up: hop,
        last_seen: now(),
        endpoint: 3,
        endpoint_generation: 1,
        sent_end: 1000,
        client_ack: 1000,
        ..Flow::default()
    }
}

fn insert(datapath: &mut Datapath, flow: &Flow) {
    let leg = Leg { client: flow.client, opened: flow.last_seen, ..Leg::default() };
    put(datapath, "LEGS", flow.leg.as_bytes(), leg.as_bytes());
    put(datapath, "FLOWS", flow.client.as_bytes(), flow.as_bytes());
}

/// Receiver's port and flags of the TCP segments that arrive within a moment.
fn segments(tap: &OwnedFd) -> Vec<([u8; 2], u8)> {
    let (mut buffer, mut found) = ([0; 256], Vec::new());
    loop {
        let mut fds = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(100u16)).unwrap() == 0 {
            return found;
        }
        let length = recv(tap.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        if let Ok(segment) = Segment::parse(Cursor::new(&buffer[..length])) {
            found.push((segment.destination_port, segment.flags.0));
        }
    }
}

#[test]
fn connections_end_when_idle_or_with_their_endpoint_and_both_sides_hear_of_it() {
    const FIN: u8 = TcpFlags::FIN | TcpFlags::ACK;
    const RST: u8 = TcpFlags::RST | TcpFlags::ACK;
    in_sandbox(|sandbox| {
        let (mut datapath, device) = beside_a_wire(sandbox);
        let usable =
            EndpointRecord { generation: 1, flags: EndpointRecord::USABLE, ..EndpointRecord::default() };
        put(&mut datapath, "ENDPOINTS", 3u32.as_bytes(), usable.as_bytes());
        let tap = tap("right");

        let fresh = connection(1001, device);
        let idle = Flow { last_seen: now() - 2_000_000_000, ..connection(1002, device) };
        let busy = Flow { outstanding: 1, ..connection(1003, device) };
        [&fresh, &idle, &busy].into_iter().for_each(|flow| insert(&mut datapath, flow));
        let limits = Limits { idle: Duration::from_secs(1), ..Limits::default() };
        let collected = datapath.collect(&limits).unwrap();
        assert_eq!((collected.idle, collected.orphans, collected.unsent), (1, 0, 0));
        let client = |flow: &Flow, flags| (flow.client.source_port, flags);
        let leg = |flow: &Flow| (flow.leg.source_port, TcpFlags::RST);
        assert_eq!(segments(&tap), [client(&idle, FIN), leg(&idle)]);
        let ending = datapath.flow(&idle.client).unwrap().unwrap();
        assert_eq!((ending.state, ending.leg), (state::ENDING, Tuple::default()));
        assert_eq!(datapath.flow(&fresh.client).unwrap(), Some(fresh));
        assert_eq!(datapath.dump("LEGS").unwrap().len(), 2);

        // The endpoint's record is given to another one.
        let other = EndpointRecord { generation: 2, ..usable };
        put(&mut datapath, "ENDPOINTS", 3u32.as_bytes(), other.as_bytes());
        assert!(!datapath.has_orphans());
        let collected = datapath.collect(&Limits::default()).unwrap();
        assert_eq!(
            (collected.orphans, collected.left),
            (0, 1),
            "an answer that is under way has a while to end"
        );
        assert!(datapath.has_orphans());
        let limits = Limits { orphaned: Duration::ZERO, ..Limits::default() };
        let collected = datapath.collect(&limits).unwrap();
        assert_eq!((collected.idle, collected.orphans, collected.left, collected.unsent), (0, 1, 0, 0));
        assert!(!datapath.has_orphans());
        let mut heard = segments(&tap);
        // On a slow machine it is time for it again.
        heard.retain(|one| *one != client(&idle, FIN));
        heard.sort_unstable();
        let mut expected = [leg(&fresh), client(&busy, RST), leg(&busy)];
        expected.sort_unstable();
        assert_eq!(heard, expected, "an answer that is cut short is no end; who waits for none stays");
        assert_eq!(datapath.flow(&fresh.client).unwrap(), Some(fresh));
        assert_eq!(
            datapath.collect(&Limits::default()).unwrap(),
            Collected::default(),
            "legs are reset once"
        );
        assert_eq!(datapath.collect(&Limits::NONE).unwrap().orphans, 1);
        assert_eq!(datapath.flows().unwrap(), []);
        assert_eq!(datapath.dump("LEGS").unwrap(), []);
        datapath.detach().unwrap();
    });
}

/// A late copy of a first request that meets neither would begin the connection anew.
#[test]
fn a_connection_is_remembered_before_its_record_is_gone() {
    const CONNECTIONS: u16 = 2000;
    in_sandbox(|sandbox| {
        let mut datapath = started(&sandbox.options());
        let flows: Vec<Flow> =
            (0..CONNECTIONS).map(|n| Flow { isn: u32::from(n), ..connection(1000 + n, 1) }).collect();
        for flow in &flows {
            insert(&mut datapath, flow);
        }
        let layout = std::fs::read_dir(sandbox.pin_root()).unwrap().next().unwrap().unwrap().path();
        let pinned = |name: &str| MapData::from_pin(layout.join(name)).unwrap();
        let records: HashMap<_, [u8; size_of::<Tuple>()], [u8; size_of::<Flow>()]> =
            Map::HashMap(pinned("FLOWS")).try_into().unwrap();
        let closed: HashMap<_, [u8; size_of::<Tuple>()], [u8; size_of::<Closed>()]> =
            Map::LruHashMap(pinned("CLOSED")).try_into().unwrap();
        // In the order in which they will go.
        let keys: Vec<_> = records.keys().map(Result::unwrap).collect();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                start.wait();
                let is_forgotten = |key: &[u8; size_of::<Tuple>()]| {
                    while records.get(key, 0).is_ok() {}
                    closed.get(key, 0).is_err()
                };
                keys.iter().filter(|key| is_forgotten(key)).count()
            });
            start.wait();
            assert_eq!(datapath.collect(&Limits::NONE).unwrap().orphans, usize::from(CONNECTIONS));
            assert_eq!(watcher.join().unwrap(), 0, "connections that were neither there nor over");
        });
        datapath.detach().unwrap();
    });
}

#[test]
fn a_fin_that_is_not_answered_comes_again_and_ends_in_a_reset() {
    const FIN: u8 = TcpFlags::FIN | TcpFlags::ACK;
    const RST: u8 = TcpFlags::RST | TcpFlags::ACK;
    in_sandbox(|sandbox| {
        let (mut datapath, device) = beside_a_wire(sandbox);
        let tap = tap("right");
        // Sent so many seconds ago; the third client has acknowledged it, the fourth has closed, too.
        let start = now() + 10_000_000_000;
        let ending = |port, seconds: u64, flags| {
            let mut flow = connection(port, device);
            end_for(&mut flow);
            Flow { began: start - seconds * 1_000_000_000, flags, ..flow }
        };
        let [new, old, acked, done, late] = [
            ending(1001, 0, 0),
            ending(1002, 11, 0),
            ending(1003, 11, flag::LEG_FIN_ACKED),
            ending(1004, 0, flag::LEG_FIN_ACKED | flag::CLIENT_FIN_ACKED),
            ending(1005, 71, 0),
        ];
        for flow in [&new, &old, &acked, &done, &late] {
            put(&mut datapath, "FLOWS", flow.client.as_bytes(), flow.as_bytes());
        }
        let collected = datapath.collect(&Limits::default()).unwrap();
        assert_eq!(collected, Collected::default(), "they were counted when they began to end");
        let mut heard = segments(&tap);
        heard.sort_unstable();
        let client = |flow: &Flow, flags| (flow.client.source_port, flags);
        // Behind the FIN, and at the FIN, for it may be lost.
        assert_eq!(heard, [client(&old, FIN), client(&late, RST), client(&late, RST)]);
        assert_eq!(datapath.collect(&Limits::default()).unwrap(), Collected::default());
        assert_eq!(segments(&tap), [], "the next one is not due");
        let mut left: Vec<_> = datapath.flows().unwrap().iter().map(|flow| flow.client.source_port).collect();
        left.sort_unstable();
        assert_eq!(left, [&new, &old, &acked].map(|flow| flow.client.source_port));
        datapath.detach().unwrap();
    });
}

#[test]
fn legs_that_nobody_has_are_forgotten_in_time() {
    in_sandbox(|sandbox| {
        let mut datapath = started(&sandbox.options());
        let old = now();
        let flow = connection(1001, 1);
        insert(&mut datapath, &flow);
        let given_up = Leg { opened: old, ..Leg::default() };
        put(&mut datapath, "LEGS", connection(1002, 1).leg.as_bytes(), given_up.as_bytes());
        let replaced = Leg { client: flow.client, opened: old, ..Leg::default() };
        put(&mut datapath, "LEGS", connection(1003, 1).leg.as_bytes(), replaced.as_bytes());
        assert_eq!(datapath.forget_legs(old).unwrap(), 0, "not yet");
        assert_eq!(datapath.forget_legs(now()).unwrap(), 2);
        let left: Vec<_> = datapath.dump("LEGS").unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(left, [flow.leg.as_bytes()], "in use, however old");
        datapath.detach().unwrap();
    });
}

#[test]
fn routes_and_endpoints_are_counted_as_many_as_asked_for_and_the_number_may_change() {
    in_sandbox(|sandbox| {
        for (counted_routes, counted_endpoints) in [(0, 0), (3, 7), (5, 0)] {
            let options = loader::Options { counted_routes, counted_endpoints, ..sandbox.options() };
            let mut datapath = started(&options);
            // A connection lives in the maps that stay.
            insert(&mut datapath, &connection(1001, 1));
            let is_counted = |of| datapath.responses(of).unwrap().is_some();
            assert_eq!(
                (is_counted(Answered::ByRoute(3)), is_counted(Answered::ByRoute(6))),
                (counted_routes > 0, false)
            );
            assert_eq!(is_counted(Answered::ByEndpoint(7)), counted_endpoints > 0);
            assert_eq!(datapath.flows().unwrap().len(), 1);
            if counted_routes == 5 {
                datapath.detach().unwrap();
            } else {
                datapath.keep();
            }
        }
    });
}
