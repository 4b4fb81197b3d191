//! Strict HTTP/1 codec without I/O: heads, framing, edits.
//!
//! ```text
//!  bytes from the client ── RequestHead::parse ── write_upstream ──> bytes for the endpoint
//!                           Body::advance      (as they came)
//!  bytes for the client <── write_downstream ── ResponseHead::parse ── bytes from the endpoint
//! ```
//!
//! A head is scanned once, by the scanner that the kernel tiers use ([`dataplane::head`]), kept as the bytes that came,
//! and written on as these bytes with edits: what a route was chosen by is what the endpoint reads. Whatever two
//! recipients could read differently is refused, and the caller closes the connection after any error.
//!
//! Invariants: no I/O, no clock, no task; no allocation per message once the buffers have grown.

mod answer;
mod authority;
mod body;
mod chunk;
mod connection;
mod edits;
mod error;
mod framing;
mod gate;
mod grpc;
mod limits;
mod line_edits;
mod lines;
mod request;
mod request_write;
mod response;
mod response_write;
mod target;

pub use answer::{Answer, reason_phrase, write_response};
pub use body::{Body, Piece};
pub use chunk::{write_chunk_end, write_chunk_header, write_last_chunk};
pub use dataplane::head::{HeadError, Known, Version, is_token_byte};
pub use edits::{Edits, ResponseEdits, ResponseFraming};
pub use error::{BodyError, FramingError, RequestError, ResponseError};
pub use framing::Framing;
pub use grpc::is_grpc;
pub use limits::Limits;
pub use line_edits::{LineEdits, is_alike};
pub use request::RequestHead;
pub use response::ResponseHead;
