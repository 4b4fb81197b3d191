//! Every metric name, logging, and the access log.
//!
//! The data plane counts into sharded atomics, one cache-padded cell per proxy thread, so that a count is never a
//! shared cache line; a scrape sums them. The number of series is bounded: per Gateway, and per route
//! for as many as are asked for.
//!
//! Invariants: nothing here blocks a data plane thread; no label holds text that came with a request.

pub mod access;
mod background;
mod datapath;
mod encode;
mod family;
mod gateway;
mod health;
mod l4;
pub mod log;
mod metrics;
mod process;
mod protocols;
mod routes;
mod sharded;

pub use background::wait_for;
pub use datapath::{
    DatapathCounters, DatapathSource, KernelCounters, KernelResponses, KernelTable, ListenerCounters,
};
pub use family::LabelledCounter;
pub use gateway::GatewayMetrics;
pub use health::HealthMetrics;
pub use l4::{L4Metrics, L4Totals};
pub use metrics::{ConnectResult, GATEWAYS_MAX, Metrics};
pub use process::resident_bytes;
pub use protocols::{Protocol, ProtocolCounters};
pub use sharded::{ShardedCounter, ShardedGauge, ShardedHistogram};
