//! What holds for any Gateways and any pool.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use addresses::{AddressRange, Assignment, Claim, Family, Pool, ProblemReason, Wanted, allocate, confirm};
use model::{ObjectKind, ObjectRef};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_address_is_given_twice_or_from_outside(pool in pool(), claims in claims()) {
        let mut given = HashSet::new();
        for address in allocate(&pool, &claims).values().flat_map(|assignment| &assignment.addresses) {
            prop_assert!(pool.contains(*address));
            prop_assert!(given.insert(*address), "{address} twice");
        }
    }

    #[test]
    fn the_order_of_claims_is_of_no_account(pool in pool(), (claims, mixed) in claims().prop_flat_map(|claims| {
        (Just(claims.clone()), Just(claims).prop_shuffle())
    })) {
        prop_assert_eq!(allocate(&pool, &claims), allocate(&pool, &mixed));
        prop_assert_eq!(confirm(&pool, &claims), confirm(&pool, &mixed));
    }

    #[test]
    fn a_result_that_is_held_gives_itself_again(pool in pool(), claims in claims()) {
        let first = allocate(&pool, &claims);
        let held = holding(claims, &first);
        prop_assert_eq!(&allocate(&pool, &held), &first);
        for (gateway, mut addresses) in first.into_iter().map(|(gateway, one)| (gateway, one.addresses)) {
            addresses.sort();
            prop_assert_eq!(&confirm(&pool, &held)[&gateway], &addresses);
        }
    }

    #[test]
    fn who_comes_and_goes_takes_nothing_from_those_who_have(pool in pool(), claims in claims(), others in claims()) {
        let first = allocate(&pool, &claims);
        let held = holding(claims, &first);
        let newcomers = others.into_iter().map(|mut one| {
            one.gateway = ObjectRef::new(ObjectKind::Gateway, "other", &one.gateway.name);
            one.held.clear();
            one
        });
        let all: Vec<_> = held.iter().cloned().chain(newcomers).collect();
        let second = allocate(&pool, &all);
        for (gateway, assignment) in &first {
            prop_assert!(assignment.addresses.iter().all(|address| second[gateway].addresses.contains(address)));
        }
        // One goes: what the others have stays.
        let third = allocate(&pool, &held[held.len().min(1)..]);
        for (gateway, assignment) in &third {
            prop_assert!(first[gateway].addresses.iter().all(|address| assignment.addresses.contains(address)));
        }
    }

    #[test]
    fn only_who_can_get_none_goes_without(pool in pool(), claims in claims()) {
        let all = allocate(&pool, &claims);
        let used = |family| {
            let addresses = all.values().flat_map(|one| &one.addresses);
            addresses.filter(|address| Family::of(**address) == family).count() as u128
        };
        for claim in &claims {
            let one = &all[&claim.gateway];
            let is_without = one.problems.iter().any(|problem| problem.reason == ProblemReason::AddressNotAssigned);
            if is_without {
                prop_assert!(Family::BOTH.iter().all(|family| used(*family) == pool.len(*family)));
            }
            if claim.wanted.is_empty() {
                prop_assert_eq!(one.addresses.is_empty(), is_without);
            } else {
                let distinct: HashSet<_> = claim.wanted.iter().filter(|one| matches!(one, Wanted::Address(_))).map(|one| format!("{one:?}")).collect();
                let named = claim.wanted.iter().filter(|one| matches!(one, Wanted::Address(_))).count();
                let most = claim.wanted.len() - named + distinct.len();
                prop_assert!(one.addresses.len() <= most);
                prop_assert!(one.addresses.len() + one.problems.len() >= most.min(1));
            }
        }
    }
}

/// The same Gateways with what they were given in their status.
fn holding(claims: Vec<Claim>, assigned: &BTreeMap<ObjectRef, Assignment>) -> Vec<Claim> {
    let held = |claim: Claim| Claim { held: assigned[&claim.gateway].addresses.clone(), ..claim };
    claims.into_iter().map(held).collect()
}

/// Small pools, so that addresses are scarce.
fn pool() -> impl Strategy<Value = Pool> {
    let range = prop_oneof![
        (1..12u8, 0..4u8).prop_map(|(first, more)| format!("10.0.0.{first}-10.0.0.{}", first + more)),
        (1..9u8, 0..4u8).prop_map(|(first, more)| format!("fd00::{first}-fd00::{}", first + more)),
    ];
    prop::collection::vec(range, 0..4)
        .prop_map(|ranges| ranges.iter().map(|range| range.parse::<AddressRange>().unwrap()).collect())
}

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let wanted = prop_oneof![
        3 => address().prop_map(Wanted::Address),
        2 => Just(Wanted::Any),
        1 => Just(Wanted::Unreadable("x".to_owned())),
        1 => Just(Wanted::OtherType("Hostname".to_owned())),
    ];
    let wanted = prop_oneof![Just(vec![]), prop::collection::vec(wanted, 0..4)];
    let held = prop::collection::vec(address(), 0..4);
    let gateway = ObjectRef::new(ObjectKind::Gateway, "shop", "");
    let claim = (prop::option::of(0..3i64), wanted, held).prop_map(move |(created_unix_s, wanted, held)| {
        Claim { gateway: gateway.clone(), created_unix_s, wanted, held }
    });
    prop::collection::vec(claim, 0..8).prop_map(|mut claims| {
        for (i, claim) in claims.iter_mut().enumerate() {
            claim.gateway.name = format!("gateway-{i}").into();
        }
        claims
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..18u8).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        (0..14u16).prop_map(|last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])),
    ]
}
