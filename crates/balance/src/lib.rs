//! Choosing an endpoint: Maglev, round robin, random; and choosing a backend by weight.
//!
//! Balancers are pure and immutable: what varies from request to request ([`Pick`]) is an argument, so that a choice
//! can be repeated and explained, and a table can be shared by all cores without a lock.

mod alias;
mod client;
mod flow;
mod maglev;
mod mix;
mod pick;
mod random;
mod round_robin;

pub use client::{hash_client, subject};
pub use flow::hash_flow;
pub use maglev::{EndpointKey, Maglev, TableError, check_table_size};
pub use pick::{Balancer, Pick};
pub use random::{Random, WeightedChoice};
pub use round_robin::RoundRobin;
