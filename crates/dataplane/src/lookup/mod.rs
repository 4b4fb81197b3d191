//! Route lookup over compiled tables: host, then exact path, then prefixes, then method and headers.
//!
//! The tables decide as the matcher of userspace does, or say that userspace must. [`lookup`] finds the route;
//! [`choose`] and [`endpoint`] turn it into an endpoint.

#![allow(
    clippy::cast_possible_truncation,
    reason = "what is cut are constants, places below 32, and halves that are meant; `try_from` has a panic or a branch"
)]

mod balancing;
mod headers;
mod host;
mod path;
mod walk;
mod words;

use wire::{
    Candidate, HeaderConditions, HostKey, HostRecord, Payload, PrefixKey, PrefixRecord, RequestFacts,
    RouteKey, RouteRecord, SCOPES_MAX,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use balancing::{Balancing, Chosen, Drawn, choose, client_draw, client_hash, endpoint, flow_hash};

/// The maps that a lookup reads: kernel maps there, tables in tests.
pub trait Tables {
    /// `HOSTS`: the longest match.
    fn host<'t>(&'t self, key: &HostKey) -> Option<&'t HostRecord>;
    /// `ROUTES`.
    fn route<'t>(&'t self, key: &RouteKey) -> Option<&'t RouteRecord>;
    /// `PREFIX_ROUTES`: the longest match.
    fn prefix<'t>(&'t self, key: &PrefixKey) -> Option<&'t PrefixRecord>;
    /// `CANDIDATES`.
    fn candidate(&self, index: u32) -> Option<&Candidate>;
    /// `HEADER_CONDITIONS`.
    fn conditions(&self, index: u32) -> Option<&HeaderConditions>;
}

/// What the tables say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A route takes it.
    Route {
        /// Index of `ROUTE_ACTIONS`.
        action: u32,
    },
    /// Userspace decides.
    Tier3(Punt),
}

/// Why the tables leave a request to userspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Punt {
    /// No route takes it, which userspace answers.
    NoRoute = 1,
    /// The route, or one that could come before it, is for userspace.
    RouteOfUserspace = 2,
    /// The host is empty, too long or odd.
    Host = 3,
    /// More candidates than a lookup looks at.
    TooManySteps = 4,
    /// The tables changed while they were read.
    Changed = 5,
}

impl Punt {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NoRoute, Self::RouteOfUserspace, Self::Host, Self::TooManySteps, Self::Changed];

    /// A metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::RouteOfUserspace => "route_of_userspace",
            Self::Host => "host",
            Self::TooManySteps => "too_many_candidates",
            Self::Changed => "tables_changed",
        }
    }
}

/// Where a lookup keeps its keys and its place: too much for the stack of a program. Its content means nothing before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct LookupScratch {
    host: HostKey,
    /// What follows is read in words of eight.
    pad: u32,
    prefix: PrefixKey,
    route: RouteKey,
    scopes: [u32; SCOPES_MAX],
    /// Bit n: byte n of the host, backwards, is a dot.
    dots: u64,
    /// How many of `scopes` were begun.
    begun: u32,
    /// The scope begun last.
    scope: u32,
    /// The candidate to look at; 0: begin the next scope.
    candidate: u32,
    /// A [`Punt`]; 0: `action` is the decision.
    punt: u32,
    action: u32,
    pad2: u32,
}

impl LookupScratch {
    /// With nothing in it.
    pub const EMPTY: Self = Self {
        host: HostKey { bits: 0, socket: 0, text: [0; 64], pad: 0 },
        pad: 0,
        prefix: PrefixKey { bits: 0, scope: 0, path: [0; 248] },
        route: RouteKey { hash: 0, scope: 0, len: 0 },
        scopes: [0; SCOPES_MAX],
        dots: 0,
        begun: 0,
        scope: 0,
        candidate: 0,
        punt: 0,
        action: 0,
        pad2: 0,
    };
}

/// Finds the route of a request that came to `socket` ([`wire::Vip::socket`], not 0).
///
/// `facts` are what [`crate::request`] found in `payload`.
#[inline(always)]
pub fn lookup<T: Tables>(
    tables: &T,
    socket: u32,
    payload: &Payload,
    facts: &RequestFacts,
    scratch: &mut LookupScratch,
) -> Decision {
    if !host::write_key(socket, payload, facts, scratch) {
        return Decision::Tier3(Punt::Host);
    }
    let Some(record) = tables.host(&scratch.host) else { return Decision::Tier3(Punt::NoRoute) };
    if !host::read_scopes(record, scratch) {
        return Decision::Tier3(Punt::Changed);
    }
    path::write_key(payload, facts, scratch);
    walk::walk(tables, payload, facts, scratch);
    let punt = match scratch.punt {
        0 => return Decision::Route { action: scratch.action },
        1 => Punt::NoRoute,
        2 => Punt::RouteOfUserspace,
        5 => Punt::Changed,
        _ => Punt::TooManySteps,
    };
    Decision::Tier3(punt)
}
