//! Random runs: whatever the seed says.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::apps::{Manners, Step};
use crate::basics::from;
use crate::http::{Ask, Kind};
use crate::net::{endpoint, tables};
use crate::random::Random;
use crate::sim::{Door, Faults, Node, Sim, profile, vip, vip6};
use crate::tcp::Profile;

const NAMES: [&str; 3] = ["e1", "e2", "e3"];

/// As Linux, Windows, an old device, and others.
pub(crate) fn any_profile(random: &Random, v6: bool) -> Profile {
    let isn =
        if random.chance(30) { 0u32.wrapping_sub(random.below(3000) as u32) } else { random.next() as u32 };
    let has_scale = random.chance(80);
    Profile {
        // RFC 8200 section 5: over IPv6 no link carries less than 1280 bytes.
        mss: random.pick(if v6 { &[1440, 1440, 1300, 1220] } else { &[1460, 1440, 600, 536] }),
        scale: has_scale.then(|| random.below(10) as u8),
        sack: random.chance(80),
        timestamps: random.chance(60),
        window: if has_scale { 200_000 } else { 60_000 },
        large: random.chance(30),
        isn,
    }
}

/// An endpoint, whose segments are what the gateway promised to clients.
pub(crate) fn any_endpoint(random: &Random, v6: bool) -> Profile {
    Profile {
        mss: if v6 { 1440 } else { 1460 },
        window: 100_000,
        large: random.chance(50),
        scale: Some(random.below(12) as u8),
        ..profile(0)
    }
}

pub(crate) fn any_ask(random: &Random) -> Ask {
    let kinds = [
        Kind::Length,
        Kind::Length,
        Kind::Chunked,
        Kind::Chunked,
        Kind::NoContent,
        Kind::NotModified,
        Kind::Hints,
        Kind::Split,
        Kind::Trailer,
        Kind::Odd,
    ];
    let route =
        if random.chance(4) { 't' } else { random.pick(&['a', 'a', 'b', 'n', 'm', 'w', 'k', 'v', 'c']) };
    let mut ask =
        Ask::get(route).kind(random.pick(&kinds)).size(random.below(random.pick(&[10, 900, 9000])) as usize);
    if random.chance(30) {
        ask = ask.delay(random.below(random.pick(&[20, 400])));
    }
    if random.chance(20) {
        ask = ask.pad(500 + random.below(700) as usize);
    }
    match random.below(10) {
        0 => ask.head(),
        1 => Ask { method: "POST", body: random.below(400) as usize, ..ask },
        2 if random.chance(50) => Ask { method: "POST", body: random.below(12_000) as usize, ..ask },
        3 if random.chance(30) => ask.extra("TE: trailers"),
        _ => ask,
    }
}

pub(crate) fn any_steps(random: &Random) -> Vec<Step> {
    let mut steps = vec![];
    if random.chance(20) {
        steps.push(Step::Pause(random.below(3000)));
        steps.push(Step::Probe);
    }
    for _ in 0..1 + random.below(7) {
        let is_pipelined = random.chance(15);
        let asks: Vec<Ask> =
            (0..if is_pipelined { 2 + random.below(4) } else { 1 }).map(|_| any_ask(random)).collect();
        let cuts = if random.chance(25) {
            (0..1 + random.below(3)).map(|_| random.below(400) as usize).collect()
        } else {
            vec![]
        };
        if is_pipelined && random.chance(60) {
            // Each in its own segment.
            steps.extend(asks.into_iter().map(|ask| Step::Send(vec![ask], vec![])));
        } else {
            steps.push(Step::Send(asks, cuts));
        }
        steps.push(Step::Wait);
        if random.chance(20) {
            steps.push(Step::Pause(random.below(1500)));
        }
    }
    if random.chance(25) {
        let kind = random.pick(&[Kind::UntilClose, Kind::Last, Kind::TooLarge]);
        let last = Ask { kind, method: "GET", body: 0, ..any_ask(random) };
        let last = if kind == Kind::TooLarge {
            Ask { method: "POST", body: 9000, route: 'n', ..last }
        } else {
            last
        };
        steps.extend([Step::Send(vec![last], vec![]), Step::Wait, Step::End]);
    } else if random.chance(20) {
        steps.extend([Step::Send(vec![any_ask(random)], vec![]), Step::Shut, Step::Wait]);
    } else if random.chance(20) {
        // In whatever state that is.
        let step = Step::Send(vec![any_ask(random)], vec![]);
        steps.extend([step, Step::Pause(random.below(random.pick(&[3, 30, 600]))), Step::Abort]);
    }
    steps
}

