//! The state of a spliced connection, and what each segment does to it.
//!
//! Pure functions on a [`wire::Flow`], to be called while its lock is held: they read the segment's numbers from an
//! [`Image`](crate::image::Image), change the record, and say in a [`Plan`] how the segment is to be sent on. What needs
//! maps or the packet's bytes (decoding a request, choosing an endpoint) is the engine's.
//!
//! Sequence numbers of the client's connection never change: what the endpoints say is moved into the client's space, what
//! the client says into the space of the leg. See `Flow` for the names.

mod challenge;
mod client;
mod closing;
mod ending;
mod endpoint;
mod handed;
mod leg;
mod plan;
mod points;
mod pool;
mod request;
mod told;
mod ways;

pub use challenge::{Rival, on_newcomer, on_syn};
pub use client::{ClientStep, on_client};
pub use closing::{After, after_leg, is_through, word_of};
pub use ending::{end_for, has_ended};
pub use endpoint::{EndpointStep, ResponseView, on_endpoint, response_view};
pub use handed::{HandedStep, on_handed, on_taken};
pub use leg::{accepted, begin_leg, doom, take_back, unbind};
pub use plan::Plan;
pub use points::{fold, to_client, to_leg};
pub use pool::{PooledStep, give, is_exact, is_first, is_free, join, leg_flag, on_pooled, plan_joined};
pub use request::{RequestStep, Wish, on_request, open_with};
pub use told::{TOLD_MAX, is_due};
pub use ways::{learn_way_down, learn_way_up};

/// Values of `Flow::state`.
pub mod state {
    /// Not in use: deleted, or being made.
    pub const FREE: u8 = 0;
    /// A SYN is out to the endpoint; the request is stored.
    pub const OPENING: u8 = 1;
    /// Both legs are joined.
    pub const SPLICED: u8 = 2;
    /// The client is connected, no endpoint is.
    pub const UNBOUND: u8 = 3;
    /// The client closed while unbound, and our FIN is out.
    pub const CLOSING: u8 = 4;
    /// Given to the host's stack; kept until a socket owns the tuple.
    pub const HANDED: u8 = 5;
    /// The host's stack had it: the client has seen bytes of it. Nothing is given to it again.
    pub const TAKEN: u8 = 6;
    /// The agent ends the connection: its FIN is out to the client.
    pub const ENDING: u8 = 7;
}

/// Bits of `Flow::flags`.
pub mod flag {
    /// The client's FIN was sent on.
    pub const CLIENT_FIN: u8 = 1;
    /// The endpoint's FIN was sent on.
    pub const LEG_FIN: u8 = 2;
    /// And acknowledged by the endpoint.
    pub const CLIENT_FIN_ACKED: u8 = 4;
    /// And acknowledged by the client.
    pub const LEG_FIN_ACKED: u8 = 8;
    /// One side said that it will close.
    pub const CLOSE: u8 = 16;
    /// The endpoint's FIN came and was kept from the client: the leg ends when the client has all its bytes.
    pub const LEG_ENDS: u8 = 32;
    /// The newest request may be sent twice (idempotent methods, RFC 9110 section 9.2.2).
    pub const REPEATABLE: u8 = 64;
    /// The client sends requests before it has the responses to those before them: that it repeats one tells nothing.
    pub const PIPELINES: u8 = 128;

    /// A side has ended, or said that it will.
    pub(crate) const ENDS: u8 = CLIENT_FIN | LEG_FIN | CLOSE | LEG_ENDS;
}

/// Values of `Flow::phase`: what the endpoint's next byte belongs to.
pub mod phase {
    /// A response head.
    pub const HEAD: u8 = 0;
    /// A body of known length.
    pub const BODY: u8 = 1;
    /// A chunked body.
    pub const CHUNKED: u8 = 2;
    /// Nobody knows: the end of the response cannot be seen.
    pub const UNKNOWN: u8 = 3;
    /// A response head, if the response before it, whose end could not be seen, is over as it seems.
    pub const RESUMED: u8 = 4;
    /// A head of which a segment had no more than the beginning: it must come again whole, or nobody knows.
    pub const PARTIAL: u8 = 5;
}

/// How far from the newest byte a segment may be and still belong to the connection: more than the largest window that a
/// client is given (2^16 shifted by 7).
pub const REACH: u32 = 1 << 24;

/// Length of the longest text of forwarded headers, rounded up to whole words.
pub const TEXT_MAX: usize = 128;

/// How far from the start of what is stored for a leg text may be inserted, in bytes of the client: the longest text and what is told
/// first end before 1,024.
pub const POINT_MAX: u32 = 1023 - TEXT_MAX as u32 - TOLD_MAX;

/// Requests that may be outstanding on a leg.
pub const OUTSTANDING_MAX: u8 = 32;

/// How often a request is sent to an endpoint that does not answer before another is tried.
pub const TRIES_MAX: u8 = 3;
