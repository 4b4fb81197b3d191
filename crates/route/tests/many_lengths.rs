//! The compiled table decides as a linear matcher does where a host has prefixes of many lengths, nested in each other.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::Arc;

use model::{HeaderMatch, PathMatch, RouteMatch, Snapshot, ValueMatch};
use route::{Lookup, Pairs, Request, Table};
use support::generate::{Dice, Generated};
use support::naive::Naive;
use support::{listener, route};

/// Slashes and one letter, so that many texts begin with many others; long ones share their first bytes even more often.
fn text(dice: &mut Dice, known: &[String]) -> String {
    let length = dice.below(40);
    let mut text = if known.is_empty() || dice.one_in(3) { "/".into() } else { dice.of(known) };
    text.truncate(1 + dice.below(text.len()));
    text.extend((0..length).map(|_| dice.of(&['a', 'a', '/'])));
    text
}

fn a_match(dice: &mut Dice, text: &str) -> RouteMatch {
    let path = match dice.below(5) {
        0 => PathMatch::Exact(text.into()),
        1 | 2 => PathMatch::StringPrefix(text.into()),
        _ => PathMatch::Prefix(text.trim_end_matches('/').into()),
    };
    let asks = HeaderMatch { name: "x".into(), value: ValueMatch::Exact("1".into()) };
    RouteMatch {
        path,
        method: None,
        headers: dice.one_in(3).then_some(asks).into_iter().collect(),
        queries: vec![],
    }
}

#[test]
fn nested_prefixes_of_many_lengths() {
    let (mut naive, mut matched, mut lengths_max) = (Naive::default(), 0, 0);
    for seed in 0..100 {
        let mut dice = Dice(seed << 40);
        let mut texts: Vec<String> = Vec::new();
        for _ in 0..1 + dice.below(120) {
            let text = text(&mut dice, &texts);
            texts.push(text);
        }
        let mut lengths: Vec<_> = texts.iter().map(String::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths_max = lengths_max.max(lengths.len());
        let all = listener("l", None);
        let routes: Vec<_> = (0..)
            .zip(&texts)
            .map(|(i, text): (u32, _)| {
                Arc::new(route(&format!("r{i}"), &[&all], vec![], vec![a_match(&mut dice, text)]))
            })
            .collect();
        let snapshot = Snapshot::new(1, [Arc::new(all.clone())], routes, [], []);
        let table = Table::build(&snapshot);
        let socket = table.socket("10.0.0.1".parse().unwrap(), 80).unwrap();
        for _ in 0..200 {
            let headers = if dice.one_in(2) { vec![("x".to_string(), "1".to_string())] } else { vec![] };
            let mut path = text(&mut dice, &texts);
            if dice.one_in(10) {
                path = dice.of(&["", "*", "/", "a"]).into();
            }
            let request = Generated {
                address: "10.0.0.1".parse().unwrap(),
                port: 80,
                host: "a".into(),
                path,
                method: "GET".into(),
                headers,
                parameters: vec![],
            };
            let found = socket.lookup(&Request {
                host: "a",
                path: &request.path,
                query: None,
                method: "GET",
                headers: &Pairs(&request.headers),
            });
            let found = match found {
                Lookup::Match { route_index, match_index, .. } => Some((route_index, match_index)),
                Lookup::NoRoute { .. } | Lookup::NoListener => None,
            };
            matched += u32::from(found.is_some());
            let wanted = naive.decide(&snapshot, &request).and_then(|(_, found)| found);
            assert_eq!(found, wanted, "table {seed}, {request:?}");
        }
    }
    assert!(matched > 5_000 && lengths_max > 50, "{matched} of 20,000 matched, {lengths_max} lengths");
}
