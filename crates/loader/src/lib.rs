//! Loads, attaches and pins the kernel programs; typed handles on their maps; the checks of `rauta doctor`.
//!
//! [`Datapath::start`] is the way in. Without privileges, without a bpf file system or on a build without the kernel
//! programs it returns a [`StartError`] that says what to do, and the agent serves from userspace alone.
//!
//! Invariant: the only crate that names aya. Nothing here decides what to do with a packet.

mod attach;
mod bpf;
mod capabilities;
mod collector;
mod confine;
mod datapath;
pub mod doctor;
pub mod dry_run;
mod early;
mod enforcers;
mod error;
mod ethtool;
mod events;
mod growth;
mod interfaces;
mod links;
mod listener;
pub mod machine;
mod maps;
mod object;
mod options;
mod pins;
mod realtime;
mod segment;
mod sender;
mod tables;
mod usage;
mod waiting;

pub use capabilities::MissingCapabilities;
pub use collector::{Collected, Limits};
pub use confine::{Keep, give_up_capabilities};
pub use datapath::{Datapath, detach_all};
pub use enforcers::Enforcers;
pub use error::{
    AttachError, DetachError, DryRunError, MapError, PinError, RoutingError, SendError, StartError, chain,
};
pub use events::Events;
pub use growth::{Grown, GrowthPlan};
pub use listener::ListenerAddress;
pub use maps::{Answered, Clients, Entry, Lots, Prefix, Write, maps_of};
pub use object::{is_built, object, patched, patched_of};
pub use options::{Attachment, Hook, HookError, Mechanism, Options, XdpMode, XdpModeError};
pub use tables::now;
pub use usage::{InUse, MapUsage, RunTime};
pub use waiting::{can_wait_for_programs, wait_for_programs};
