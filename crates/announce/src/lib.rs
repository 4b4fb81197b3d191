//! Makes addresses this machine's, and tells the neighbours so (gratuitous ARP, unsolicited Neighbour Advertisements).
//!
//! ```text
//!  wanted addresses ──Announcer::hold──> addresses of an interface (rtnetlink), frames to the neighbours
//!                     Announcer::tick──> the addresses live on, the frames are repeated
//! ```
//!
//! The addresses have a lifetime that is renewed again and again: those of an agent that died go by themselves, so that two
//! machines do not answer for one address for long. They carry a protocol number by which a later agent knows
//! them, and are deprecated, so that the machine's own connections never come from them.
//!
//! Invariants: no address is touched that is not ours; nothing here decides who holds what. Everything is in the network namespace
//! of the calling thread. Needs CAP_NET_ADMIN, and CAP_NET_RAW for the frames.

mod announcer;
mod error;
mod frame;
mod interface;
mod kernel;

pub use announcer::Announcer;
pub use error::{AnnounceError, HoldError};
