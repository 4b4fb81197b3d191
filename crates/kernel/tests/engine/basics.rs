//! A connection as it should be.

use std::net::SocketAddr;

use wire::Reason;

use crate::apps::{Manners, Step};
use crate::http::{Ask, Kind};
use crate::net::{endpoint, plain_tables, tables};
use crate::sim::{Door, Node, Sim, profile, vip};

pub(crate) const NAMES: [&str; 3] = ["e1", "e2", "e3"];

/// A model with three endpoints, over IPv4; the third is told who the client is.
pub(crate) fn sim(seed: u64) -> Sim {
    let mut sim = Sim::new(tables(false), seed);
    for n in 1..4u8 {
        let node = Node {
            name: NAMES[usize::from(n) - 1],
            door: Door::Open,
            profile: profile(0),
            manners: Manners::default(),
            is_told: n == 3,
            syns: 0,
        };
        sim.nodes.insert(endpoint(n, false), node);
    }
    sim
}

/// The same, and nobody is told.
pub(crate) fn plain(seed: u64) -> Sim {
    let mut sim = sim(seed);
    *sim.world.tables.borrow_mut() = plain_tables(false);
    sim.nodes.values_mut().for_each(|node| node.is_told = false);
    sim
}

pub(crate) fn from(port: u16) -> SocketAddr {
    ([10, 9, 0, 5], port).into()
}

/// Sends one request after the other; returns who answered.
pub(crate) fn one_by_one(sim: &mut Sim, asks: &[Ask]) -> Vec<String> {
    let steps = asks.iter().flat_map(|ask| [Step::Send(vec![ask.clone()], vec![]), Step::Wait]).collect();
    let client = sim.dial(from(40_000), vip(), profile(1), steps);
    sim.run(120_000);
    sim.check();
    sim.client(client).answers.iter().map(|(_, by)| by.clone()).collect()
}

#[test]
fn a_request_is_bound_and_the_connection_ends() {
    let mut sim = sim(1);
    let by = one_by_one(&mut sim, &[Ask::get('a')]);
    assert!(by[0] == "e1" || by[0] == "e2", "{by:?}");
    assert_eq!((sim.world.counted(Reason::Bound), sim.world.counted(Reason::Closed)), (1, 1));
    assert!(sim.world.flows.all().is_empty() && sim.world.legs.all().is_empty());
}

#[test]
fn requests_of_every_framing_follow_each_other_on_one_leg() {
    let mut sim = sim(2);
    let kinds = [Kind::Length, Kind::Chunked, Kind::NoContent, Kind::NotModified, Kind::Hints, Kind::Length];
    let mut asks: Vec<Ask> = kinds.iter().map(|kind| Ask::get('b').kind(*kind).size(5000)).collect();
    asks.extend([Ask::get('b').head(), Ask::post('b', 300), Ask::get('b').kind(Kind::Chunked).head()]);
    assert_eq!(one_by_one(&mut sim, &asks), vec!["e3"; asks.len()]);
    assert_eq!(sim.nodes[&endpoint(3, false)].syns, 1);
    assert_eq!(sim.world.counted(Reason::Reused), asks.len() as u32 - 1);
}

#[test]
fn requests_of_other_routes_are_bound_anew() {
    let mut sim = sim(3);
    let by = one_by_one(&mut sim, &[Ask::get('a'), Ask::get('b').size(9000), Ask::get('m'), Ask::get('n')]);
    assert_eq!((by[1].as_str(), by[2].as_str()), ("e3", "e3"));
    assert_eq!(sim.world.counted(Reason::Rebound), 2);
}

#[test]
fn an_undecidable_request_goes_to_the_host_with_all_that_follows() {
    let mut sim = sim(4);
    let by = one_by_one(&mut sim, &[Ask::get('a'), Ask::get('t').size(3000), Ask::get('b')]);
    assert_eq!((by[1].as_str(), by[2].as_str()), ("host", "host"));
}
