//! Choosing an endpoint: Maglev, round robin, random, the better of two; and choosing a backend by weight.
//!
//! Balancers are pure and immutable: what varies from request to request ([`Pick`]) is an argument, so that a choice
//! can be repeated and explained, and a table can be shared by all cores without a lock.

mod alias;
mod client;
mod copies;
mod flow;
mod maglev;
mod mix;
mod peak_ewma;
mod pick;
mod random;
mod round_robin;
mod slow_start;
mod two_choices;

pub use client::{hash_client, hash_value, subject};
pub use copies::Copies;
pub use flow::hash_flow;
pub use maglev::{EndpointKey, Maglev, TableError, check_table_size};
pub use mix::mix;
pub use peak_ewma::PeakEwma;
pub use pick::{Balancer, Pick};
pub use random::{Random, WeightedChoice};
pub use round_robin::RoundRobin;
pub use slow_start::SlowStart;
pub use two_choices::TwoChoices;
