//! The compiled table decides as a linear matcher does, on a million generated pairs of table and request.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use route::Table;
use support::decide::compiled;
use support::generate::{Dice, request, snapshot};
use support::naive::Naive;

const TABLES: u64 = 2_000;
const REQUESTS: u64 = 500;

#[test]
fn a_million_pairs() {
    let (mut naive, mut matched, mut unmatched, mut unserved) = (Naive::default(), 0u64, 0u64, 0u64);
    for seed in 0..TABLES {
        let mut dice = Dice(seed << 32);
        let snapshot = snapshot(&mut dice);
        let table = Table::build(&snapshot);
        assert_eq!(table.errors(), []);
        for n in 0..REQUESTS {
            let request = request(&mut dice, &snapshot);
            let wanted = naive.decide(&snapshot, &request);
            let found = compiled(&table, &request, n % 50 == 0);
            assert_eq!(found, wanted, "table {seed}, request {n}: {request:?}");
            match wanted {
                Some((_, Some(_))) => matched += 1,
                Some((_, None)) => unmatched += 1,
                None => unserved += 1,
            }
        }
    }
    let all = TABLES * REQUESTS;
    println!("of {all} requests {matched} matched, {unmatched} had no route, {unserved} no listener");
    // The generator must go on hitting and missing, or the test proves nothing.
    assert!(matched * 2 > all && unmatched * 50 > all && unserved * 50 > all);
}
