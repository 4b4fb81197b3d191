//! Two choices: shares, and what becomes of an endpoint that is slow. Time is simulated.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use balance::{PeakEwma, TwoChoices};
use corpus::Dice;

#[test]
fn at_equal_cost_shares_follow_weights_and_without_weight_there_is_no_choice() {
    let (balancer, mut chance) = (TwoChoices::new(&[6, 3, 1, 0]), Dice(1));
    let mut counts = [0; 4];
    for _ in 0..100_000 {
        counts[balancer.pick(chance.word(), |_| 1.0).unwrap()] += 1;
    }
    for (count, share) in counts.iter().zip([60_000, 30_000, 10_000, 0]) {
        assert!(i32::abs(count - share) < 600, "{counts:?}");
    }
    assert_eq!(TwoChoices::new(&[0, 0]).pick(7, |_| 1.0), None);
    assert_eq!(TwoChoices::new(&[]).pick(7, |_| 1.0), None);
    assert_eq!(TwoChoices::new(&[0, 5]).pick(7, |_| 1.0), Some(1));
}

#[test]
fn the_dearest_of_many_is_taken_only_if_it_is_drawn_alone() {
    let (balancer, mut chance) = (TwoChoices::new(&[1; 10]), Dice(2));
    let dear = |i| if i == 3 { 9.0 } else { 1.0 };
    let taken = (0..100_000).filter(|_| balancer.pick(chance.word(), dear) == Some(3)).count();
    assert!(taken < 100, "{taken}");
    let two = TwoChoices::new(&[1, 1]);
    let taken = (0..100_000).filter(|_| two.pick(chance.word(), |i| i as f64) == Some(1)).count();
    assert!((1_000..2_500).contains(&taken), "one in 64: {taken}");
}

/// How a request's cost is told.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Chance,
    Active,
    Latency,
}

/// So many requests, one a millisecond, to endpoints that take `times` ms; how many each gets.
fn simulate(times: &[u32], by: By, requests: u32) -> Vec<u32> {
    let balancer = TwoChoices::new(&vec![1; times.len()]);
    let mut chance = Dice(3);
    let mut ends: Vec<Vec<u32>> = vec![Vec::new(); times.len()];
    let mut averages = vec![PeakEwma::default(); times.len()];
    let mut counts = vec![0; times.len()];
    for now in 0..requests {
        for ((ends, average), time) in ends.iter_mut().zip(&mut averages).zip(times) {
            let before = ends.len();
            ends.retain(|end| *end > now);
            for _ in ends.len()..before {
                *average = average.with(time * 1000, now);
            }
        }
        let cost = |i: usize| match by {
            By::Chance => 1.0,
            By::Active => ends[i].len() as f64,
            By::Latency => averages[i].cost(ends[i].len() as u64, now),
        };
        let chosen = balancer.pick(chance.word(), cost).unwrap();
        counts[chosen] += 1;
        ends[chosen].push(now + times[chosen]);
    }
    counts
}

#[test]
fn a_slow_endpoint_gets_less() {
    // Four quick endpoints and one ten times as slow; a fair share is 4,000 of 20,000.
    let times = [5, 5, 5, 5, 50];
    let [chance, active, latency] =
        [By::Chance, By::Active, By::Latency].map(|by| simulate(&times, by, 20_000)[4]);
    assert!((3_700..4_300).contains(&chance), "{chance}");
    assert!(active < chance / 2, "{active} of {chance}");
    assert!(latency < active / 2, "{latency} of {active}");
    assert!(latency > 0, "it is tried now and then, or nobody would see it recover");
}

#[test]
fn equal_endpoints_get_equal_shares_whatever_tells_the_cost() {
    for by in [By::Active, By::Latency] {
        let counts = simulate(&[10; 5], by, 20_000);
        assert!(counts.iter().all(|count| (3_400..4_600).contains(count)), "{counts:?}");
    }
}
