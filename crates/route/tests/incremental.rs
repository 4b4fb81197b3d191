//! A table made after another one decides as a linear matcher does, whatever came and went in between.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::Arc;

use model::{HostPattern, Listener, Protocol, Route, Snapshot};
use route::Table;
use support::decide::compiled;
use support::generate::{Dice, request, snapshot_up_to};
use support::naive::Naive;

const WORLDS: u64 = 12;
const CHANGES: usize = 60;
const REQUESTS: usize = 60;

fn has_names_alone(route: &Route) -> bool {
    !route.hosts.is_empty() && route.hosts.iter().all(|host| matches!(host, HostPattern::Exact(_)))
}

#[test]
fn any_changes_one_after_the_other() {
    let (mut naive, mut matched) = (Naive::default(), 0);
    for seed in 0..WORLDS {
        let dice = &mut Dice(seed << 32);
        let all = snapshot_up_to(dice, 300, 900);
        let mut used: Vec<bool> = all.routes.iter().map(|_| dice.one_in(2)).collect();
        let named: Vec<usize> =
            (0..).zip(&all.routes).filter(|(_, r)| has_names_alone(r)).map(|(at, _)| at).collect();
        let mut table = Table::build(&Snapshot::default());
        for change in 0..CHANGES {
            // Mostly a few routes, or one for names alone; at times most of them go, or come.
            let (changes, to) = match dice.below(12) {
                0 => (used.len(), Some(dice.one_in(2))),
                1..6 => (dice.below(6), None),
                _ => (0, None),
            };
            for _ in 0..changes {
                let at = dice.below(used.len());
                used[at] = to.unwrap_or(!used[at]);
            }
            if changes == 0 {
                let at = dice.of(&named);
                used[at] = !used[at];
            }
            let routes =
                all.routes.iter().zip(&used).filter(|(_, used)| **used).map(|(route, _)| route.clone());
            let listeners = all.listeners.values().filter(|_| !dice.one_in(20)).cloned();
            let snapshot = Snapshot::new(1, listeners, routes, [], []);
            table = Table::build_after(&snapshot, Some(&table));
            for _ in 0..REQUESTS {
                // Those that are not there now are asked for, too.
                let request = request(dice, &all);
                let wanted = naive.decide(&snapshot, &request);
                assert_eq!(compiled(&table, &request, false), wanted, "{seed}, {change}: {request:?}");
                matched += usize::from(matches!(wanted, Some((_, Some(_)))));
            }
        }
    }
    assert!(matched > CHANGES * REQUESTS, "{matched} requests had a route");
}

/// Lists that no store makes: routes twice, in other places, for other hosts and listeners, with listeners that move.
#[test]
fn any_list_after_any_other() {
    let mut matched = 0;
    for seed in 0..20 {
        let dice = &mut Dice(seed << 32 | 7);
        let all = snapshot_up_to(dice, 150, 400);
        let named: Vec<_> = all.routes.iter().filter(|route| has_names_alone(route)).cloned().collect();
        let from = if seed % 2 == 0 { &all.routes } else { &named };
        let mut listeners: Vec<_> = all.listeners.values().cloned().collect();
        let (mut routes, mut table) = (Vec::new(), Table::build(&Snapshot::default()));
        for change in 0..80 {
            for _ in 0..dice.of(&[1, 1, 1, 2, 5]) {
                alter(&mut routes, from, dice);
            }
            if dice.one_in(8) {
                let at = dice.below(listeners.len());
                let one = Listener { port: dice.of(&[80, 81]), ..(*listeners[at]).clone() };
                let protocol = dice.of(&[Protocol::Http, Protocol::Udp, one.protocol]);
                listeners[at] = Arc::new(Listener { protocol, ..one });
            }
            let shown = listeners.iter().filter(|_| !dice.one_in(25)).cloned();
            // In the order in which they stand, which is nobody's precedence.
            let snapshot = Snapshot { routes: routes.clone(), ..Snapshot::new(1, shown, [], [], []) };
            table = Table::build_after(&snapshot, Some(&table));
            let fresh = Table::build(&snapshot);
            assert_eq!(table.errors(), fresh.errors());
            for _ in 0..20 {
                let request = request(dice, &all);
                let wanted = compiled(&fresh, &request, false);
                assert_eq!(compiled(&table, &request, true), wanted, "{seed}, {change}: {request:?}");
                matched += usize::from(matches!(wanted, Some((_, Some(_)))));
            }
        }
    }
    assert!(matched > 1000, "{matched} requests had a route");
}

fn alter(routes: &mut Vec<Arc<Route>>, from: &[Arc<Route>], dice: &mut Dice) {
    let (other, to) = (dice.of(from), dice.below(routes.len() + 1));
    let at = dice.below(routes.len().max(1));
    let Some(one) = routes.get(at).cloned() else { return routes.push(other) };
    match dice.below(10) {
        0 | 1 => drop(routes.remove(at)),
        2 => routes.insert(to, one),
        3 => routes[at] = Arc::new((*one).clone()),
        4 => routes[at] = Arc::new(Route { hosts: other.hosts.clone(), ..(*one).clone() }),
        5 => routes[at] = Arc::new(Route { listeners: other.listeners.clone(), ..(*one).clone() }),
        6 => routes.swap(at, to.saturating_sub(1)),
        7 if dice.one_in(20) => routes.clear(),
        _ => routes.insert(to, other),
    }
}
