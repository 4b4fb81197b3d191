//! Pure packet and request decisions, the same code in the kernel and in userspace.
//!
//! Nothing here allocates, does I/O, reads a clock or panics: time and memory come in as arguments.

#![no_std]

pub mod head;
pub mod lookup;
pub mod repeat;
pub mod request;
pub mod response;
