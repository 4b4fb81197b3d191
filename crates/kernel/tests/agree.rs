//! The kernel's tables decide as the matcher does, or leave the request to userspace.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "requests of tests are short")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::Arc;

use dataplane::lookup::{Decision, Punt};
use model::{PathMatch, Snapshot};
use route::Table;
use support::generate::{Dice, request, snapshot};
use support::{compile, decide, is_read, matched, scanned, socket, with_backends};

#[derive(Default, Debug)]
struct Counts {
    decided: u64,
    unmatched: u64,
    left: u64,
    unread: u64,
}

/// Asks both about the requests of one table.
fn compare(dice: &mut Dice, snapshot: &Snapshot, requests: u64, counts: &mut Counts, must_decide: bool) {
    let compiled = compile(snapshot);
    let table = Table::build(snapshot);
    for _ in 0..requests {
        let mut request = request(dice, snapshot);
        if dice.one_in(3) {
            request.host = request.host.to_uppercase();
        }
        // The kernel reads no others.
        if !["GET", "POST"].contains(&&*request.method) && !dice.one_in(10) {
            request.method = dice.of(&["HEAD", "DELETE", "OPTIONS", "PATCH", "PUT"]).into();
        }
        let query = (!request.parameters.is_empty()).then_some("x=1");
        let Some(read) = scanned(&request, query, &compiled.tables) else {
            counts.unread += 1;
            continue;
        };
        request.host = request.host.to_lowercase();
        let wanted = matched(&table, &request, query);
        let number = socket(&compiled.tables, request.address, request.port);
        let decision = decide(&compiled.tables, number, &read);
        match (decision, wanted) {
            (Decision::Route { action }, wanted) => {
                assert_eq!(
                    compiled.routes.get(&action),
                    wanted.as_ref(),
                    "{request:?} {query:?}\n{snapshot:#?}"
                );
                counts.decided += 1;
            }
            (Decision::Tier3(Punt::NoRoute), wanted) => {
                assert_eq!(wanted, None, "{request:?}");
                counts.unmatched += 1;
            }
            (Decision::Tier3(punt), wanted) => {
                let odd = request.host.starts_with('.') || number == 0;
                assert!(!must_decide || odd, "{punt:?} for {request:?}, wanted {wanted:?}\n{snapshot:#?}");
                counts.left += 1;
            }
        }
    }
}

#[test]
fn whatever_is_decided_is_decided_alike() {
    let mut counts = Counts::default();
    for seed in 0..400 {
        let mut dice = Dice(seed << 32);
        let snapshot = with_backends(&snapshot(&mut dice));
        compare(&mut dice, &snapshot, 200, &mut counts, false);
    }
    println!("any table: {counts:?}");
    let all = counts.decided + counts.unmatched + counts.left;
    assert!(all > 60_000 && counts.decided * 4 > all, "{counts:?}");
}

/// Whatever the settings `paths` say, a path that they change, redirect or reject is none that the kernel reads: which of its
/// spellings is meant is for userspace to say.
#[test]
fn no_path_that_rules_change_is_decided() {
    use policy::{EscapedSlashes, PathRules, RuledPath};
    const PARTS: [&str; 15] =
        ["/", "/", ".", "..", "a", "b", "%2F", "%2e", "%5c", "%41", "%", "~", "-", "_", "\\"];
    let mut dice = Dice(7);
    let tables = compile(&with_backends(&snapshot(&mut dice))).tables;
    let (mut changed, mut read) = (0, 0);
    for _ in 0..20_000 {
        let path = (0..dice.below(8)).fold("/".to_owned(), |path, _| path + dice.of(&PARTS));
        let is_read = is_read(&path, &tables);
        read += u32::from(is_read);
        use EscapedSlashes::{Forward, Keep, Redirect, Reject};
        for escaped_slashes in [Keep, Forward, Redirect, Reject] {
            for (normalize, merge_slashes) in [(false, true), (true, false), (true, true)] {
                let rules = PathRules { normalize, merge_slashes, escaped_slashes };
                if rules.apply(&path) != RuledPath::Same {
                    changed += 1;
                    assert!(!is_read, "{path} by {rules:?}");
                }
            }
        }
    }
    assert!(changed > 10_000 && read > 1_000, "changed {changed}, read {read}");
}

/// Hosts, exact paths, prefixes, methods and headers by value: nothing of that is left to userspace.
#[test]
fn ordinary_tables_are_decided_throughout() {
    let mut counts = Counts::default();
    for seed in 0..300 {
        let mut dice = Dice(seed << 32 | 1);
        let mut snapshot = snapshot(&mut dice);
        for route in &mut snapshot.routes {
            let route = Arc::make_mut(route);
            for one in &mut route.matches {
                one.queries.clear();
                one.headers.retain(|header| matches!(header.value, model::ValueMatch::Exact(_)));
                if matches!(one.path, PathMatch::Regex(_)) {
                    one.path = PathMatch::Prefix("/ab".into());
                }
            }
        }
        compare(&mut dice, &with_backends(&snapshot), 200, &mut counts, true);
    }
    println!("ordinary tables: {counts:?}");
    assert!(counts.decided > 30_000 && counts.decided > 5 * counts.left, "{counts:?}");
}
