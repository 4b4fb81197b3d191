//! Content codings of HTTP (RFC 9110 section 8.4.1), piece by piece: what came so far can be made to leave at any time.
//!
//! The only crate that names a library of compression. No I/O, no clock; memory is bounded by the coding's window (256 KiB, gzip's
//! 32 KiB) and its tables, whatever the length of what is coded: 0.4 MiB for gzip, 0.6 for Zstandard, 2 for Brotli.

mod brotli;
mod encoder;
mod gzip;
mod zstd;

pub use encoder::{EncodeError, Encoder};
