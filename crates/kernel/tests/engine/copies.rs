//! A route of which a half of the requests is copied, a quarter to one and a third to another (`/c`): those are userspace's, and it
//! knows their lots.

use wire::Reason;

use crate::apps::Step;
use crate::basics::{from, sim};
use crate::http::Ask;
use crate::net::{endpoint, tables, tables_removed};
use crate::sim::{Door, Sim, profile, vip};
use crate::world::tuple;

/// Requests with a lot below are copied: 1 - 3/4 * 2/3.
const BELOW: u32 = 1 << 31;

/// As many requests on one connection; who answered each.
fn ask(sim: &mut Sim, port: u16, requests: usize) -> Vec<String> {
    let request = [Step::Send(vec![Ask::get('c')], vec![]), Step::Wait];
    let steps = std::iter::repeat_n(request, requests).flatten().collect();
    let client = sim.dial(from(port), vip(), profile(u32::from(port) << 12), steps);
    sim.run(600_000);
    sim.check();
    sim.client(client).answers.iter().map(|(_, by)| by.clone()).collect()
}

/// The lot of the request with which the connection went to userspace.
fn lot(sim: &Sim, port: u16) -> Option<u32> {
    sim.world.lots.borrow().get(&tuple(from(port), vip())).map(|noted| noted.lot)
}

#[test]
fn the_tables_say_how_many_are_copied() {
    assert_eq!(tables(false).copies.values().collect::<Vec<_>>(), [&BELOW]);
}

#[test]
fn requests_that_are_copied_go_to_userspace_with_their_lots_and_no_others() {
    let mut sim = sim(400);
    let mut copied = 0;
    for port in 20_000..20_400 {
        let by = ask(&mut sim, port, 1);
        let lot = lot(&sim, port);
        assert_eq!(by[0] == "host", lot.is_some(), "{by:?}");
        assert!(lot.is_none_or(|lot| lot < BELOW));
        copied += u32::from(lot.is_some());
    }
    // A half, give or take four deviations.
    assert!(copied.abs_diff(200) <= 40, "{copied} of 400");
    assert_eq!(sim.world.counted(Reason::HandCopied), copied);
    assert_eq!(sim.world.counted(Reason::Bound), 400 - copied);
}

/// Each request has a lot of its own: the connection goes with the first that is copied, and stays.
#[test]
fn a_connection_stays_until_a_request_of_it_is_copied() {
    let mut firsts = [0; 3];
    for port in 20_000..20_300 {
        let mut sim = sim(401);
        let by = ask(&mut sim, port, 12);
        let first = by.iter().position(|by| by == "host").unwrap_or(12);
        assert!(by[first..].iter().all(|by| by == "host"), "{by:?}");
        assert!(lot(&sim, port).is_none_or(|lot| lot < BELOW), "{by:?}");
        if let Some(count) = firsts.get_mut(first) {
            *count += 1;
        }
    }
    // 150, 75 and 37 of 300, give or take four deviations.
    for (count, (wanted, deviation)) in firsts.into_iter().zip([(150, 9), (75, 8), (37, 6)]) {
        assert!(u32::abs_diff(count, wanted) <= 4 * deviation, "{firsts:?}");
    }
}

/// What the client repeats is drawn as it was, whether the host lost it or the wire.
#[test]
fn a_request_that_is_repeated_has_the_same_lot() {
    let mut seen = [0; 2];
    for port in 20_000..20_020 {
        let mut lost = sim(402);
        lost.is_full = true;
        let request = vec![Step::Send(vec![Ask::get('c')], vec![]), Step::Wait];
        lost.dial(from(port), vip(), profile(u32::from(port) << 12), request);
        lost.run_for(100);
        let first = lot(&lost, port);
        lost.is_full = false;
        lost.run(600_000);
        lost.check();
        assert_eq!(lot(&lost, port), first);
        let tries = if first.is_some() { 2 } else { 0 };
        assert_eq!(lost.world.counted(Reason::HandCopied), tries);
        seen[usize::from(first.is_some())] += 1;
    }
    assert!(seen.iter().all(|count| *count > 3), "{seen:?}");
}

/// Who goes to userspace since no endpoint answers is not drawn for again: it was not to be copied.
#[test]
fn a_request_without_an_endpoint_takes_its_lot_along() {
    let (mut kept, mut copied) = (0, 0);
    for port in 20_000..20_060 {
        let mut sim = sim(403);
        // Endpoint 2 is the only one that is left.
        sim.world.tables.replace(tables_removed());
        sim.nodes.get_mut(&endpoint(2, false)).unwrap().door = Door::Dead;
        assert_eq!(ask(&mut sim, port, 1), ["host"]);
        let is_copied = lot(&sim, port).unwrap() < BELOW;
        *(if is_copied { &mut copied } else { &mut kept }) += 1;
        assert_eq!(sim.world.counted(Reason::HandCopied), u32::from(is_copied));
        assert_eq!(sim.world.counted(Reason::HandNoEndpoint), u32::from(!is_copied));
    }
    assert!(u32::abs_diff(copied, 30) <= 16 && kept > 0, "{copied} of 60");
}
