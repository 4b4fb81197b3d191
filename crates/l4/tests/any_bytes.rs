//! Rules that hold for any beginning of a connection: the committed fuzz corpus, and headers with something changed at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod oracles;

use std::path::Path;

const HEADERS: &[&[u8]] = &[
    b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET / HTTP/1.1\r\n\r\n",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\nrest",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\nrest",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbbrest",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0rest",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x27\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\0\x01\xff\xff\x04\0\0rest",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

#[test]
fn beginnings_hold_for_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/proxy_header");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        oracles::proxy_header(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 5, "{} has {count} files", folder.display());
}

#[test]
fn beginnings_hold_at_random() {
    // SplitMix64.
    let mut state = 0_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(z ^ (z >> 31)).unwrap() % bound
    };
    for round in 0..2_000 {
        let mut bytes = HEADERS[round % HEADERS.len()].to_vec();
        for _ in 0..below(4) {
            let at = below(bytes.len());
            match below(5) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, b" \r\n\0:.0"[below(7)]),
                2 => bytes.truncate(at + 1),
                3 => bytes[at] ^= 1 << below(8),
                _ => bytes[at] = u8::try_from(below(256)).unwrap(),
            }
        }
        oracles::proxy_header(&bytes);
    }
}
