//! The gRPC control API and its client.
//!
//! `proto/rauta/v1/control.proto` is the contract. The agent implements [`ControlView`]; [`bind`] and [`serve`] put it on
//! a unix socket of mode 0600 that answers the agent's own user and root; [`Client`] is the other end.
//!
//! Invariants: read-only, but that the kernel samples requests while a trace is open; nothing here knows the proxy or the sources.

mod client;
mod server;
mod socket;

/// The messages, generated from `control.proto`. They serialise to JSON with camelCase names.
#[expect(missing_docs, reason = "generated; the contract's comments are in the .proto file")]
#[allow(clippy::all, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("rauta.v1");
}

pub use client::{Client, ClientError, ConnectError, Events};
pub use server::{ControlView, ExplainError, KernelError, ServeError, serve};
pub use socket::{BindError, ControlSocket, SharedControlSocket, bind};
