//! The compiled table decides as a linear matcher does, on a million generated pairs of table and request.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use route::{Lookup, Pairs, Request, Table};
use support::generate::{Dice, Generated, request, snapshot};
use support::naive::{Decision, Naive};

const TABLES: u64 = 2_000;
const REQUESTS: u64 = 500;

/// What the table says; with `check_explanation`, also that the explanation says the same.
fn compiled(table: &Table, request: &Generated, check_explanation: bool) -> Decision {
    let query = encode(&request.parameters);
    let asked = Request {
        host: &request.host,
        path: &request.path,
        query: query.as_deref(),
        method: &request.method,
        headers: &Pairs(&request.headers),
    };
    let socket = table.socket(request.address, request.port)?;
    let decision = match socket.lookup(&asked) {
        Lookup::Match { listener, route_index, match_index, .. } => {
            Some((listener.id.clone(), Some((route_index, match_index))))
        }
        Lookup::NoRoute { listener } => Some((listener.id.clone(), None)),
        Lookup::NoListener => None,
    };
    if check_explanation {
        let explanation = socket.explain(&asked);
        let winner = explanation.winner.map(|at| &explanation.considered[at]);
        let winner = winner.map(|one| (one.route_index, one.match_index));
        let explained = explanation.listener.map(|listener| (listener.id, winner));
        assert_eq!(explained, decision, "explanation of {request:?}");
    }
    decision
}

fn encode(parameters: &[(String, String)]) -> Option<String> {
    let text = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
                b' ' => "+".into(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

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
