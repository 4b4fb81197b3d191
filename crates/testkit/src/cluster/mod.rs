//! A Kubernetes of its own: the real API server with its store, built from pinned Go modules (`lab/`), in network
//! namespaces. Behind the feature `cluster`.

mod build;
mod client;
mod control_plane;
mod credentials;
mod forward;
mod node;
mod programs;
mod time;
mod whole;

pub use build::build;
pub use client::{ApiError, Body, Client, Lines, Session};
pub use control_plane::{API_PORT, ControlPlane};
pub use node::Images;
pub use programs::Program;
pub use whole::Cluster;
