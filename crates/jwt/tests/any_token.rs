//! Rules that hold for any token and any set of keys: the committed fuzz corpus, and its texts with something changed at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod oracles;

use std::path::Path;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/tokens");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{} has {} files", folder.display(), paths.len());
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn tokens_hold_for_the_corpus() {
    corpus().iter().for_each(|text| oracles::tokens(text));
}

#[test]
fn tokens_with_changes_hold() {
    // SplitMix64.
    let mut state = 0_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(z ^ (z >> 31)).unwrap() % bound
    };
    let corpus = corpus();
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
