//! Floods from addresses that do not exist: of SYNs, of acknowledgements and of data that nobody was invited to send
//! (attack X-11).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::{Flood, Load, Options, RawHost, Segment, flag, until};

use crate::options::get;
use crate::world::{Network, World};

on_two_networks!(
    requests_are_answered_during_a_flood_of_syns,
    requests_are_answered_during_a_flood_of_acknowledgements,
    requests_are_answered_during_a_flood_of_data,
);

/// How many segments of a flood the programs must have seen before it ends.
const SEGMENTS: f64 = 1_000_000.0;
/// And how many of acknowledgements or data, each of which the host's stack sees, too.
const STRAYS: f64 = 200_000.0;
/// How many requests at least must be answered meanwhile, each on a connection of its own.
const REQUESTS: u64 = 300;

fn requests_are_answered_during_a_flood_of_syns(network: Network) {
    let world = World::new(network);
    let to = world.address();
    let syn = Segment { options: Options::LINUX.to_vec(), ..Segment::new(to, to, flag::SYN, 0, 0) };
    survives(&world, &syn, SEGMENTS, "syn_cookie");
    // What was answered left nothing behind.
    crate::leftovers::assert_none(&world);
}

fn requests_are_answered_during_a_flood_of_acknowledgements(network: Network) {
    let world = World::new(network);
    let to = world.address();
    survives(&world, &Segment::new(to, to, flag::ACK, 0, 0), STRAYS, "pass_foreign");
    crate::leftovers::assert_none(&world);
}

/// One in 2^24 guesses a cookie, and gets the request that it brings served: at most a few.
fn requests_are_answered_during_a_flood_of_data(network: Network) {
    let world = World::new(network);
    let to = world.address();
    let data = Segment { payload: get("/a"), ..Segment::new(to, to, flag::ACK | flag::PSH, 0, 0) };
    survives(&world, &data, STRAYS, "pass_foreign");
}

/// New and kept connections of another client are served without fail while `segment` comes from everywhere, until the
/// programs have counted `count` of them as `reason`.
fn survives(world: &World, segment: &Segment, count: f64, reason: &str) {
    let host = RawHost::new(&world.lab).unwrap();
    let load = |connection: &str, clients| {
        let request = format!("GET /b HTTP/1.1\r\nHost: a.test\r\nConnection: {connection}\r\n\r\n");
        Load::start(world.lab.client_two(), world.address(), clients, &request, |answer| {
            answer.endpoint() == Some("b1")
        })
    };
    let loads = [load("close", 3), load("keep-alive", 1)];
    let counted = || world.gateway.metric("rauta_kernel_events_total", &format!("reason=\"{reason}\""));
    let (before, stop) = (counted().unwrap_or(0.0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut flood = Flood::new(&host, segment);
            while !stop.load(Ordering::Relaxed) {
                flood.send().unwrap();
            }
        });
        let flooded = until(Duration::from_secs(90), "the flood to be counted", || {
            std::thread::sleep(Duration::from_millis(100));
            (world.hook == "off" || counted().unwrap_or(0.0) - before >= count).then_some(())
        });
        let answered = loads.each_ref().map(|load| load.wait_for_more(REQUESTS, Duration::from_secs(20)));
        stop.store(true, Ordering::Relaxed);
        flooded.unwrap();
        answered.into_iter().for_each(|answered| answered.unwrap());
    });
    for load in loads {
        let report = load.stop();
        assert_eq!(report.failed(), 0, "{report:?}");
    }
}