pub(crate) fn is_pipelined(steps: &[Step]) -> bool {
    let sends = |step: &Step| matches!(step, Step::Send(..));
    steps.iter().any(|step| matches!(step, Step::Send(asks, _) if asks.len() > 1))
        || steps.windows(2).any(|two| sends(&two[0]) && sends(&two[1]))
}

pub(crate) fn is_obscure(step: &Step) -> bool {
    let obscure = |ask: &Ask| match ask.kind {
        Kind::Split | Kind::Trailer | Kind::Odd => true,
        Kind::Chunked => ask.delay > 0,
        _ => false,
    };
    matches!(step, Step::Send(asks, _) if asks.iter().any(obscure))
}

/// Returns how many packets were decided in XDP.
fn run(seed: u64) -> u32 {
    let random = Random::new(seed ^ 0xf00d);
    let v6 = random.chance(30);
    let mut sim = Sim::new(tables(v6), seed);
    if random.chance(80) {
        sim.faults = Faults {
            drop: random.below(8),
            duplicate: random.below(6),
            reorder: random.below(15),
            corrupt: random.below(3),
        };
    }
    sim.varies = random.chance(50);
    sim.world.races.set(if random.chance(30) { 30 } else { 0 });
    for n in 1..4u8 {
        let manners = if random.chance(30) {
            Manners {
                idle_close: Some(200 + random.below(1000)),
                says_so: false,
                resets: random.chance(20),
                ..Manners::default()
            }
        } else {
            Manners::default()
        };
        let profile = any_endpoint(&random, v6);
        let name = NAMES[usize::from(n) - 1];
        let node = Node { name, door: Door::Open, profile, manners, is_told: n == 3, syns: 0 };
        sim.nodes.insert(endpoint(n, v6), node);
    }
    let resets = sim.nodes.values().any(|node| node.manners.resets && node.manners.idle_close.is_some());
    let closes = sim.nodes.values().any(|node| node.manners.idle_close.is_some());
    for n in 0..1 + random.below(3) as u16 {
        let mut address = from(40_000 + n);
        if v6 {
            address.set_ip("fd00:9::5".parse().unwrap());
        }
        let steps = any_steps(&random);
        // Where the end of a response cannot be seen, the end of the connection is passed on; and so is an end that crosses the
        // last request of a client that has closed its side behind it: it has nothing to repeat the request with.
        let ends = |step: &Step| is_obscure(step) || matches!(step, Step::Shut);
        let may_be_cut = is_pipelined(&steps) || resets || closes && steps.iter().any(ends);
        let number = sim.dial(address, if v6 { vip6() } else { vip() }, any_profile(&random, v6), steps);
        sim.client(number).may_be_cut = may_be_cut;
    }
    // What XDP leaves to TC, and what it decides, on one connection.
    sim.world.early.set(random.pick(&[0, 0, 50, 100]));
    sim.run(300_000);
    sim.check();
    sim.world.decided_early.get()
}

#[test]
fn whatever_happens_both_ends_see_one_stream() {
    let (early, seeds) = all(3000, run);
    assert!(early > seeds, "XDP decides");
}

/// Runs all seeds, or the one that `MODEL_SEED` says; the sum of what they return, and how many there were.
pub(crate) fn all(seeds: u64, run: fn(u64) -> u32) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("MODEL_SEED") {
        run(seed);
        return (u64::MAX, 1);
    }
    let seeds = number("MODEL_SEEDS").unwrap_or(seeds);
    let mut failed = vec![];
    let sum = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                scope.spawn(move || {
                    (worker..seeds)
                        .step_by(2)
                        .filter(|&seed| match std::panic::catch_unwind(|| run(seed)) {
                            Ok(count) => {
                                sum.fetch_add(u64::from(count), Relaxed);
                                false
                            }
                            Err(_) => true,
                        })
                        .inspect(|seed| eprintln!("MODEL_SEED={seed} failed"))
                        .take(20)
                        .collect::<Vec<u64>>()
                })
            })
            .collect();
        failed = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    });
    assert!(failed.is_empty(), "repeat with MODEL_SEED= one of {failed:?}");
    (sum.load(Relaxed), seeds)
}
