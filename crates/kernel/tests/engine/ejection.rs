//! Endpoints that refuse or keep silent again and again leave their tables, and come back by a single try.

use std::cell::RefCell;
use std::rc::Rc;

use crate::apps::Step;
use crate::basics::{from, sim};
use crate::http::Ask;
use crate::net::endpoint;
use crate::packet::{RST, Seg};
use crate::sim::{Door, Place, Sim, profile, vip};
use crate::tcp::MS;

const EJECT_AFTER: u32 = 3;
const EJECT_FOR_MS: u64 = 10_000_000;

/// A world in which endpoint 1, one of two, does not open.
fn with_closed(seed: u64, door: Door) -> Sim {
    let mut sim = sim(seed);
    sim.world.settings.eject_after = EJECT_AFTER;
    sim.world.settings.eject_for = EJECT_FOR_MS * MS;
    set(&mut sim, door);
    sim
}

fn set(sim: &mut Sim, door: Door) {
    sim.nodes.get_mut(&endpoint(1, false)).unwrap().door = door;
}

/// SYNs that endpoint 1 got.
fn tries(sim: &Sim) -> u32 {
    sim.nodes[&endpoint(1, false)].syns
}

/// One request each on `count` new connections, one after the other; who answered.
fn ask(sim: &mut Sim, first_port: u16, count: u16) -> Vec<String> {
    let one = |port| {
        let steps = vec![Step::Send(vec![Ask::get('a')], vec![]), Step::Wait];
        let client = sim.dial(from(port), vip(), profile(u32::from(port) << 12), steps);
        sim.run(120_000);
        sim.check();
        sim.client(client).answers[0].1.clone()
    };
    (first_port..first_port + count).map(one).collect()
}

#[test]
fn who_refuses_again_and_again_gets_no_more_until_a_single_try() {
    let mut sim = with_closed(200, Door::Shut);
    assert!(ask(&mut sim, 20_000, 40).iter().all(|by| by == "e2"), "each request is answered meanwhile");
    assert_eq!(tries(&sim), EJECT_AFTER, "then it was out");
    // When its time is over, one request tries it, and it is out for as long again.
    sim.run_for(EJECT_FOR_MS);
    assert!(ask(&mut sim, 21_000, 40).iter().all(|by| by == "e2"));
    assert_eq!(tries(&sim), EJECT_AFTER + 1);
    // The try that opens brings it back for good.
    set(&mut sim, Door::Open);
    assert!(ask(&mut sim, 22_000, 20).iter().all(|by| by == "e2"), "nobody asks before the time");
    sim.run_for(EJECT_FOR_MS);
    let by_one = ask(&mut sim, 23_000, 40).iter().filter(|by| *by == "e1").count();
    assert!((10..=30).contains(&by_one), "{by_one} of 40");
    assert_eq!(tries(&sim) as usize, EJECT_AFTER as usize + 1 + by_one);
}

#[test]
fn who_keeps_silent_is_out_as_well() {
    let mut sim = with_closed(201, Door::Dead);
    assert!(ask(&mut sim, 20_000, 40).iter().all(|by| by == "e2"));
    // Three requests, each of which asked three times.
    assert_eq!(tries(&sim), 3 * EJECT_AFTER);
}

#[test]
fn failures_between_successes_do_not_add_up() {
    let mut sim = with_closed(202, Door::Shut);
    for round in 0..6 {
        // Until it was met once, never three times in a row.
        let before = tries(&sim);
        set(&mut sim, Door::Shut);
        for n in 0..40 {
            if tries(&sim) > before {
                break;
            }
            ask(&mut sim, 20_000 + round * 200 + n, 1);
        }
        set(&mut sim, Door::Open);
        let by = ask(&mut sim, 20_100 + round * 200, 20);
        assert!(by.iter().any(|by| by == "e1"), "round {round}: still in");
    }
}

/// A refusal that finds no endpoint more takes back nothing: the scratch still names the leg that its CPU bound last.
#[test]
fn a_refusal_without_another_endpoint_takes_no_leg_of_another_connection() {
    let mut sim = with_closed(8, Door::Open);
    sim.nodes.get_mut(&endpoint(3, false)).unwrap().door = Door::Shut;
    let refusal: Rc<RefCell<Option<Seg>>> = Rc::default();
    let kept = refusal.clone();
    sim.filter = Some(Box::new(move |seg, place, _| {
        let is_first = place == Place::FromEndpoint && seg.has(RST) && kept.borrow().is_none();
        if is_first {
            kept.replace(Some(seg.clone()));
        }
        is_first
    }));
    let ask = |route: char| vec![Step::Send(vec![Ask::get(route).delay(300)], vec![]), Step::Wait];
    for n in 0..4 {
        sim.dial(from(40_000 + n), vip(), profile(1000 * u32::from(n)), ask('m'));
    }
    sim.run_for(6);
    sim.dial(from(41_000), vip(), profile(77), ask('n'));
    sim.run_for(8);
    let (flows, legs) = (sim.world.flows.all(), |sim: &Sim| sim.world.legs.all());
    let (_, flow) = flows.iter().find(|(key, _)| key.source_port == 41_000u16.to_be_bytes()).unwrap();
    let has_leg = |sim: &Sim| legs(sim).iter().any(|(key, _)| *key == flow.leg);
    assert!(has_leg(&sim));
    let refusal = refusal.take().unwrap();
    sim.world.process(refusal.packet(false, false, false), 0);
    assert!(has_leg(&sim), "it is another connection's");
}
