//! What the scans of requests and responses share: words out of a payload, and field lines made of them.
//!
//! Bytes are looked at eight at a time (SWAR), at offsets that cannot leave the record, in loops that the verifier
//! walks once.

pub(crate) mod decimal;
pub(crate) mod field;
pub(crate) mod line;
pub(crate) mod word;
