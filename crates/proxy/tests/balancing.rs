//! Which endpoint gets a request.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{Affinity, BackendPolicy, Balancing, HashBy, RouteAffinity};
use support::{Lab, Rule, Scripted, rule};

#[test]
fn routes_that_take_turns_with_requests_share_their_endpoints_evenly() {
    let (a, b) = (Scripted::echo("a"), Scripted::echo("b"));
    let both = [a.address, b.address];
    let lab = Lab::new(&[rule("/x", &both), rule("/y", &both)]);
    let mut client = lab.client();
    let mut of_a = [0, 0];
    for turn in 0..40 {
        let path = ["/x", "/y"][turn % 2];
        of_a[turn % 2] += usize::from(client.get(path).text().starts_with("a\n"));
    }
    assert_eq!(of_a, [10, 10]);
}

/// One client over many connections, on a route that takes endpoints in turn otherwise.
#[test]
fn a_client_keeps_its_endpoint_over_connections_and_changes_of_the_others() {
    let echoes = ["a", "b", "c"].map(Scripted::echo);
    let [a, b, c] = [&echoes[0], &echoes[1], &echoes[2]].map(|echo| echo.address);
    for balancing in [Balancing::default(), Balancing::RoundRobin, Balancing::Random] {
        let mut lab = Lab::new(&[kept(balancing, &[a, b])]);
        let first = by(&lab);
        for _ in 0..12 {
            assert_eq!(by(&lab), first, "{balancing:?}");
        }
        // Another endpoint comes, and its own stays.
        lab.apply(&[kept(balancing, &[a, b, c])]);
        for _ in 0..12 {
            assert_eq!(by(&lab), first, "{balancing:?}");
        }
        // Its own goes: it moves at once, once, and does not come back.
        let all = [("a", a), ("b", b), ("c", c)];
        let others: Vec<_> = all.iter().filter(|(name, _)| *name != first).map(|(_, at)| *at).collect();
        lab.apply(&[kept(balancing, &others)]);
        let second = by(&lab);
        assert_ne!(second, first);
        lab.apply(&[kept(balancing, &[a, b, c])]);
        for _ in 0..12 {
            assert_eq!(by(&lab), second, "{balancing:?}");
        }
    }
}

fn kept(balancing: Balancing, endpoints: &[SocketAddr]) -> Rule<'_> {
    let affinity = RouteAffinity::Client(Affinity::default());
    Rule { balancing, affinity, ..rule("/", endpoints) }
}

/// The endpoint that answers a request on a connection of its own.
fn by(lab: &Lab) -> String {
    lab.client().get("/").text().lines().next().unwrap_or_default().to_owned()
}

fn with_policy(balancing: Option<Balancing>, hash_by: Option<HashBy>, endpoints: &[SocketAddr]) -> Rule<'_> {
    let policy = BackendPolicy { balancing, hash_by, ..Default::default() };
    Rule { policy: Some(Arc::new(policy)), ..rule("/", endpoints) }
}

/// Who answers requests with this line, each on a connection of its own.
fn answers_to(lab: &Lab, line: &str, requests: usize) -> BTreeSet<String> {
    let ask = |_| {
        let mut client = lab.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{line}\r\n"));
        client.response().text().lines().next().unwrap_or_default().to_owned()
    };
    (0..requests).map(ask).collect()
}

/// Enough for each endpoint to be somebody's.
const USERS: usize = 40;

#[test]
fn a_value_of_the_request_leads_to_one_endpoint_and_the_others_keep_theirs_when_one_goes() {
    let echoes = ["a", "b", "c"].map(Scripted::echo);
    let all: Vec<_> = echoes.iter().map(|echo| echo.address).collect();
    let (header, cookie) = (HashBy::Header("x-user".into()), HashBy::Cookie("user".into()));
    type Line = fn(usize) -> String;
    let cases: [(HashBy, Line); 2] = [
        (header, |n| format!("X-User: u{n}\r\nX-User: other\r\n")),
        (cookie, |n| format!("Cookie: a=b; user=u{n}\r\nCookie: user=other\r\n")),
    ];
    for (by, line) in cases {
        let maglev = Some(Balancing::default());
        let mut lab = Lab::new(&[with_policy(maglev, Some(by.clone()), &all)]);
        let homes: Vec<_> = (0..USERS)
            .map(|n| {
                let found = answers_to(&lab, &line(n), 2);
                assert_eq!(found.len(), 1, "{by:?} {n}: {found:?}");
                found.into_iter().next().unwrap()
            })
            .collect();
        assert_eq!(homes.iter().collect::<BTreeSet<_>>().len(), 3, "{homes:?}");
        // Requests without it spread.
        assert_eq!(answers_to(&lab, "", 40).len(), 3, "{by:?}");
        lab.apply(&[with_policy(maglev, Some(by.clone()), &all[..2])]);
        let kept: Vec<_> = (0..USERS).filter(|n| homes[*n] != "c").collect();
        let moves = |n: &&usize| !answers_to(&lab, &line(**n), 1).contains(&homes[**n]);
        let moved = kept.iter().filter(moves).count();
        // A remainder by the number of endpoints would move half of them.
        assert!(moved * 5 <= kept.len(), "{moved} of {} moved that could stay", kept.len());
    }
    let lab = Lab::new(&[with_policy(None, Some(HashBy::SourceAddress), &all)]);
    assert!(answers_to(&lab, "", 20).len() > 1, "in turn, as the rule asks: there is no table to ask");
    let lab = Lab::new(&[with_policy(Some(Balancing::default()), Some(HashBy::SourceAddress), &all)]);
    assert_eq!(answers_to(&lab, "", 20).len(), 1);
}

