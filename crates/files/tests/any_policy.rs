//! Rules that hold whatever stands in a policy: the committed fuzz corpus, and its texts with something changed at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod oracles;

use corpus::Dice;

#[test]
fn policies_hold_for_the_corpus() {
    corpus::inputs("policies", 10).iter().for_each(|text| oracles::policies(text));
}

#[test]
fn policies_with_changes_hold() {
    let mut dice = Dice(0);
    let mut below = |bound| dice.below(bound);
    let corpus = corpus::inputs("policies", 10);
    for round in 0..600 {
        let mut text = corpus[round % corpus.len()].clone();
        for _ in 0..=below(3) {
            if text.is_empty() {
                break;
            }
            let at = below(text.len());
            match below(6) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, b"\n :,[]{}\"-#&*|0\t"[below(16)]),
                2 => text.truncate(at.max(1)),
                3 => {
                    let other = &corpus[below(corpus.len())];
                    text.extend_from_slice(&other[below(other.len())..]);
                }
                4 => text[at] ^= 1 << below(7),
                _ => text[at] = b"0987ax~"[below(7)],
            }
        }
        oracles::policies(&text);
    }
}
