//! Rules that hold whatever anybody says: the committed fuzz corpora, and texts put together at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod oracles;

use corpus::Dice;

/// Parts that lines are made of, right ones and wrong ones.
const PARTS: &[&str] = &[
    "10.0.0.1",
    "198.51.100.9",
    "::ffff:10.0.0.2",
    "2001:db8::1",
    "[fd00::1]:80",
    ":4711",
    "unknown",
    ",",
    ", ",
    "\n",
    " ",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-",
    "cc",
    "-",
    "f",
    "0",
    "a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "b:$2y$14$",
    "c:$2b$05$abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzA",
    "#",
    ":",
    "Basic YTpi",
    "basic ",
    "=",
    "\"",
    ";",
    "; ",
    "a",
    "v1",
    "/",
    ".",
    "..",
    "%2e",
    "%2F",
    "%5c",
    "%41",
    "%25",
    "%",
    "\u{fc}",
    "https://a.test",
    "http://[::1]",
    "*",
    "gzip",
    "x-gzip",
    "BR",
    "zstd;q=0.5",
    "identity",
    ";q=0",
    ";q=1.000",
];

fn at_random(first: &[&str], check: fn(&[u8])) {
    let mut dice = Dice(0);
    let mut below = |bound| dice.below(bound);
    for _ in 0..20_000 {
        let mut text = first[below(first.len())].to_owned();
        for _ in 0..below(9) {
            text.push_str(PARTS[below(PARTS.len())]);
        }
        let mut bytes = text.into_bytes();
        if below(4) == 0 && !bytes.is_empty() {
            let at = below(bytes.len());
            bytes[at] = u8::try_from(below(256)).unwrap();
        }
        check(&bytes);
    }
}

macro_rules! targets {
    ($($target:ident from $first:expr;)*) => {$(
        mod $target {
            #[test]
            fn holds_for_the_corpus() {
                corpus::inputs(stringify!($target), 5).iter().for_each(|text| super::oracles::$target(text));
            }

            #[test]
            fn holds_at_random() {
                super::at_random(&$first, super::oracles::$target);
            }
        }
    )*};
}

targets! {
    client_address from ["10.0.0.1\n", "fd00::9\n", "::ffff:10.1.1.1\n", "192.0.2.1\n"];
    trace_context from ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "cc-4bf92f3577b34da6a3ce929d0e0e4736-", ""];
    htpasswd from ["a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", "# users\n", "Basic ", ""];
    cookies from ["a\n", "__Host-a\na=\"b\"; ", "\x01\x01\x02\x03\x04\x05\x06\x07\x08\0\0\x03\0\0\0\0\0"];
    accept_encoding from ["gzip", "br;q=0.9, gzip", "*", "identity;q=0, *;q=0.1", ""];
    paths from ["\0/", "\x01/", "\x02/", "\x03/", "\x07/", "\x0b/", "\x0f/", "\x05/", "\0https://"];
}