#[test]
fn the_busy_and_the_slow_get_less() {
    // Answers a request when it has seen the next one, or never.
    let (stuck, _told) = Scripted::silent();
    let quick = Scripted::echo("quick");
    let both = [stuck.address, quick.address];
    for balancing in [Balancing::LeastRequest, Balancing::PeakEwma] {
        let lab = Lab::new(&[with_policy(Some(balancing), None, &both)]);
        // Requests that the one endpoint never answers; the other one has none under way between two of these.
        let mut waiting = Vec::new();
        for _ in 0..200 {
            let mut client = lab.client();
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
            client.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            if client.try_response().is_none() {
                waiting.push(client);
            }
        }
        // Who waits is counted: but for the draws that see one of the two only (1 in 64), one is enough.
        assert!((1..20).contains(&waiting.len()), "{balancing:?}: {}", waiting.len());
    }
}

#[test]
fn an_endpoint_that_joins_gets_little_at_first_and_at_a_start_all_are_alike() {
    const REQUESTS: usize = 400;
    let echoes = ["a", "b", "c"].map(Scripted::echo);
    let [a, b, c] = [&echoes[0], &echoes[1], &echoes[2]].map(|echo| echo.address);
    let (two, three) = ([a, b], [a, b, c]);
    let policies = [
        (Balancing::RoundRobin, None, true),
        (Balancing::Random, None, true),
        (Balancing::LeastRequest, None, true),
        (Balancing::default(), None, true),
        // A value keeps its endpoint: the new one has all of its values at once.
        (Balancing::default(), Some(HashBy::Header("x-user".into())), false),
    ];
    for (balancing, hash_by, is_slow) in policies {
        let said = BackendPolicy {
            balancing: Some(balancing),
            hash_by,
            slow_start: Some(Duration::from_secs(3600)),
            ..Default::default()
        };
        let policy = Some(Arc::new(said));
        let of = |endpoints| Rule { policy: policy.clone(), ..rule("/", endpoints) };
        let counts = |lab: &Lab| {
            let mut client = lab.client();
            let mut counts = [0_usize; 3];
            for number in 0..REQUESTS {
                client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-User: {number}\r\n\r\n"));
                counts[usize::from(client.response().body[0] - b'a')] += 1;
            }
            counts
        };
        let mut lab = Lab::new(&[of(&two)]);
        lab.apply(&[of(&three)]);
        let [of_a, of_b, joined] = counts(&lab);
        // A third of it would be 133, a tenth of that share 13.
        assert!(if is_slow { (1..60).contains(&joined) } else { joined > 80 }, "{balancing:?}: {joined}");
        if balancing == Balancing::RoundRobin {
            // One that got all which the new one does not would have 120 more than the other.
            assert!(of_a.abs_diff(of_b) < 80, "{balancing:?}: {of_a} and {of_b}");
        }
        let [.., first] = counts(&Lab::new(&[of(&three)]));
        assert!(first > 80, "{balancing:?}: {first}");
    }
}

#[test]
fn an_endpoint_that_joins_gets_little_of_requests_that_stay_open_although_it_has_nothing_to_do() {
    const REQUESTS: usize = 200;
    for balancing in [Balancing::LeastRequest, Balancing::PeakEwma] {
        let open = || {
            Scripted::new(|conn| {
                conn.stream.set_read_timeout(None).unwrap();
                while conn.head().is_some() {}
            })
        };
        let (old, new) = (open(), open());
        let (one, both) = ([old.address], [old.address, new.address]);
        let slow_start = Some(Duration::from_secs(3600));
        let policy = Arc::new(BackendPolicy { balancing: Some(balancing), slow_start, ..Default::default() });
        let of = |endpoints| Rule { policy: Some(policy.clone()), ..rule("/", endpoints) };
        let mut lab = Lab::new(&[of(&one)]);
        lab.apply(&[of(&both)]);
        let ask = |number: usize| {
            let mut client = lab.client();
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
            support::eventually("an endpoint has it", || old.connections() + new.connections() > number);
            client
        };
        let _clients: Vec<_> = (0..REQUESTS).map(ask).collect();
        // Half of them would be even, a tenth is its share.
        let joined = new.connections();
        assert!((1..60).contains(&joined), "{balancing:?}: {joined}");
    }
}
