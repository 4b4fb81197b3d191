//! HTTP/2 streams that speak HTTP/1 to the rest of the gateway.
//!
//! ```text
//!  client ──HTTP/2──> Server ──accept──> ServerStream ──HTTP/1 text──> the same path as any other request
//!  ... ──HTTP/1 text──> ClientStream ──HTTP/2──> endpoint
//! ```
//!
//! A stream is an `AsyncRead + AsyncWrite` that carries one request and its response as HTTP/1.1 text. So there is one
//! parser that decides what a request means, one place that routes, edits, retries and counts, and an endpoint gets the
//! same head whatever its client spoke (docs/adr/0012-http2-streams-speak-http1.md).
//!
//! Frames, HPACK, flow control and the bounds against floods are `h2`'s; this crate is the only one that names it.
//!
//! Invariants: no task of its own, no clock, no knowledge of TCP or TLS.

mod body_in;
mod body_out;
mod client;
mod error;
mod extended_connect;
mod fields;
mod memory;
mod server;
mod server_stream;
mod settings;

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

pub use client::{Client, ClientStream, Driver};
pub use error::uncarried;
pub use memory::Memory;
pub use server::Server;
pub use server_stream::ServerStream;
pub use settings::Settings;

/// What a client of HTTP/2 says first (RFC 9113 section 3.4). No valid HTTP/1 request begins so.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Gives the reader as much of `text` as it has room for.
fn hand_out(text: &mut BytesMut, buf: &mut ReadBuf<'_>) {
    let size = text.len().min(buf.remaining());
    buf.put_slice(&text[..size]);
    text.advance(size);
}
