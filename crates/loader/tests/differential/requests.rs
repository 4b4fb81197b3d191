//! Requests as bytes: of a table's own, put together from right and wrong parts, with what smugglers write, spoilt, cut.

use model::Snapshot;

use crate::compiled::generate::{Dice, request};
use crate::scans::{REQUEST_PARTS, spoil, together};

/// Lines that one parser reads and another does not, or otherwise.
const SMUGGLED: [&str; 30] = [
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: +1\r\n",
    "Content-Length: 1_0\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: \r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "Transfer-Encoding: ,chunked\r\n",
    "Transfer-Encoding: cow, chunked\r\n",
    "Transfer-Encoding:\x0bchunked\r\n",
    "Transfer-Encoding:\x0cchunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "X: y\nTransfer-Encoding: chunked\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n",
    " Transfer-Encoding: chunked\r\n",
    "X: y\r\n\tTransfer-Encoding: chunked\r\n",
    "Upgrade: websocket\r\nConnection: Upgrade\r\n",
    "Expect: 100-continue\r\n",
    "Host: other\r\n",
    "Host: user@other\r\n",
    "Host: other/path\r\n",
    "Connection: authorization\r\n",
    "Connection: close, keep-alive\r\n",
    "X-Forwarded-For: 127.0.0.1\r\n",
    "Forwarded: for=127.0.0.1\r\n",
    "X\0: y\r\n",
    "\r\nGET /admin HTTP/1.1\r\nHost: other\r\n\r\n",
];

/// Paths that servers read differently.
const TARGETS: [&str; 12] = [
    "/a/../admin",
    "//a",
    "/a%2fb",
    "/a;b",
    "/a#b",
    "/./a",
    "/api/v2/..",
    "http://other/a",
    "*",
    "/a?b#c",
    "/a\\b",
    "/%61pi",
];

/// What fits one segment over either family (`support::settings`).
const SEGMENT: usize = 1340;

/// A request for some route of the snapshot, or nearly so. Fits one segment.
pub(crate) fn bytes(dice: &mut Dice, snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = match dice.below(5) {
        0 => {
            let choices: Vec<u8> = (0..REQUEST_PARTS.len()).map(|_| dice.below(256) as u8).collect();
            together(REQUEST_PARTS, &choices)
        }
        _ => text(dice, snapshot),
    };
    if dice.one_in(10) {
        let faults: Vec<u16> = (0..=dice.below(2)).map(|_| dice.below(1 << 16) as u16).collect();
        bytes = spoil(&bytes, &faults);
    }
    // A request that was cut into segments: the first of them.
    if dice.one_in(12) {
        bytes.truncate(1 + dice.below(bytes.len().max(2) - 1));
    }
    bytes.truncate(SEGMENT);
    if bytes.is_empty() { b"\r\n".to_vec() } else { bytes }
}

fn text(dice: &mut Dice, snapshot: &Snapshot) -> Vec<u8> {
    let request = request(dice, snapshot);
    let method =
        if dice.one_in(8) { dice.of(&["GET", "HEAD", "DELETE", "OPTIONS"]) } else { &request.method };
    let has_body = matches!(method, "POST" | "PUT" | "PATCH");
    let mut path = match dice.below(20) {
        0 => dice.of(&TARGETS).to_owned(),
        1 => dice.of(&["/api", "/api/v2", "/api/v22", "/api/v2/x", "/apiary"]).to_owned(),
        2 => format!("/{}", "a".repeat(230 + dice.below(40))),
        3 => format!("/a?{}", "q".repeat(dice.below(1000))),
        _ => request.path.clone(),
    };
    if dice.one_in(4) {
        path += "?x=1&y=2";
    }
    let mut lines: Vec<String> =
        request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let host = if dice.one_in(3) { request.host.to_uppercase() } else { request.host.clone() };
    lines.push(format!("Host: {host}{}\r\n", dice.of(&["", "", ":80"])));
    for _ in 0..dice.below(6) {
        lines.push(
            dice.of(&[
                "Accept: */*\r\n",
                "User-Agent: fuzz/1.0\r\n",
                "Cookie: a=b; c=\"d\"\r\n",
                "x-empty:\r\n",
            ])
            .into(),
        );
    }
    if dice.one_in(12) {
        lines.push(dice.of(&["Connection: close\r\n", "Connection: keep-alive\r\n"]).into());
    }
    let body = if has_body { dice.below(30) } else { 0 };
    if has_body || dice.one_in(6) {
        lines.push(format!("Content-Length: {body}\r\n"));
    }
    if dice.one_in(8) {
        lines.push(dice.of(&SMUGGLED).into());
    }
    for at in (1..lines.len()).rev() {
        lines.swap(at, dice.below(at + 1));
    }
    let behind = if dice.one_in(16) { "GET / HTTP/1.1\r\nHost: b\r\n\r\n" } else { "" };
    format!("{method} {path} HTTP/1.1\r\n{}\r\n{}{behind}", lines.concat(), "b".repeat(body)).into_bytes()
}
