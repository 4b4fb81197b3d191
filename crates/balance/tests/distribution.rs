//! Every balancer gives endpoints their share: chi-square tests over many picks.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use balance::{Balancer, EndpointKey, Maglev, Pick, Random, RoundRobin, WeightedChoice, hash_flow};
use std::net::SocketAddr;

const PICKS: u64 = 200_000;

/// 64 random bits for each number (SplitMix64, Steele et al. 2014).
fn random(n: u64) -> u64 {
    let mut word = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn picks() -> impl Iterator<Item = Pick> {
    (0..PICKS).map(|n| {
        let [.., a, b, c] = n.to_be_bytes();
        let client = SocketAddr::from(([10, 1, a, b], 32_768 + u16::from(c)));
        let hash = hash_flow(client, SocketAddr::from(([10, 0, 0, 1], 80)), n % 7);
        Pick { hash, random: random(n), turn: n }
    })
}

/// Chi-square of `counts` against `weights`; asserts that who has no weight got nothing.
fn chi_square(counts: &[u64], weights: &[u16]) -> f64 {
    let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    let picked: u64 = counts.iter().sum();
    assert_eq!(picked, PICKS);
    counts.iter().zip(weights).fold(0.0, |sum, (&count, &weight)| {
        let expected = f64::from(weight) / total * PICKS as f64;
        if weight == 0 {
            assert_eq!(count, 0, "an endpoint without weight was picked");
            return sum;
        }
        sum + (count as f64 - expected).powi(2) / expected
    })
}

/// The value that chi-square exceeds by chance with probability 0.001 (Wilson and Hilferty's approximation, 1931).
fn critical(degrees: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + 3.09 * spread.sqrt()).powi(3)
}

fn weights() -> Vec<Vec<u16>> {
    vec![
        vec![1; 2],
        vec![1; 10],
        vec![7; 100],
        vec![60, 30, 10],
        vec![1, 2, 3, 4, 5, 6, 7, 8],
        vec![100, 0, 100, 0, 50],
        vec![65_535, 32_768, 16_384],
    ]
}

fn check(name: &str, weights: &[u16], pick: impl Fn(&Pick) -> Option<usize>) {
    let mut counts = vec![0u64; weights.len()];
    picks().for_each(|p| counts[pick(&p).unwrap()] += 1);
    let (found, degrees) = (chi_square(&counts, weights), weights.iter().filter(|&&w| w > 0).count() - 1);
    let limit = critical(degrees as f64);
    assert!(found < limit, "{name} {weights:?}: chi-square {found:.1}, limit {limit:.1}, {counts:?}");
}

#[test]
fn the_critical_values_are_those_of_the_tables() {
    for (degrees, value) in [(2.0, 13.82), (9.0, 27.88), (99.0, 148.23)] {
        assert!((critical(degrees) / value - 1.0).abs() < 0.03, "{degrees}: {}", critical(degrees));
    }
}

#[test]
fn a_chi_square_finds_a_wrong_weight() {
    let counts = [PICKS / 2 + 2000, PICKS / 2 - 2000];
    assert!(chi_square(&counts, &[1, 1]) > critical(1.0));
}

#[test]
fn random_follows_the_weights() {
    for weights in weights() {
        let balancer = Random::new(&weights);
        check("random", &weights, |p| balancer.pick(p));
    }
}

#[test]
fn round_robin_follows_the_weights() {
    for weights in weights() {
        let balancer = RoundRobin::new(&weights);
        check("round robin", &weights, |p| balancer.pick(p));
    }
}

#[test]
fn weighted_choice_follows_the_weights() {
    for weights in weights() {
        let shares: Vec<u32> = weights.iter().map(|&w| u32::from(w) * 65_537).collect();
        let choice = WeightedChoice::new(&shares);
        check("weighted choice", &weights, |p| choice.pick(p.random));
    }
}

#[test]
fn maglev_follows_the_weights() {
    for weights in weights() {
        let keys: Vec<_> = (0u8..)
            .zip(&weights)
            .map(|(i, &w)| EndpointKey::new(SocketAddr::from(([10, 2, 0, i], 8080)), w))
            .collect();
        // Enough slots that their rounding stays well below the chance of the picks.
        let balancer = Maglev::build(&keys, 65_537).unwrap();
        check("maglev", &weights, |p| balancer.pick(p));
    }
}

#[test]
fn the_balancers_stand_behind_one_trait() {
    let keys = [1, 0].map(|w| EndpointKey::new(SocketAddr::from(([10, 0, 0, 1], 80)), w));
    let all: [Box<dyn Balancer>; 3] = [
        Box::new(Maglev::build(&keys, 4099).unwrap()),
        Box::new(RoundRobin::new(&[1, 0])),
        Box::new(Random::new(&[1, 0])),
    ];
    for balancer in all {
        assert_eq!((balancer.len(), balancer.is_empty()), (2, false));
        assert!(picks().take(1000).all(|p| balancer.pick(&p) == Some(0)));
    }
}
