//! The walk over chunked framing, against the bodies it is made of.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "messages of tests are short")]

use dataplane::response::chunks::{Chunks, Next, PIECE_MAX};

/// Where a walk stops: behind the body, or at the first byte that is not walked; `None` if bytes run out.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    End(usize),
    Unknown,
}

/// Walks over `body` as it comes in `segments` (their ends, ascending), skipping data unseen.
fn walk(body: &[u8], segments: &[usize]) -> Option<Stop> {
    let mut chunks = Chunks::default();
    // Where the next byte of framing is; it may lie in a later segment.
    let mut position = 0u64;
    for end in segments.iter().copied().chain([body.len()]) {
        while position < end as u64 {
            let at = position as usize;
            let len = (end - at).min(PIECE_MAX);
            // What is behind the valid bytes must not matter.
            let mut piece = [b'0'; PIECE_MAX];
            piece[..len].copy_from_slice(&body[at..at + len]);
            let fed = chunks.feed(&piece, len as u32);
            assert!(fed.consumed as usize <= len);
            position += u64::from(fed.consumed);
            match fed.next {
                Next::Framing => assert_eq!(fed.consumed as usize, len, "all was consumed"),
                Next::Data => {
                    assert!(chunks.remaining > 0);
                    position = position.saturating_add(chunks.remaining);
                }
                Next::End => return Some(Stop::End(position as usize)),
                Next::Unknown => return Some(Stop::Unknown),
            }
        }
    }
    None
}

fn encode(sizes: &[usize]) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, size) in sizes.iter().enumerate() {
        let digits = if index % 2 == 0 { format!("{size:x}\r\n") } else { format!("{size:04X}\r\n") };
        body.extend_from_slice(digits.as_bytes());
        // Data that look like framing.
        body.extend(b"0\r\n\r\n".iter().cycle().take(*size));
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

#[test]
fn a_body_ends_at_the_same_byte_however_it_is_split() {
    for sizes in [&[][..], &[1], &[5, 20], &[1, 1, 1], &[26, 300, 15], &[4096]] {
        let body = encode(sizes);
        let end = body.len();
        let behind = [&body[..], b"HTTP/1.1 200 OK\r\n"].concat();
        assert_eq!(walk(&behind, &[]), Some(Stop::End(end)));
        for first in 0..=end {
            assert_eq!(walk(&behind, &[first]), Some(Stop::End(end)), "{sizes:?} at {first}");
            assert_eq!(walk(&body[..first], &[]), (first == end).then_some(Stop::End(end)));
            for second in (first..=end).step_by(if end < 100 { 1 } else { 97 }) {
                assert_eq!(walk(&behind, &[first, second]), Some(Stop::End(end)));
            }
        }
        let bytewise: Vec<usize> = (0..behind.len()).collect();
        assert_eq!(walk(&behind, &bytewise), Some(Stop::End(end)));
    }
}

#[test]
fn what_is_no_plain_framing_is_unknown() {
    for body in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "1 \r\n",
        "1;a=b\r\nx\r\n0\r\n\r\n",
        "1\nx\r\n",
        "1\r\r\n",
        "1\r\nxy\r\n",
        "1\r\nx\n",
        "1\r\nx\rx",
        "1\r\nx\r\n\r\n",
        "0\r\nTrailer: x\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "00000000000000001\r\n",
        "8000000000000000\r\n",
        "ffffffffffffffff\r\n",
        "1\u{e4}\r\n",
    ] {
        assert_eq!(walk(body.as_bytes(), &[]), Some(Stop::Unknown), "{body:?}");
        let bytewise: Vec<usize> = (0..body.len()).collect();
        assert_eq!(walk(body.as_bytes(), &bytewise), Some(Stop::Unknown), "{body:?}");
    }
    assert_eq!(walk(b"7fffffffffffffff\r\n", &[]), None, "a very large chunk");
    assert_eq!(walk(b"0000000000000000\r\n\r\n", &[]), Some(Stop::End(20)));
}

#[test]
fn nothing_is_walked_behind_the_end() {
    let mut chunks = Chunks::default();
    let piece = *b"0\r\n\r\n0\r\n\r\n0\r\n\r\n0\r\n\r\n";
    let first = chunks.feed(&piece, 20);
    assert_eq!((first.consumed, first.next), (5, Next::End));
    let again = chunks.feed(&piece, 20);
    assert_eq!((again.consumed, again.next), (0, Next::Unknown));
    assert_eq!(Chunks::default().feed(&piece, 0).consumed, 0);
}

/// Any bytes at all, against a plain reader of the same grammar.
#[test]
fn any_framing_is_read_as_the_grammar_says() {
    const PARTS: &[&[u8]] = &[
        b"0\r\n",
        b"\r\n",
        b"1\r\nx\r\n",
        b"a\r\n0123456789\r\n",
        b"\r",
        b"\n",
        b"1",
        b"F",
        b"g",
        b";",
        b"x",
        b"0",
        b"2\r\n",
    ];
    bolero::check!().with_type::<(Vec<u8>, [u8; 2])>().with_iterations(100_000).for_each(
        |(choices, cuts)| {
            let body: Vec<u8> =
                choices.iter().flat_map(|n| PARTS[usize::from(*n) % PARTS.len()]).copied().collect();
            let mut cuts = cuts.map(|cut| usize::from(cut) % (body.len() + 1));
            cuts.sort_unstable();
            assert_eq!(walk(&body, &cuts), plain(&body), "{:?}", String::from_utf8_lossy(&body));
        },
    );
}

fn plain(body: &[u8]) -> Option<Stop> {
    let mut at = 0;
    // Takes `text`, or as much of it as there is.
    let expect = |at: &mut usize, text: &[u8]| {
        let rest = &body[*at..];
        if rest.len() >= text.len() && rest.starts_with(text) {
            *at += text.len();
            return Ok(());
        }
        Err(if text.starts_with(rest) { None } else { Some(Stop::Unknown) })
    };
    loop {
        let digits = body[at..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if digits > 16 {
            return Some(Stop::Unknown);
        }
        let size = u64::from_str_radix(std::str::from_utf8(&body[at..at + digits]).unwrap(), 16).unwrap_or(0);
        at += digits;
        match body.get(at) {
            None => return if size > u64::MAX / 2 { Some(Stop::Unknown) } else { None },
            Some(_) if digits == 0 || size > u64::MAX / 2 => return Some(Stop::Unknown),
            Some(_) => {}
        }
        if let Err(stop) = expect(&mut at, b"\r\n") {
            return stop;
        }
        if size == 0 {
            return match expect(&mut at, b"\r\n") {
                Ok(()) => Some(Stop::End(at)),
                Err(stop) => stop,
            };
        }
        if (body.len() - at) as u64 <= size {
            return None;
        }
        at += size as usize;
        if let Err(stop) = expect(&mut at, b"\r\n") {
            return stop;
        }
    }
}
