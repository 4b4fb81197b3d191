//! Rules that hold for any frames: the committed fuzz corpora, and frames put together at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod oracles;

/// Field sections, right ones and wrong ones (RFC 7541: 0x8_ and above are of the static table, 0 is a literal).
const SECTIONS: &[&[u8]] = &[
    b"\x82\x86\x84\x41\x01a",
    b"\x83\x86\x84\x41\x01a",
    b"\x83\x86\x84\x41\x01a\x0f\x0d\x013",
    b"\x82\x86\x41\x01a\x00\x05:path\x04/a b",
    b"\x82\x86\x84\x41\x01a\x00\x01x\x01y\x00\x01x\x01z",
    b"\x82\x86\x84\x41\x01a\x00\x04host\x01b",
    b"\x82\x86\x84\x41\x01a\x00\x06cookie\x03a=1\x00\x06cookie\x03b=2",
    b"\x82\x86\x84\x41\x01a\x00\x02te\x08trailers",
    b"\x00\x07:method\x07CONNECT\x86\x84\x41\x01a\x00\x09:protocol\x09websocket",
    b"\x00\x07:method\x07CONNECT\x86\x84\x41\x01a\x00\x09:protocol\x04a\r\nb",
    b"\x00\x07:method\x07CONNECT\x41\x04a:80",
    b"\x88\x0f\x0d\x013",
    b"\x88",
    b"\x00\x07:status\x03103",
    b"\x00\x07:status\x03204\x0f\x0d\x015",
    b"\x00\x07:status\x03101",
    b"\x00\x0bgrpc-status\x010",
    b"\x00\x01X\x01y",
    b"\xff\xff\xff",
];

const ANSWERS: &[&[u8]] = &[
    b"",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw",
    b"HTTP/1.1 103 X\r\nLink: a\r\n\r\nHTTP/1.1 204 X\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"nonsense\r\n\r\n",
];

/// Each choice is a frame, with a payload from the table where it is a head.
fn at_random(check: fn(&[u8])) {
    bolero::check!().with_type::<(u8, Vec<(u8, u8, u8, u8)>)>().with_iterations(10_000).for_each(
        |(answer, choices)| {
            let answer = ANSWERS[usize::from(*answer) % ANSWERS.len()];
            let mut input = vec![u8::try_from(answer.len()).unwrap()];
            input.extend_from_slice(answer);
            for &(kind, flags, stream, which) in choices {
                let section = SECTIONS[usize::from(which) % SECTIONS.len()];
                // Half of all frames are heads or data, which end heads more often than not.
                let (kind, flags) =
                    if kind % 2 == 0 { (u8::from(kind % 4 == 0), flags | 4) } else { (kind, flags) };
                // Not padded, no priority, but now and then.
                let flags = if which % 16 == 0 { flags } else { flags & !0x28 };
                input.extend_from_slice(&[kind, flags, stream | 1, u8::try_from(section.len()).unwrap()]);
                input.extend_from_slice(section);
            }
            check(&input);
        },
    );
}

#[test]
fn clients_frames_hold_for_the_corpus() {
    corpus::inputs("h2_server", 5).iter().for_each(|bytes| oracles::h2_server(bytes));
}

#[test]
fn clients_frames_hold_at_random() {
    at_random(oracles::h2_server);
}

#[test]
fn clients_bytes_hold_for_the_corpus() {
    corpus::inputs("h2_bytes", 5).iter().for_each(|bytes| oracles::h2_bytes(bytes));
}

#[test]
fn clients_bytes_hold_at_random() {
    bolero::check!().with_type::<Vec<(u8, u8, u8, u8, Vec<u8>)>>().with_iterations(5_000).for_each(
        |frames| {
            let mut input = Vec::new();
            for (kind, flags, stream, which, noise) in frames {
                let section = SECTIONS[usize::from(*which) % SECTIONS.len()];
                let payload = if kind % 3 == 0 { &noise[..] } else { section };
                // A length that lies now and then.
                let length = u8::try_from(payload.len()).unwrap_or(255) ^ u8::from(which % 32 == 31);
                let kind = if kind % 2 == 0 { u8::from(kind % 4 == 0) } else { *kind };
                input.extend_from_slice(&[0, 0, length, kind, flags | 4, 0, 0, 0, (stream % 8) | 1]);
                input.extend_from_slice(&payload[..payload.len().min(255)]);
            }
            oracles::h2_bytes(&input);
        },
    );
}

#[test]
fn endpoints_frames_hold_for_the_corpus() {
    corpus::inputs("h2_client", 5).iter().for_each(|bytes| oracles::h2_client(bytes));
}

#[test]
fn endpoints_frames_hold_at_random() {
    at_random(oracles::h2_client);
}
