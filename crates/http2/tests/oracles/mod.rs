//! What must hold whatever frames a peer sends. The fuzz targets in `fuzz/` and the replay of their corpora call the same
//! functions; each panics where a rule is broken.
//!
//! The input describes frames: kind, flags, stream and length, a byte each, then the payload. So most inputs are frames in
//! order, and what is in doubt is what they say.
#![allow(dead_code, reason = "each user calls its part")]

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use http1::{Body, Framing, Limits, RequestHead, ResponseHead};
use http2::{Client, Memory, PREFACE, Server, Settings};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than any input needs.
const ROUNDS: usize = 200;

/// A client's frames: what each stream reads as is one request that the codec takes or refuses, with a body that ends where it
/// says, and nothing behind it.
pub(crate) fn h2_server(data: &[u8]) {
    let (answer, frames) = split_answer(data);
    let mut input = PREFACE.to_vec();
    input.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    write_frames(frames, &mut input);
    serve(Peer::new(input), answer);
}

/// Any bytes at all behind a client's preface and settings, in pieces: the same, and no stream becomes longer than heads may be and the
/// bytes that came.
pub(crate) fn h2_bytes(data: &[u8]) {
    let mut input = PREFACE.to_vec();
    input.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    input.extend_from_slice(data);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    // Chunks of one byte take six.
    let limits = Limits::default();
    let longest = 2 * limits.head_bytes_max + limits.trailer_bytes_max + 6 * data.len();
    for text in serve(Peer { in_pieces: true, ..Peer::new(input) }, answer) {
        assert!(text <= longest, "{text} bytes of {}", data.len());
    }
}

/// Serves a client that says what it says: how long the text of each stream is.
fn serve(peer: Peer, answer: &[u8]) -> Vec<usize> {
    let has_more_later = peer.in_pieces;
    let mut cx = Context::from_waker(Waker::noop());
    let (settings, limits, memory) = (Settings::default(), Limits::default(), Memory::default());
    let handshake = pin!(Server::handshake(peer, &settings, &limits, &memory));
    let Poll::Ready(Ok(mut server)) = poll_often(handshake, &mut cx) else { return Vec::new() };
    let mut streams = Vec::new();
    for _ in 0..ROUNDS {
        match server.poll_accept(&mut cx) {
            Poll::Ready(Some(Ok(stream))) => streams.push((stream, BytesMut::new(), false)),
            Poll::Ready(_) => break,
            Poll::Pending if streams.is_empty() && !has_more_later => break,
            Poll::Pending => {}
        }
        for (stream, text, has_answered) in &mut streams {
            read_all(stream, text, &mut cx);
            let mut stream = Pin::new(stream);
            if !*has_answered {
                *has_answered = true;
                // Whatever an endpoint says, right or wrong.
                let _ = stream.as_mut().poll_write(&mut cx, answer);
            }
            let _ = stream.as_mut().poll_flush(&mut cx);
        }
    }
    let mut lengths = Vec::new();
    for (_, mut text, _) in streams {
        lengths.push(text.len());
        assert_one_request(&mut text);
    }
    lengths
}

/// An endpoint's frames: what a stream reads as is responses that the codec takes or refuses, and a body that ends where the
/// last of them says.
pub(crate) fn h2_client(data: &[u8]) {
    let (_, frames) = split_answer(data);
    let mut cx = Context::from_waker(Waker::noop());
    let (settings, limits, memory) = (Settings::default(), Limits::default(), Memory::default());
    let mut input = vec![0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
    write_frames(frames, &mut input);
    let handshake = pin!(Client::handshake(Peer::new(input), false, &settings, &limits, &memory));
    let Poll::Ready(Ok((client, mut driver))) = poll_often(handshake, &mut cx) else { return };
    let mut stream = client.open();
    let request = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let mut sent = 0;
    let mut text = BytesMut::new();
    for _ in 0..ROUNDS {
        if let Poll::Ready(Ok(n)) = Pin::new(&mut stream).poll_write(&mut cx, &request[sent..]) {
            sent += n;
        }
        let _ = Pin::new(&mut stream).poll_flush(&mut cx);
        let is_over = driver.as_mut().poll(&mut cx).is_ready();
        read_all(&mut stream, &mut text, &mut cx);
        if is_over {
            break;
        }
    }
    assert_responses(&mut text);
}

fn assert_one_request(text: &mut BytesMut) {
    let all = String::from_utf8_lossy(text).into_owned();
    let mut head = RequestHead::default();
    let Ok(is_whole) = head.parse(text, &Limits::default()) else { return };
    assert!(is_whole, "a head without an end: {all:?}");
    if head.upgrade().is_none() {
        assert_body(head.framing(), text, &all);
    }
}

fn assert_responses(text: &mut BytesMut) {
    let all = String::from_utf8_lossy(text).into_owned();
    let mut head = ResponseHead::default();
    while !text.is_empty() {
        let Ok(is_whole) = head.parse(text, &Limits::default()) else { return };
        assert!(is_whole, "a head without an end: {all:?}");
        if !head.is_informational() {
            let Ok(framing) = head.framing("POST") else { return };
            return assert_body(framing, text, &all);
        }
    }
}

/// What follows a head is its body, whole or in part.
fn assert_body(framing: Framing, text: &[u8], all: &str) {
    let mut body = Body::new(framing, &Limits::default());
    match body.advance(text) {
        Ok(taken) => assert!(taken == text.len() || !body.is_done(), "more than the body: {all:?}"),
        // A trailer that HTTP/1 cannot carry.
        Err(error) => assert!(framing == Framing::Chunked, "{error}: {all:?}"),
    }
}

/// The first byte says how much of the rest is an endpoint's text.
fn split_answer(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((&size, rest)) = data.split_first() else { return (&[], &[]) };
    rest.split_at(usize::from(size).min(rest.len()))
}

fn write_frames(mut data: &[u8], out: &mut Vec<u8>) {
    while let [kind, flags, stream, size, rest @ ..] = data {
        let (payload, next) = rest.split_at(usize::from(*size).min(rest.len()));
        let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&[0, 0, length, kind % 11, *flags, 0, 0, 0, stream % 8]);
        out.extend_from_slice(payload);
        data = next;
    }
}

fn read_all(stream: &mut (impl AsyncRead + Unpin), text: &mut BytesMut, cx: &mut Context<'_>) {
    let mut chunk = [0; 512];
    for _ in 0..ROUNDS {
        let mut buf = ReadBuf::new(&mut chunk);
        match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => text.extend_from_slice(buf.filled()),
            _ => return,
        }
    }
}

fn poll_often<F: Future>(mut future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    for _ in 0..ROUNDS {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
    }
    Poll::Pending
}

/// A peer that has said all it will, and listens.
struct Peer {
    says: Vec<u8>,
    said: usize,
    /// A few bytes at a time, with pauses in between.
    in_pieces: bool,
    pauses: bool,
}

impl Peer {
    fn new(says: Vec<u8>) -> Self {
        Self { says, said: 0, in_pieces: false, pauses: false }
    }
}

impl AsyncRead for Peer {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.says[this.said..];
        if rest.is_empty() {
            return Poll::Pending;
        }
        this.pauses = this.in_pieces && !this.pauses;
        if this.pauses {
            return Poll::Pending;
        }
        // Where the pieces end depends on the bytes, so that a fuzzer moves the cuts.
        let piece = if this.in_pieces { 1 + usize::from(rest[0]) } else { usize::MAX };
        let size = rest.len().min(buf.remaining()).min(piece);
        buf.put_slice(&rest[..size]);
        this.said += size;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
