use super::*;

/// How often nodes renew and look, and how long they are believed to live.
const ROUND: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_millis(1200);

fn addresses(count: u8) -> BTreeSet<IpAddr> {
    (1..=count).map(|last| IpAddr::from([10, 0, 0, last])).collect()
}

fn peer(node: &str, version: u32, announces: &BTreeSet<IpAddr>) -> Peer {
    Peer {
        node: node.to_owned(),
        version: version.to_string(),
        has_left: false,
        announces: announces.clone(),
    }
}

#[test]
fn shares_are_about_even_and_only_the_dead_ones_addresses_move() {
    let all = addresses(200);
    let nodes = ["node-1", "node-2", "node-3", "node-4"];
    let winner = |nodes: &[&'static str], address: IpAddr| {
        *nodes.iter().max_by_key(|node| rank(node, address)).unwrap()
    };
    for node in nodes {
        let share = all.iter().filter(|address| winner(&nodes, **address) == node).count();
        assert!((25..=80).contains(&share), "{node}: {share} of 200");
    }
    for address in &all {
        let before = winner(&nodes, *address);
        let after = winner(&nodes[1..], *address);
        assert!(before == after || before == nodes[0], "{address} moved from {before} to {after}");
    }
}

#[test]
fn an_address_stays_with_a_holder_that_lives_and_moves_when_it_is_silent() {
    let (mut election, start) = (Election::new("a", PATIENCE), Instant::now());
    let (all, none) = (addresses(20), BTreeSet::new());
    assert_eq!(election.own(&all, &none), none, "nothing was seen yet: somebody may have them");
    for round in 0..10 {
        election.observe(vec![peer("b", round, &all)], start + ROUND * round);
        assert_eq!(election.own(&all, &none), none);
    }
    // Silent from round 9 on.
    for round in 10..=11 {
        election.observe(vec![peer("b", 9, &all)], start + ROUND * round);
        assert_eq!(election.own(&all, &none), none, "round {round}");
    }
    assert_eq!(election.announced(&none), all);
    election.observe(vec![peer("b", 9, &all)], start + ROUND * 12);
    assert_eq!(election.own(&all, &none), all);
    assert_eq!(election.announced(&none), none);
    // It comes back and goes on announcing, as one that had lost the API server: the higher one keeps each.
    election.observe(vec![peer("b", 10, &all)], start + ROUND * 14);
    let kept = election.own(&all, &all);
    assert!(!kept.is_empty() && kept != all, "{kept:?}");
    assert!(all.iter().all(|address| election.others(*address).eq(["b"])));
}

#[test]
fn who_leaves_in_order_is_followed_at_once() {
    let (mut election, start) = (Election::new("a", PATIENCE), Instant::now());
    let all = addresses(3);
    election.observe(vec![peer("b", 1, &all)], start);
    assert_eq!(election.own(&all, &BTreeSet::new()), BTreeSet::new());
    election.observe(vec![Peer { has_left: true, ..peer("b", 2, &BTreeSet::new()) }], start + ROUND);
    assert_eq!(election.own(&all, &BTreeSet::new()), all);
}

#[test]
fn nothing_lapses_while_nobody_looks() {
    let (mut election, start) = (Election::new("a", PATIENCE), Instant::now());
    let all = addresses(3);
    election.observe(vec![peer("b", 1, &all)], start);
    // The API server was away for a minute, for b as well.
    election.observe(vec![peer("b", 1, &all)], start + Duration::from_secs(60));
    assert_eq!(election.own(&all, &BTreeSet::new()), BTreeSet::new());
    for round in 1..=4 {
        election.observe(vec![peer("b", 1, &all)], start + Duration::from_secs(60) + ROUND * round);
    }
    assert_eq!(election.own(&all, &BTreeSet::new()), all, "it does not come back");
}

#[test]
fn what_was_held_is_kept_until_something_was_seen() {
    let election = Election::new("a", PATIENCE);
    assert_eq!(election.own(&addresses(3), &addresses(2)), addresses(2));
    assert_eq!(election.own(&addresses(1), &addresses(2)), addresses(1), "no longer wanted");
}
