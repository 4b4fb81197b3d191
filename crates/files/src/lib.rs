//! The file source: files and folders of Kubernetes YAML, watched.
//!
//! [`load_once`] reads them for `rauta check`, [`watch`] keeps on reading them for `rauta run`. Both give a [`Loaded`]:
//! a snapshot of what is good, and a diagnostic with file, line and field for all that is not.
//!
//! ```text
//!  folders ──scan──> files ──yaml──> documents ──decode──> objects ──> translate::Store ──> Loaded
//!     ^                 │                │                    │             │
//!     └── notify        │ unreadable     │ syntax error       │ bad field   │ bad value
//!                       └────────────────┴── the last good version stays ───┘
//! ```
//!
//! Invariants: a bad file or object never stops another; what was served stays served until it is replaced by
//! something good or deleted.

mod claims;
mod document;
mod file;
#[cfg(test)]
mod incremental;
mod load;
mod parts;
mod pending;
mod place;
mod sayings;
mod scan;
mod source;
mod watch;
mod watches;
mod yaml;

pub use load::load_once;
pub use translate::{Loaded, Steps};
pub use watch::{WatchError, WatchHandle, watch};
