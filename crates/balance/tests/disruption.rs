//! A Maglev table moves few slots beyond those of the endpoint that came or went.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use balance::{EndpointKey, Maglev};
use std::net::SocketAddr;

fn key(set: u8, i: u16) -> EndpointKey {
    let [high, low] = i.to_be_bytes();
    EndpointKey::new(SocketAddr::from(([10, set, high, low], 8080)), 1)
}

/// The share of slots that changed hands between endpoints present in both tables, one of which has endpoint `gone` out
/// of `all`, in percent.
fn moved(all: &[EndpointKey], gone: usize, size: u32) -> f64 {
    let mut fewer = all.to_vec();
    fewer[gone].weight = 0;
    let (with, without) = (Maglev::build(all, size).unwrap(), Maglev::build(&fewer, size).unwrap());
    let pairs = with.slots().iter().zip(without.slots());
    let moved = pairs.filter(|(before, after)| before != after && usize::from(**before) != gone).count();
    moved as f64 / f64::from(size) * 100.0
}

/// Mean and maximum over several sets of endpoints and over the endpoints that may go. Adding one is the same backwards.
fn disruption(endpoints: u16, size: u32) -> (f64, f64) {
    let sets = if size > 10_000 { 2 } else { 16 };
    let mut moves = Vec::new();
    for set in 0..sets {
        let all: Vec<_> = (0..endpoints).map(|i| key(set, i)).collect();
        moves.extend((0..all.len()).step_by(usize::from(endpoints) / 5).map(|gone| moved(&all, gone, size)));
    }
    (moves.iter().sum::<f64>() / moves.len() as f64, moves.iter().copied().fold(0.0, f64::max))
}

#[test]
fn slots_of_others_stay() {
    for (size, limit) in [(4099, 3.0), (65_537, 1.0)] {
        for endpoints in [10, 20, 50, 100] {
            let (mean, most) = disruption(endpoints, size);
            println!(
                "{size} slots, {endpoints} endpoints: {mean:.2} % moved beyond the minimum, at most {most:.2} %"
            );
            assert!(mean <= limit, "{size} slots, {endpoints} endpoints: {mean:.2} %");
        }
    }
}

#[test]
fn leaving_the_list_is_the_same_as_losing_the_weight() {
    let all: Vec<_> = (0..10).map(|i| key(0, i)).collect();
    let mut fewer = all.clone();
    fewer[9].weight = 0;
    let (drained, removed) = (Maglev::build(&fewer, 4099).unwrap(), Maglev::build(&all[..9], 4099).unwrap());
    assert_eq!(drained.slots(), removed.slots());
}
