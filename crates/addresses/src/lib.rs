//! Addresses of Gateways: which Gateway has which, out of a pool that users set, and which node announces it; or which of those that
//! all of them share.
//!
//! ```text
//!  settings ──> Pool ───┐
//!                       ├─allocate (one agent)──> Assignment: for the status of each Gateway
//!  Gateways ──> Claim ──┤
//!                       └─confirm (every agent)─> what the status says and the pool allows: to listen on
//!
//!  nodes, a Service ──> Offer ──share──> Share: for the status of each Gateway, where there is no pool
//!
//!  Leases of nodes ──> Peer ──Election (every agent)──> what this node announces, and what is announced at all: Recent
//! ```
//!
//! A Gateway keeps what its status says it has, so neither the order of events nor a new agent changes anything, and one
//! agent decides: all others serve what it wrote.
//!
//! Invariants: no I/O, no clock. No address is given twice, and none outside the pool: who may write a Gateway takes no address of
//! another machine.

mod allocate;
mod announced;
mod claim;
mod election;
mod pool;
mod problem;
mod range;
mod share;

pub use allocate::{Assignment, allocate, confirm};
pub use announced::{Announced, Recent};
pub use claim::{Claim, Wanted};
pub use election::{Election, Peer};
pub use pool::{Family, Pool};
pub use problem::{Problem, ProblemReason};
pub use range::{AddressRange, RangeError};
pub use share::{Address, Offer, Share, share};
