//! The userspace tier: accept, route, pool, forward.
//!
//! Each thread has its own listening sockets (SO_REUSEPORT), connections, endpoint pool and counters; on the path of a
//! request nothing shared is written. A change of configuration is one pointer swap ([`Gateway::apply`]).
//!
//! ```text
//!  accept -> connection -> request -> forward -> exchange
//!            (heads, one    (route)    (endpoint, (both directions
//!             by one)                   tries)     in one future)
//! ```
//!
//! Deliberately absent: knowledge of Kubernetes, of BPF and of TLS libraries; HTTP/1 parsing (`http1`), HTTP/2 (`http2`), TLS (`tls`), matching
//! (`route`) and choosing (`balance`) are pure crates below.

mod accept;
mod addresses;
mod affinity;
mod auth;
mod backend;
mod bodiless;
mod breaker;
mod capture;
mod changes;
mod client;
mod compression;
mod config;
mod connect_failure;
mod connection;
mod connector;
mod dial;
mod downstream;
mod endpoint;
mod exchange;
mod ext_auth;
mod fallback;
mod forward;
mod forwarded;
mod gateway;
mod group;
mod grpc;
mod guard;
mod hand_over;
mod hash_by;
mod health;
mod ids;
mod io;
mod l4;
mod lots;
mod mirror;
mod object_limits;
mod outliers;
mod passed_over;
mod plan;
mod rate;
mod reach;
mod remembered;
mod reply;
mod request;
mod request_body;
mod retry;
mod reuse;
mod secure;
mod secured;
mod session;
mod session_key;
mod shared;
mod sockets;
mod spans;
mod state;
mod story;
mod streams;
mod thread;
mod token_places;
mod tokens;
mod told;
mod transport;
mod upstream;
mod watchdog;
mod worker;

pub use affinity::ClientCache;
pub use config::{AccessConfig, Config, IdConfig, TimeoutConfig};
pub use endpoint::EndpointStats;
pub use gateway::{Gateway, StartError};
pub use hand_over::ListeningSocket;
pub use lots::Lots;
pub use sockets::ListenProblem;
pub use state::{EndpointView, State};
