//! What is measured: how clients ask, and for what.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use testkit::Lab;

use super::{h2load, wrk};

/// A load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) name: &'static str,
    pub(super) protocol: Protocol,
    pub(super) path: &'static str,
    /// Size of the body, in bytes.
    pub(super) body: u64,
    /// Each request on a connection of its own.
    pub(super) close: bool,
    pub(super) connections: u32,
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 in cleartext.
    Http1,
    /// HTTP/1.1 over TLS 1.3.
    Https1,
    /// HTTP/2 over TLS 1.3, [`STREAMS`] at a time on a connection.
    Http2,
    /// Unary calls over the same.
    Grpc,
}

/// Streams at a time on a connection of HTTP/2.
pub(super) const STREAMS: u32 = 10;

impl Protocol {
    pub(super) fn is_secured(self) -> bool {
        self != Self::Http1
    }
}

const fn load(name: &'static str, protocol: Protocol, path: &'static str, body: u64) -> Load {
    Load { name, protocol, path, body, close: false, connections: 32 }
}

/// All of them; the kernel tier takes part in those that are cleartext.
pub(super) const ALL: &[Load] = &[
    SMALL,
    Load { close: true, ..load("connection per request 128 B", Protocol::Http1, "/128", 128) },
    load("keep-alive 16 KiB", Protocol::Http1, "/16k", 16 * 1024),
    load("keep-alive 1 MB", Protocol::Http1, "/1m", 1_000_000),
    Load { connections: 1, ..load("one connection 128 B", Protocol::Http1, "/128", 128) },
    Load { connections: 1_000, ..load("1,000 connections 128 B", Protocol::Http1, "/128", 128) },
    load("TLS 1.3 keep-alive 128 B", Protocol::Https1, "/128", 128),
    load("TLS 1.3 keep-alive 16 KiB", Protocol::Https1, "/16k", 16 * 1024),
    Load { close: true, ..load("TLS 1.3 connection per request 128 B", Protocol::Https1, "/128", 128) },
    load("HTTP/2 128 B", Protocol::Http2, "/128", 128),
    load("HTTP/2 16 KiB", Protocol::Http2, "/16k", 16 * 1024),
    load("gRPC unary", Protocol::Grpc, "/grpc.testing.TestService/EmptyCall", 5),
];

/// Small requests on connections that stay: what is profiled, too.
pub(super) const SMALL: Load = load("keep-alive 128 B", Protocol::Http1, "/128", 128);

/// What one run saw.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Measured {
    pub(super) requests: u64,
    /// Wall time in microseconds.
    pub(super) duration_us: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Connect, read, write and status (not 2xx or 3xx) errors and timeouts.
    pub(super) errors: u64,
    pub(super) bytes: u64,
}

impl Measured {
    /// Requests per second.
    pub(super) fn rate(&self) -> f64 {
        precise(self.requests) / (precise(self.duration_us) / 1e6)
    }
}

/// Runs `load` against `address` from the lab's client for `time`.
///
/// # Errors
/// The program that makes the load is missing, or says something unexpected.
pub(super) fn run(lab: &Lab, address: SocketAddr, load: Load, time: Duration) -> Result<Measured> {
    match load.protocol {
        Protocol::Http1 | Protocol::Https1 => wrk::run(lab, address, load, time),
        Protocol::Http2 | Protocol::Grpc => h2load::run(lab, address, load, time),
    }
}

/// Counts as floating point; those of a bench stay far below 2^52.
#[allow(clippy::cast_precision_loss, reason = "counts of a bench are below 2^52")]
pub(super) fn precise(count: u64) -> f64 {
    count as f64
}
