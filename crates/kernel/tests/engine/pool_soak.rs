//! Random runs of many clients whose requests share legs: whatever the seed says. Each request has a number, and each body is
//! made from it.

use wire::Reason;

use crate::apps::{Manners, Step};
use crate::basics::{NAMES, from};
use crate::http::{Ask, Kind};
use crate::net::{endpoint, plain_tables, tables};
use crate::pool::IDLE;
use crate::random::Random;
use crate::sim::{Door, Faults, Node, Sim, profile, vip, vip6};
use crate::soak::{all, any_ask, any_endpoint, any_profile, any_steps, is_obscure, is_pipelined};
use crate::tcp::{MS, Profile};

/// One request and an end, as most of these clients are; or a few.
fn short(random: &Random) -> Vec<Step> {
    let mut steps = vec![Step::Pause(random.below(random.pick(&[50, 2000, 9000])))];
    for _ in 0..random.pick(&[1, 1, 1, 1, 2, 4]) {
        let mut ask = any_ask(random);
        if random.chance(4) {
            let kind = random.pick(&[Kind::Unauthorized, Kind::UntilClose, Kind::Last]);
            ask = Ask { method: "GET", body: 0, ..ask.kind(kind) };
        }
        let ends = ask.ends();
        let is_last = !ends && ask.extra.is_empty() && random.chance(35);
        if is_last {
            ask = ask.last();
        }
        let send = Step::Send(vec![ask], vec![]);
        let is_told = !is_obscure(&send);
        steps.extend([send, Step::Wait]);
        if is_last {
            // Some close, some wait for the other side's end, if it can be told.
            if is_told && random.chance(50) {
                steps.push(Step::End);
            }
            break;
        }
        if ends {
            steps.push(Step::End);
            break;
        }
        if random.chance(20) {
            steps.push(Step::Pause(random.below(1500)));
        }
    }
    steps
}

/// Whether endpoint 3 is told who its clients are, beside others that are not.
const fn is_told(seed: u64) -> bool {
    seed % 4 == 3
}

/// The world is at its worst.
fn run(seed: u64) -> u32 {
    let random = Random::new(seed ^ 0xb001);
    let v6 = random.chance(30);
    let mut sim = Sim::new(if is_told(seed) { tables(v6) } else { plain_tables(v6) }, seed);
    sim.world.settings.pool_idle = IDLE * MS;
    sim.world.settings.pool_legs = random.pick(&[1, 4, 64]);
    sim.world.settings.redraw_after = random.pick(&[1, 32]);
    if random.chance(75) {
        let at_most = random.pick(&[2, 8]);
        sim.faults = Faults {
            drop: random.below(at_most),
            duplicate: random.below(at_most),
            reorder: random.below(2 * at_most),
            corrupt: random.below(3),
        };
    }
    sim.varies = random.chance(50);
    sim.world.races.set(if random.chance(40) { 30 } else { 0 });
    let (mut closes, mut is_reset) = (false, false);
    for n in 1..4u8 {
        let soon = random.chance(40).then(|| random.below(random.pick(&[40, 1500])));
        let resets = soon.is_some() && random.chance(20);
        closes |= soon.is_some();
        is_reset |= resets;
        // In the end each of them does: a head that was repeated in pieces hides the end from a client that waits for it.
        let manners = Manners { idle_close: Some(soon.unwrap_or(20_000)), resets, ..Manners::default() };
        let profile = any_endpoint(&random, v6);
        let (name, is_told) = (NAMES[usize::from(n) - 1], n == 3 && is_told(seed));
        let node = Node { name, door: Door::Open, profile, manners, is_told, syns: 0 };
        sim.nodes.insert(endpoint(n, v6), node);
    }
    let kind = any_profile(&random, v6);
    for n in 0..3 + random.below(12) as u16 {
        let mut address = from(40_000 + n);
        if v6 {
            address.set_ip("fd00:9::5".parse().unwrap());
        }
        let steps = if random.chance(80) { short(&random) } else { any_steps(&random) };
        let ends = |step: &Step| is_obscure(step) || matches!(step, Step::Shut);
        let may_be_cut = is_pipelined(&steps) || is_reset || closes && steps.iter().any(ends);
        let other = any_profile(&random, v6);
        let profile = if random.chance(85) { Profile { isn: other.isn, ..kind } } else { other };
        let number = sim.dial(address, if v6 { vip6() } else { vip() }, profile, steps);
        sim.client(number).may_be_cut = may_be_cut;
    }
    sim.world.early.set(random.pick(&[0, 0, 50, 100]));
    sim.run(300_000);
    sim.check();
    // Nobody asks any more: nothing is left to wait, and endpoints know.
    sim.faults = Faults::default();
    for _ in 0..8 {
        sim.run_for(1100);
    }
    assert!(sim.world.pooled.all().is_empty(), "{}", sim.describe());
    sim.world.counted(Reason::Pooled)
}

#[test]
fn every_client_gets_its_own_bytes() {
    let (pooled, seeds) = all(3000, run);
    assert!(pooled > seeds, "{pooled} requests went over legs of others");
}

/// Endpoints that say what nobody asked for, before they close or by mistake: over clean wires none of it reaches a client.
fn run_with_unasked(seed: u64) -> u32 {
    let random = Random::new(seed ^ 0x408);
    let mut sim = Sim::new(plain_tables(false), seed);
    sim.world.settings.pool_idle = IDLE * MS;
    sim.world.settings.pool_legs = 64;
    for n in 1..4u8 {
        let after = Some(random.below(random.pick(&[30, 1000])));
        let manners = if random.chance(50) {
            Manners { idle_close: after, says_so: true, ..Manners::default() }
        } else {
            Manners { unsolicited: after, ..Manners::default() }
        };
        let name = NAMES[usize::from(n) - 1];
        let node = Node { name, door: Door::Open, profile: profile(0), manners, is_told: false, syns: 0 };
        sim.nodes.insert(endpoint(n, false), node);
    }
    // An endpoint that speaks out of turn has the request all the same, on a leg that nobody listens to.
    sim.may_repeat = true;
    for n in 0..30 {
        let pause = Step::Pause(random.below(random.pick(&[300, 3000])));
        let kind = random.pick(&[Kind::Length, Kind::Chunked, Kind::NoContent, Kind::Hints]);
        let ask = Ask::get(random.pick(&['a', 'b', 'n', 'w'])).kind(kind).size(random.below(4000) as usize);
        let steps = vec![pause, Step::Send(vec![ask], vec![]), Step::Wait];
        sim.dial(from(40_000 + n), vip(), profile(random.next() as u32), steps);
    }
    sim.run(300_000);
    sim.check();
    sim.world.counted(Reason::Pooled)
}

#[test]
fn what_no_request_asked_for_reaches_no_client() {
    let (pooled, seeds) = all(400, run_with_unasked);
    assert!(pooled > seeds, "{pooled} requests went over legs of others");
}
