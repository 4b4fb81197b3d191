//! Floods: of SYNs from addresses that do not exist, and of half-open connections (attack X-11).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testkit::{Load, Options, RawHost, Segment, flag};

use crate::world::{Network, World};

on_two_networks!(requests_are_answered_during_a_flood);

/// How many SYNs at most, and for how long at most: a slow machine sends fewer.
const SYNS: u64 = 1_000_000;
const TIME: Duration = Duration::from_secs(8);

fn requests_are_answered_during_a_flood(network: Network) {
    let world = World::new(network);
    let load = Load::start(
        world.lab.client_two(),
        world.address(),
        4,
        "GET /b HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        |answer| answer.endpoint() == Some("b1"),
    );
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&world, &stop, &sent));
        // Each on a connection of its own, while the flood goes on.
        let answered = load.wait_for_more(300, Duration::from_secs(10));
        let start = Instant::now();
        while start.elapsed() < TIME && sent.load(Ordering::Relaxed) < SYNS {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        answered.unwrap();
    });
    let report = load.stop();
    assert!(sent.load(Ordering::Relaxed) > 50_000, "{sent:?} SYNs are no flood");
    assert_eq!(report.failed(), 0, "{report:?}");
}

/// SYNs from everywhere, as fast as one thread can.
fn flood(world: &World, stop: &AtomicBool, sent: &AtomicU64) {
    let host = RawHost::new(&world.lab).unwrap();
    let mut state = 1_u32;
    while !stop.load(Ordering::Relaxed) && sent.load(Ordering::Relaxed) < SYNS {
        // Numerical Recipes' generator: any spread of addresses will do.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c, d] = state.to_be_bytes();
        let source: IpAddr = match world.address().ip() {
            IpAddr::V4(_) => Ipv4Addr::new(198, 18 + (a & 1), b, c).into(),
            IpAddr::V6(_) => {
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from(c)).into()
            }
        };
        let source = SocketAddr::new(source, 1024 + u16::from_be_bytes([c, d]) % 60_000);
        let syn = Segment {
            options: Options::LINUX.to_vec(),
            ..Segment::new(source, world.address(), flag::SYN, state, 0)
        };
        // A full queue on the way is part of a flood.
        let _ = host.send(&syn);
        sent.fetch_add(1, Ordering::Relaxed);
    }
}
