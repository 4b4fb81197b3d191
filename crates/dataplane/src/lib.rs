//! Pure packet and request decisions, the same code in the kernel and in userspace.
//!
//! Nothing here allocates, does I/O, reads a clock or panics: time and memory come in as arguments.

#![no_std]
#![allow(clippy::cast_possible_truncation, reason = "fields of headers are parts of wider numbers")]

pub mod cookie;
pub mod flow;
pub mod head;
pub mod image;
pub mod lookup;
mod payload;
pub mod repeat;
pub mod request;
pub mod response;
pub mod sequence;
pub mod sum;
