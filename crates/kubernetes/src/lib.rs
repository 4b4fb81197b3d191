//! The cluster source: objects of a Kubernetes API server, watched.
//!
//! ```text
//!  API server ──list, watch──> one task a kind ──events──> Mirror ──> translate::Store ──> Loaded
//!                                    ^                        │
//!                                    │                        └──> status ──> writer, while this agent holds the Lease
//!                                    └── by name, what objects in force refer to: Secrets, ConfigMaps
//! ```
//!
//! Invariants: a kind that cannot be read never stops another; what was served stays served until the API server says
//! otherwise; the first [`Loaded`](translate::Loaded) comes when every kind has been read or has turned out to be unreadable.
//! Decisions: docs/adr/0021-objects-of-a-cluster.md.

mod addressing;
mod bundle;
mod client;
mod clock;
mod connect;
mod event;
mod follow;
mod gather;
mod hold;
mod hosts;
mod lease;
mod list;
mod mirror;
mod node_leases;
mod pace;
mod pauses;
mod plan;
mod queue;
mod recorder;
mod scope;
mod source;
mod status;
mod trouble;
mod writer;

pub use addressing::AddressMode;
pub use client::ClientError;
pub use connect::{ConnectError, Connection, connect};
pub use list::{ListError, ingresses};
pub use node_leases::{NodeLeaseError, NodeLeases};
pub use source::{Followed, IngressReach, StartError, WatchHandle, Writing, watch};
