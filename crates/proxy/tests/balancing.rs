//! Which endpoint gets a request.

mod support;

use std::net::SocketAddr;

use model::{Affinity, Balancing, RouteAffinity};
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
