//! The golden conversations through the programs of XDP, and those of TC for what they pass: both send the same, to the byte.
//!
//! Needs root; fails without.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "frames and numbers of tests are short")]

#[path = "../golden/affinity.rs"]
mod affinity;
#[path = "../golden/copies.rs"]
mod copies;
mod early;
#[path = "../golden/ends.rs"]
mod ends;
#[path = "../golden/handshakes.rs"]
mod handshakes;
#[path = "../golden/instructions.rs"]
mod instructions;
#[path = "../golden/lockstep.rs"]
mod lockstep;
#[path = "../golden/packets.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod packets;
#[path = "../golden/pool.rs"]
mod pool;
#[path = "../golden/pool_close.rs"]
mod pool_close;
#[path = "../golden/random.rs"]
mod random;
#[path = "../golden/requests.rs"]
mod requests;
#[path = "../golden/shapes.rs"]
mod shapes;
#[path = "../support/mod.rs"]
mod support;
#[path = "../golden/talk.rs"]
mod talk;
#[path = "../golden/told.rs"]
mod told;

/// The programs that conversations run through.
const HOOK: support::program::Hook = support::program::Hook::Xdp;
