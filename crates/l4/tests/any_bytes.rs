//! Rules that hold for any beginning of a connection: the committed fuzz corpus, and headers with something changed at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod oracles;

use corpus::Dice;

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
    corpus::inputs("proxy_header", 5).iter().for_each(|bytes| oracles::proxy_header(bytes));
}

#[test]
fn beginnings_hold_at_random() {
    let mut dice = Dice(0);
    let mut below = |bound| dice.below(bound);
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
