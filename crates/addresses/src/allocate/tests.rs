use model::ObjectKind;

use super::*;
use crate::AddressRange;

fn pool(ranges: &[&str]) -> Pool {
    ranges.iter().map(|range| range.parse::<AddressRange>().unwrap()).collect()
}

/// A Gateway of that age: `wanted` has addresses, `*` for any, other texts for what is none; `held` is its status.
fn claim(name: &str, created: i64, wanted: &[&str], held: &[&str]) -> Claim {
    let wanted = wanted.iter().map(|text| match *text {
        "*" => Wanted::Any,
        text if text.starts_with("type:") => Wanted::read(Some(text), Some("x")),
        text => Wanted::read(None, Some(text)),
    });
    Claim {
        gateway: ObjectRef::new(ObjectKind::Gateway, "shop", name),
        created_unix_s: Some(created),
        wanted: wanted.collect(),
        held: held.iter().map(|address| address.parse().unwrap()).collect(),
    }
}

/// Each Gateway with its addresses, or the words of its problems.
fn shown(pool: &Pool, claims: &[Claim]) -> Vec<String> {
    let of = |(gateway, assignment): (ObjectRef, Assignment)| {
        let addresses = assignment.addresses.iter().map(ToString::to_string);
        let problems = assignment.problems.iter().map(|problem| format!("[{}]", problem.reason.as_str()));
        let all: Vec<_> = addresses.chain(problems).collect();
        format!("{} {}", gateway.name, all.join(" "))
    };
    allocate(pool, claims).into_iter().map(of).collect()
}

#[test]
fn each_gateway_has_its_own_address_of_each_family() {
    let pool = pool(&["10.0.0.0/29", "fd00::/64"]);
    let claims = [claim("a", 2, &[], &[]), claim("b", 1, &[], &[]), claim("c", 2, &[], &[])];
    assert_eq!(shown(&pool, &claims), ["a 10.0.0.2 fd00::2", "b 10.0.0.1 fd00::1", "c 10.0.0.3 fd00::3"]);
}

#[test]
fn what_a_gateway_has_it_keeps() {
    let pool = pool(&["10.0.0.0/29", "fd00::/64"]);
    // An older one asks for the address by value: it is in use.
    let claims = [claim("a", 1, &["10.0.0.4"], &[]), claim("b", 2, &[], &["10.0.0.4", "fd00::9"])];
    assert_eq!(shown(&pool, &claims), ["a [AddressNotUsable]", "b 10.0.0.4 fd00::9"]);
    let problem = &allocate(&pool, &claims).into_values().next().unwrap().problems[0];
    let text = "spec.addresses[0].value: 10.0.0.4 is used by Gateway shop/b: ask for another one, or delete that Gateway";
    assert_eq!(problem.to_string(), text);
    assert_eq!(problem.reason.condition(), "Programmed");
}

#[test]
fn of_two_that_say_they_have_it_the_older_keeps_it() {
    let pool = pool(&["10.0.0.0/29"]);
    let claims = [claim("a", 2, &[], &["10.0.0.4"]), claim("b", 1, &[], &["10.0.0.4"])];
    assert_eq!(shown(&pool, &claims), ["a 10.0.0.1", "b 10.0.0.4"]);
}

#[test]
fn what_is_asked_for_by_value_comes_before_what_is_any() {
    let pool = pool(&["10.0.0.0/29"]);
    let claims = [
        claim("a", 1, &[], &[]),
        claim("b", 3, &["10.0.0.1"], &[]),
        claim("c", 2, &["10.0.0.2"], &[]),
        claim("d", 3, &["10.0.0.2"], &[]),
    ];
    assert_eq!(shown(&pool, &claims), ["a 10.0.0.3", "b 10.0.0.1", "c 10.0.0.2", "d [AddressNotUsable]"]);
}

#[test]
fn entries_without_a_value_take_any_address() {
    let both = pool(&["10.0.0.0/29", "fd00::/64"]);
    assert_eq!(shown(&both, &[claim("a", 1, &["*"], &[])]), ["a 10.0.0.1"]);
    assert_eq!(shown(&both, &[claim("a", 1, &["*"], &["fd00::7"])]), ["a fd00::7"]);
    assert_eq!(shown(&both, &[claim("a", 1, &["*", "*", "*"], &[])]), ["a 10.0.0.1 10.0.0.2 fd00::1"]);
    assert_eq!(shown(&both, &[claim("a", 1, &["*", "10.0.0.5"], &[])]), ["a fd00::1 10.0.0.5"]);
    let small = pool(&["10.0.0.1"]);
    assert_eq!(shown(&small, &[claim("a", 1, &["*", "*"], &[])]), ["a 10.0.0.1 [AddressNotAssigned]"]);
}

