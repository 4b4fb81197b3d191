//! The engine between simulated TCP ends: lost, repeated, reordered and repacketised segments, requests that change their
//! endpoint or go to userspace, endpoints that leave. Both ends must see one unbroken byte stream, and response k must
//! answer request k.
//!
//! `MODEL_SEEDS` says how many random runs there are, `MODEL_SEED` repeats one, `MODEL_TRACE` prints its packets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "the model's numbers are small, or cut on purpose")]
#![allow(clippy::print_stderr, reason = "a trace is asked for")]

mod affinity;
mod apps;
mod basics;
mod cases;
mod copies;
mod cpu;
mod ejection;
mod endings;
mod hostile;
mod http;
mod net;
mod packet;
mod pool;
mod pool_close;
mod pool_crossing;
mod pool_soak;
mod proxy_protocol;
mod random;
mod sim;
mod soak;
#[allow(dead_code, reason = "the support is shared with other tests")]
#[path = "../support/mod.rs"]
mod support;
mod tcp;
mod told;
mod weights;
mod world;
