//! Connections and datagrams that are passed on as they are: which endpoint gets them. The bytes are `l4`'s to move.

mod action;
mod endpoint;
mod tcp;
mod udp;

pub(crate) use action::{L4Action, L4Target};
pub(crate) use tcp::{ended_tls, passing, tcp};
pub(crate) use udp::Receiving;
