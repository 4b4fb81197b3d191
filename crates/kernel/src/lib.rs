//! Compiles a [`model::Snapshot`] into the tables of the kernel tiers.
//!
//! [`Compiler::compile`] gives the wanted content of every map ([`Tables`]) and, for each route, the tier it gets and why
//! ([`RoutePlacement`]). [`diff`] orders the way from one content to the next so that a reader between any two writes
//! sees the old decision or the new one, never a mix. Whatever the kernel cannot decide as the matcher does is marked
//! in the tables as userspace's.
//!
//! ```text
//!  VIPS ──> HOSTS ──> ROUTES, PREFIX_ROUTES ──> CANDIDATES ──> ROUTE_ACTIONS ──> BACKENDS ──> MAGLEV_TABLES ──> ENDPOINTS
//!  socket   scopes    (of a scope)              conditions     weights
//! ```
//!
//! Invariants: what a scope holds never changes; indices that are no longer used rest before they are given away again;
//! nothing here does I/O or reads a clock.

mod actions;
mod balancing;
mod candidates;
mod compiler;
mod diff;
mod facts;
mod hosts;
mod ids;
mod lower;
mod names;
mod placement;
mod scope;
mod sizes;
mod tables;

pub use compiler::{Compiled, Compiler, Update, needed};
pub use diff::{Map, Write, behind_names, diff};
pub use facts::{Facts, Reach};
pub use ids::REST;
pub use placement::{RoutePlacement, Why};
pub use sizes::Sizes;
pub use tables::Tables;
