//! Rules that hold for any token and any set of keys: the committed fuzz corpus, and its texts with something changed at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod oracles;

use corpus::Dice;

#[test]
fn tokens_hold_for_the_corpus() {
    corpus::inputs("tokens", 10).iter().for_each(|text| oracles::tokens(text));
}

#[test]
fn tokens_with_changes_hold() {
    let mut dice = Dice(0);
    let mut below = |bound| dice.below(bound);
    let corpus = corpus::inputs("tokens", 10);
    for round in 0..10_000 {
        let mut text = corpus[round % corpus.len()].clone();
        let other = &corpus[below(corpus.len())];
        let at = below(text.len());
        match below(6) {
            0 => drop(text.remove(at)),
            1 => text.insert(at, b".=-_A{}[]\",:0"[below(13)]),
            2 => text.truncate(at),
            3 => text[at] ^= 1 << below(7),
            // One part of another token.
            4 => {
                let (mut parts, others): (Vec<_>, Vec<_>) =
                    (text.split(|b| *b == b'.').collect(), other.split(|b| *b == b'.').collect());
                let at = below(parts.len().min(others.len()));
                parts[at] = others[at];
                text = parts.join(&b'.');
            }
            _ => text.extend_from_slice(&other[below(other.len())..]),
        }
        oracles::tokens(&text);
    }
}
