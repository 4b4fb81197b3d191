//! Clients that keep their endpoint: routes `/k` (backend x) and `/v` (x and y alike), for a minute after the last request.

use std::net::SocketAddr;

use wire::Reason;

use crate::apps::Step;
use crate::basics::sim;
use crate::http::Ask;
use crate::net::{endpoint, tables, tables_draining, tables_removed};
use crate::sim::{Door, Sim, profile, vip};
use crate::world::Cache;

/// Client `n` on a connection of its own.
fn client(n: u8, port: u16) -> SocketAddr {
    ([10, 9, 1, n], port).into()
}

/// One request on a new connection; who answered.
fn ask(sim: &mut Sim, n: u8, port: u16, route: char) -> String {
    let steps = vec![Step::Send(vec![Ask::get(route)], vec![]), Step::Wait];
    let number = sim.dial(client(n, port), vip(), profile(u32::from(port) << 12), steps);
    sim.run(120_000);
    sim.check();
    sim.client(number).answers[0].1.clone()
}

/// Clients whose first choice is endpoint 1.
fn of_one() -> Vec<u8> {
    let mut sim = sim(100);
    let found: Vec<u8> = (1..21).filter(|&n| ask(&mut sim, n, 40_000, 'k') == "e1").collect();
    assert!((4..17).contains(&found.len()), "clients spread: {found:?}");
    found
}

#[test]
fn a_client_has_one_endpoint_over_all_its_connections() {
    let mut sim = sim(101);
    for n in 1..9 {
        let first = ask(&mut sim, n, 40_000, 'k');
        for port in 40_001..40_008 {
            assert_eq!(ask(&mut sim, n, port, 'k'), first, "client {n}");
        }
    }
    assert_eq!(sim.world.cache.len(), 8);
}

#[test]
fn a_client_without_the_wish_is_spread() {
    let mut sim = sim(102);
    let by: Vec<String> = (0..16).map(|n| ask(&mut sim, 1, 40_000 + n, 'n')).collect();
    assert!(by.iter().any(|by| by == "e1") && by.iter().any(|by| by == "e2"), "{by:?}");
    assert_eq!(sim.world.cache.len(), 0, "nothing is remembered");
}

#[test]
fn an_endpoint_that_goes_or_drains_loses_its_clients_and_they_stay_away() {
    for (round, without) in [tables_removed(), tables_draining()].into_iter().enumerate() {
        let mut sim = sim(103 + round as u64);
        let of_one = of_one();
        for &n in &of_one {
            assert_eq!(ask(&mut sim, n, 40_000, 'k'), "e1");
        }
        sim.world.tables.replace(without);
        for &n in &of_one {
            assert_eq!(ask(&mut sim, n, 40_001, 'k'), "e2", "at once");
        }
        // It comes back: clients stay where they are, new ones have their first choice.
        sim.world.tables.replace(tables(false));
        let (newcomer, before) = of_one.split_last().unwrap();
        sim.world.cache.forget_client(client(*newcomer, 0).ip());
        for &n in before {
            assert_eq!(ask(&mut sim, n, 40_002, 'k'), "e2", "client {n} stays");
        }
        assert_eq!(ask(&mut sim, *newcomer, 40_002, 'k'), "e1");
    }
}

/// As another CPU notes it, or userspace, when their clock is a little ahead.
#[test]
fn a_client_that_was_noted_in_a_second_to_come_stays() {
    let n = of_one()[0];
    let mut sim = sim(130);
    sim.world.tables.replace(tables_removed());
    assert_eq!(ask(&mut sim, n, 40_000, 'k'), "e2");
    sim.world.tables.replace(tables(false));
    sim.world.cache.each(|cached| cached.used_s += 60);
    assert_eq!(ask(&mut sim, n, 40_001, 'k'), "e2");
}

#[test]
fn an_open_connection_stays_when_the_endpoints_change() {
    let n = of_one()[0];
    let mut sim = sim(105);
    sim.world.tables.replace(tables_removed());
    let send = || Step::Send(vec![Ask::get('k')], vec![]);
    let steps = vec![send(), Step::Wait, Step::Pause(1000), send(), Step::Wait];
    let number = sim.dial(client(n, 40_000), vip(), profile(3), steps);
    sim.run_for(500);
    sim.world.tables.replace(tables(false));
    sim.run(120_000);
    sim.check();
    let by: Vec<_> = sim.client(number).answers.iter().map(|(_, by)| by.clone()).collect();
    assert_eq!((by, sim.world.counted(Reason::Rebound)), (vec!["e2".to_owned(); 2], 0));
}

