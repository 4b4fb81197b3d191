//! Test lab: network namespaces, processes, endpoints and clients. A dev-dependency; never in production.
//!
//! A [`Lab`] is a small network of its own: clients on a front segment, endpoints on a back segment, the gateway between
//! them. Labs of parallel tests use the same addresses and never meet. Everything is taken away when the lab is
//! dropped, also by a panic; what a killed run left behind goes when the next lab is built ([`Lab::sweep`]).
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let lab = testkit::Lab::builder().backends(2).build()?;
//! let nginx = testkit::Nginx::start(&lab, 0)?;
//! let mut connection = testkit::Connection::open(lab.client(), nginx.address())?;
//! assert_eq!(connection.get("any.example", "/")?.header("x-endpoint"), Some("b0"));
//! # Ok(()) }
//! ```

mod address;
#[cfg(feature = "cluster")]
pub mod cluster;
mod cpu;
mod endpoints;
mod faults;
mod gateway;
mod http;
mod lab;
mod neighbour;
mod nginx;
mod process;
mod programs;
mod raw;
mod recorder;
mod run_time;
mod wait;

pub use address::{Addresses, BACKEND_PORT, GATEWAY_PORT};
pub use cpu::{CpuTime, machine_cpu, tree_cpu};
pub use endpoints::Endpoints;
pub use faults::{FaultCounts, Faults, FaultyNetwork};
pub use gateway::{Gateway, GatewayBuilder};
pub use http::client::{ClientError, Connection};
pub use http::dial::Dial;
pub use http::frames::{Ended, Frame, Http2, encode, frame, section};
pub use http::load::{Failure, Load, LoadReport};
pub use http::response::Response;
pub use lab::builder::{LabBuilder, Offloads};
pub use lab::netns::Netns;
pub use lab::{Lab, LabError};
pub use neighbour::{Filter, Neighbour, Order, Verdict};
pub use nginx::{Families, Nginx, NginxOptions, ONE_MEGABYTE_SHA256, PROXY_PORT, one_megabyte, sha256_hex};
pub use nix::sys::signal::Signal;
pub use process::{Process, exec};
pub use programs::{cache, set_up};
pub use raw::flood::Flood;
pub use raw::host::{RawConnection, RawHost};
pub use raw::segment::{Options, Segment, flag};
pub use recorder::{Peer, Recorder};
pub use run_time::RunTimes;
pub use wait::until;