#[test]
fn what_cannot_be_had_stops_nothing_else_and_the_weightiest_reason_counts() {
    let pool = pool(&["10.0.0.0/29"]);
    let claims = [claim("a", 1, &["type:fake", "192.0.2.1", "10.0.0.5"], &[])];
    assert_eq!(shown(&pool, &claims), ["a 10.0.0.5 [UnsupportedAddress] [AddressNotUsable]"]);
    let assignment = allocate(&pool, &claims).into_values().next().unwrap();
    assert_eq!(assignment.reason().map(ProblemReason::condition), Some("Accepted"));
    let texts: Vec<_> = assignment.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "spec.addresses[0].type: \"type:fake\" is not served: write IPAddress, the type of the pool's addresses",
            "spec.addresses[1].value: 192.0.2.1 is not in the pool (10.0.0.1-10.0.0.6): ask for one of those, or have \
             addresses.pool enlarged",
        ]
    );
    assert_eq!(shown(&pool, &[claim("a", 1, &["host"], &[])]), ["a [AddressNotUsable]"]);
}

#[test]
fn a_pool_that_is_used_up_gives_to_the_older_and_says_so() {
    let claims = [claim("a", 2, &[], &[]), claim("b", 1, &[], &[])];
    assert_eq!(shown(&pool(&["10.0.0.1"]), &claims), ["a [AddressNotAssigned]", "b 10.0.0.1"]);
    let used_up = allocate(&pool(&["10.0.0.1"]), &claims).into_values().next().unwrap();
    let text = "spec.addresses: all addresses of the pool (10.0.0.1) are in use: enlarge addresses.pool, or delete Gateways";
    assert_eq!(used_up.problems[0].to_string(), text);
    // One family is enough.
    let both = pool(&["10.0.0.1", "fd00::1-fd00::2"]);
    assert_eq!(shown(&both, &claims), ["a fd00::2", "b 10.0.0.1 fd00::1"]);
    let none = allocate(&Pool::default(), &claims[..1]).into_values().next().unwrap();
    assert!(none.problems[0].message.contains("there is no pool"), "{:?}", none.problems);
}

#[test]
fn an_address_that_left_the_pool_is_given_up_and_another_given() {
    let claims = [claim("a", 1, &[], &["10.9.9.9"]), claim("b", 2, &["10.9.9.9"], &["10.9.9.9"])];
    assert_eq!(shown(&pool(&["10.0.0.0/29"]), &claims), ["a 10.0.0.1", "b [AddressNotUsable]"]);
    assert_eq!(confirm(&pool(&["10.0.0.0/29"]), &claims).into_values().flatten().count(), 0);
}

#[test]
fn a_gateway_that_asks_for_something_else_gives_up_what_it_had() {
    let pool = pool(&["10.0.0.0/29"]);
    assert_eq!(shown(&pool, &[claim("a", 1, &["10.0.0.5"], &["10.0.0.1"])]), ["a 10.0.0.5"]);
    assert_eq!(shown(&pool, &[claim("a", 1, &[], &["10.0.0.5"])]), ["a 10.0.0.5"]);
    assert_eq!(shown(&pool, &[claim("a", 1, &["10.0.0.5"], &["10.0.0.5", "10.0.0.6"])]), ["a 10.0.0.5"]);
}

#[test]
fn those_who_do_not_decide_go_by_the_status() {
    let pool = pool(&["10.0.0.0/29", "fd00::/64"]);
    let claims = [
        claim("a", 2, &[], &["fd00::1", "10.0.0.1"]),
        claim("b", 1, &["10.0.0.6", "*"], &["10.0.0.6", "10.0.0.2", "10.0.0.3", "10.9.9.9"]),
        claim("c", 3, &["10.0.0.5"], &["10.0.0.1"]),
        claim("d", 4, &[], &[]),
    ];
    let confirmed = confirm(&pool, &claims);
    let texts: Vec<Vec<String>> = confirmed
        .into_values()
        .map(|addresses| addresses.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(texts, [vec!["10.0.0.1", "fd00::1"], vec!["10.0.0.2", "10.0.0.6"], vec![], vec![]]);
}
