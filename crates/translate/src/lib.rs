//! Kubernetes objects in, snapshot and diagnostics out; pure.
//!
//! Files and the API server deliver the same objects to the same translation, so whatever works from one works from
//! the other (docs/adr/0003-one-model-one-translation.md).
//!
//! ```text
//!  Object ──apply──> check (one object: formats, ranges, regular expressions)
//!                      │ refused: the last good version stays
//!                      v
//!                    Store ──build──> classes -> listeners -> routes -> backends ──> Snapshot
//!                                     (references between objects, conflicts)        Diagnostics
//! ```
//!
//! Invariants: no I/O, no clock, no randomness; equal objects give an equal snapshot in whatever order they came.

mod affinity;
mod annotations;
mod build;
mod class;
mod duration;
mod few;
mod https;
mod loaded;
pub mod nginx;
mod object;
mod objects;
mod options;
mod own;
mod parts;
mod pattern;
mod report;
mod store;

pub use loaded::{Loaded, Steps};
pub use object::{Object, UnknownKind};
pub use options::{DefaultListener, MAGLEV_TABLE_SIZES, Options, Place, is_maglev_table_size};
pub use pattern::is_object_name;
pub use store::{Built, Store};
