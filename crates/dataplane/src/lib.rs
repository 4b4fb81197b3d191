//! Pure packet and request decisions, the same code in the kernel and in userspace.
//!
//! Nothing here allocates, does I/O, reads a clock or panics: time and memory come in as arguments.

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![allow(clippy::cast_possible_truncation, reason = "fields of headers are parts of wider numbers")]

pub mod cookie;
pub mod engine;
pub mod flow;
pub mod head;
pub mod image;
pub mod initial;
pub mod lookup;
pub mod opaque;
mod payload;
pub mod repeat;
pub mod request;
pub mod response;
pub mod sequence;
mod siphash;
pub mod sum;