#[test]
fn connections_of_one_client_meet_at_its_endpoint() {
    let n = of_one()[0];
    let mut sim = sim(106);
    let send = || Step::Send(vec![Ask::get('k')], vec![]);
    let steps = vec![send(), Step::Wait, Step::Pause(20_000), send(), Step::Wait];
    let old = sim.dial(client(n, 40_000), vip(), profile(3), steps);
    sim.run_for(1000);
    // Another connection finds the endpoint shut, and another endpoint.
    sim.nodes.get_mut(&endpoint(1, false)).unwrap().door = Door::Shut;
    let steps = vec![send(), Step::Wait];
    let other = sim.dial(client(n, 40_001), vip(), profile(4), steps);
    sim.run(120_000);
    sim.check();
    assert_eq!(sim.client(other).answers[0].1, "e2");
    let by: Vec<_> = sim.client(old).answers.iter().map(|(_, by)| by.clone()).collect();
    assert_eq!(by, ["e1", "e2"]);
}

#[test]
fn a_dead_endpoint_loses_its_clients_and_they_stay_away() {
    let n = of_one()[0];
    for door in [Door::Shut, Door::Dead] {
        let mut sim = sim(107);
        assert_eq!(ask(&mut sim, n, 40_000, 'k'), "e1");
        sim.nodes.get_mut(&endpoint(1, false)).unwrap().door = door;
        assert_eq!(ask(&mut sim, n, 40_001, 'k'), "e2", "{door:?}");
        sim.nodes.get_mut(&endpoint(1, false)).unwrap().door = Door::Open;
        assert_eq!(ask(&mut sim, n, 40_002, 'k'), "e2", "{door:?}");
    }
}

#[test]
fn an_idle_endpoints_end_is_no_reason_to_leave_it() {
    use crate::apps::Manners;
    let n = of_one()[0];
    let mut sim = sim(108);
    let manners = Manners { idle_close: Some(300), ..Manners::default() };
    sim.nodes.get_mut(&endpoint(1, false)).unwrap().manners = manners;
    let mut steps = vec![];
    for _ in 0..4 {
        steps.extend([Step::Send(vec![Ask::get('k')], vec![]), Step::Wait, Step::Pause(1000)]);
    }
    let number = sim.dial(client(n, 40_000), vip(), profile(3), steps);
    sim.run(120_000);
    sim.check();
    assert!(sim.client(number).answers.iter().all(|(_, by)| by == "e1"));
}

#[test]
fn a_client_is_remembered_for_as_long_as_the_route_says_and_use_makes_it_longer() {
    let n = of_one()[0];
    let mut sim = sim(109);
    sim.world.tables.replace(tables_removed());
    assert_eq!(ask(&mut sim, n, 40_000, 'k'), "e2");
    sim.world.tables.replace(tables(false));
    for port in 40_001..40_005 {
        // Each wait is within the minute (a run of the model ends with half a minute of peace), all together are not.
        sim.run_for(20_000);
        assert_eq!(ask(&mut sim, n, port, 'k'), "e2");
    }
    sim.run_for(65_000);
    assert_eq!(ask(&mut sim, n, 40_006, 'k'), "e1", "its first choice again");
}

#[test]
fn a_connection_in_use_refreshes_too() {
    let n = of_one()[0];
    let mut sim = sim(110);
    sim.world.tables.replace(tables_removed());
    let mut steps = vec![];
    for _ in 0..5 {
        steps.extend([Step::Send(vec![Ask::get('k')], vec![]), Step::Wait, Step::Pause(25_000)]);
    }
    sim.dial(client(n, 40_000), vip(), profile(3), steps);
    sim.run_for(1000);
    sim.world.tables.replace(tables(false));
    sim.run(200_000);
    assert_eq!(ask(&mut sim, n, 40_001, 'k'), "e2");
}

#[test]
fn a_full_cache_lets_the_client_go_that_was_silent_longest() {
    let of_one = of_one();
    let (a, b) = (of_one[0], of_one[1]);
    let mut sim = sim(111);
    sim.world.cache = Cache::new(1);
    sim.world.tables.replace(tables_removed());
    assert_eq!((ask(&mut sim, a, 40_000, 'k'), ask(&mut sim, b, 40_000, 'k')), ("e2".into(), "e2".into()));
    sim.world.tables.replace(tables(false));
    assert_eq!(ask(&mut sim, b, 40_001, 'k'), "e2");
    assert_eq!(ask(&mut sim, a, 40_001, 'k'), "e1", "its first choice");
}

#[test]
fn a_client_keeps_its_backend_however_often_it_asks() {
    let mut sim = sim(112);
    sim.world.settings.redraw_after = 3;
    let mut backends = [0, 0];
    for n in 1..17 {
        let first = ask(&mut sim, n, 40_000, 'v');
        backends[usize::from(first == "e3")] += 1;
        let steps = (0..10).flat_map(|_| [Step::Send(vec![Ask::get('v')], vec![]), Step::Wait]).collect();
        let number = sim.dial(client(n, 40_001), vip(), profile(9), steps);
        sim.run(120_000);
        sim.check();
        assert!(sim.client(number).answers.iter().all(|(_, by)| *by == first), "client {n}");
    }
    assert!(backends.iter().all(|&n| n > 2), "{backends:?}");
    assert_eq!(sim.world.counted(Reason::Rebound), 0);
}
