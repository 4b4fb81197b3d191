//! The access log: one line for each request, as JSON or by a template.
//!
//! ```text
//!  proxy thread: Lines, a buffer of its own ──┐ try_send, a batch at a time
//!  proxy thread: Lines                       ─┴──> queue ──> one writer thread ──> file or standard output
//! ```
//!
//! A request never waits for the disk: what finds the queue full is dropped and counted.

mod entry;
mod escape;
mod format;
mod lines;
mod output;
mod time;
mod writer;

pub use entry::{Entry, Field, Show};
pub use format::{Format, FormatError};
pub use lines::Lines;
pub use output::{OpenError, Target};
pub use writer::{AccessLog, Writer};
