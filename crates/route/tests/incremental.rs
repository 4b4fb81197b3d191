//! A table made after another one decides as a linear matcher does, whatever came and went in between.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use model::{HostPattern, Route, Snapshot};
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
