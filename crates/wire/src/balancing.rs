//! Tables that turn a route into an endpoint: routes, backends, Maglev tables, endpoints.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::IpAddress;

/// Weighted backends of one route that the kernel can draw from.
pub const ROUTE_BACKENDS_MAX: usize = 16;
/// Slots of a Maglev table in the kernel: the default size, a prime.
pub const MAGLEV_SLOTS_MAX: usize = 4099;
/// Entries of `ROUTE_ACTIONS`.
pub const ROUTE_ACTIONS_MAX: usize = 16_384;
/// Entries of `BACKENDS`.
pub const BACKENDS_MAX: usize = 8192;
/// Entries of `MAGLEV_TABLES`: distinct sets of endpoints.
pub const MAGLEV_TABLES_MAX: usize = 1024;
/// Entries of `ENDPOINTS`; a slot of a Maglev table is an index of it.
pub const ENDPOINTS_MAX: usize = 16_384;

/// Value of map `VIPS` (key: [`crate::ListenerKey`] with a concrete address): a socket that clients dial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vip {
    /// Number of the routing tables of this socket; 0: none, everything is Tier 3's.
    pub socket: u32,
    /// Index of the per-listener counters.
    pub listener: u32,
    /// Flags: [`Vip::FORWARDED_HEADERS`].
    pub flags: u32,
}
const _: () = assert!(size_of::<Vip>() == 12 && align_of::<Vip>() == 4);

/// One weighted backend of a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WeightedBackend {
    /// Sum of the weights up to and with this one; draws below it and at or above the one before choose this backend.
    pub up_to: u32,
    /// Index in `BACKENDS`; [`WeightedBackend::TIER3`]: whoever draws it is Tier 3's.
    pub backend: u32,
    /// For how many seconds after its last request a client keeps its endpoint; 0: endpoints are shared by connection.
    pub affinity_s: u32,
}
const _: () = assert!(size_of::<WeightedBackend>() == 12);

impl WeightedBackend {
    /// A backend that only userspace serves (invalid, host-local, without endpoints...).
    pub const TIER3: u32 = u32::MAX;
}

/// Value of map `ROUTE_ACTIONS`: what to do with a request of the route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RouteAction {
    /// Flags: [`RouteAction::FORWARDED_HEADERS`], [`RouteAction::AFFINITY`], [`RouteAction::TIER3`], [`RouteAction::COPIED`].
    pub flags: u32,
    /// How many of `backends` are in use.
    pub backends_used: u32,
    /// Sum of the weights; 0: Tier 3's.
    pub total: u32,
    /// Changes whenever the record is given to another route.
    pub generation: u32,
    /// What a client's draw is made from, with [`RouteAction::AFFINITY`]: stands for the route's object.
    pub subject: u64,
    /// In the order of the route's backendRefs, weight 0 left out.
    pub backends: [WeightedBackend; ROUTE_BACKENDS_MAX],
}
const _: () = assert!(size_of::<RouteAction>() == 24 + 12 * ROUTE_BACKENDS_MAX);

impl RouteAction {
    /// Insert X-Forwarded-For and X-Forwarded-Proto.
    pub const FORWARDED_HEADERS: u32 = 1;
    /// One client draws one backend, for as long as the weights stay.
    pub const AFFINITY: u32 = 2;
    /// Userspace must serve it.
    pub const TIER3: u32 = 4;
    /// Userspace must serve those of its requests whose lot ([`crate::Lot`]) is below the entry of `COPIES`.
    pub const COPIED: u32 = 8;
}

/// Value of map `BACKENDS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BackendRecord {
    /// Index in `MAGLEV_TABLES`.
    pub table: u32,
    /// Slots in use of that table; 0: no endpoint, Tier 3 answers.
    pub slots: u32,
    /// [`MaglevTable::serial`] of that table: another one means that one of the two records was just replaced.
    pub serial: u32,
    /// Flags: [`BackendRecord::PROXY_V2`].
    pub flags: u32,
    /// Stands for the backend in [`crate::CachedClient`], on every machine and after every restart.
    pub subject: u64,
}
const _: () = assert!(size_of::<BackendRecord>() == 24);

impl BackendRecord {
    /// Its endpoints are told who the client is: each leg begins with a header of the PROXY protocol, version 2.
    pub const PROXY_V2: u32 = 1;
}

/// Value of map `MAGLEV_TABLES`: the endpoint of each slot, an index of `ENDPOINTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MaglevTable {
    /// Changes whenever the entry gets other contents; never 0.
    pub serial: u32,
    /// Zero.
    pub pad: u32,
    /// Slots; those behind the backend's `slots` are zero.
    pub endpoints: [u16; MAGLEV_SLOTS_MAX + 1],
}
const _: () = assert!(size_of::<MaglevTable>() == 8208);

/// Value of map `ENDPOINTS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EndpointRecord {
    /// Its address.
    pub address: IpAddress,
    /// Our address on the leg.
    pub source: IpAddress,
    /// Its port, network order.
    pub port: [u8; 2],
    /// Flags: [`EndpointRecord::USABLE`], [`EndpointRecord::DRAINING`].
    pub flags: u16,
    /// Changes whenever the record is given to another endpoint.
    pub generation: u32,
    /// Index of the device that its route leaves by.
    pub device: u32,
}
const _: () = assert!(size_of::<EndpointRecord>() == 44 && align_of::<EndpointRecord>() == 4);

impl EndpointRecord {
    /// Legs to it may be opened. Without it the endpoint is gone, and its flows end.
    pub const USABLE: u16 = 1;
    /// It finishes the request in flight; the next one goes elsewhere.
    pub const DRAINING: u16 = 2;
}

/// Value of map `BACKEND_FAILURES` (index as in `ENDPOINTS`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EndpointHealth {
    /// Legs in a row that did not open.
    pub failures: u32,
    /// Flags: [`EndpointHealth::LACKS_OPTIONS`].
    pub flags: u32,
    /// Out of use until then, nanoseconds since boot; after it one leg tries.
    pub ejected_until: u64,
    /// [`EndpointRecord::generation`] of the endpoint that this is about; another one starts anew.
    pub generation: u32,
    /// Zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<EndpointHealth>() == 24);

impl EndpointHealth {
    /// Its SYN-ACK lacked what clients were promised: until `ejected_until` its requests are Tier 3's.
    pub const LACKS_OPTIONS: u32 = 1;
}

/// Value of map `SETTINGS` (one entry): what the agent may change while programs run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// Key of the cookie and of where numbers begin: two words of SipHash.
    pub cookie_key: [u64; 2],
    /// The agent's last sign of life, nanoseconds since boot.
    pub heartbeat: u64,
    /// Passive when the agent has been silent for longer, in nanoseconds.
    pub heartbeat_timeout: u64,
    /// Flags: [`Settings::PASSIVE`], [`Settings::CAPTURES_HEADERS`], [`Settings::TRACE`].
    pub flags: u32,
    /// Largest segment promised to clients over IPv4, in bytes.
    pub mss_v4: u16,
    /// The same over IPv6.
    pub mss_v6: u16,
    /// First port of the SNAT pool.
    pub port_first: u16,
    /// How many ports it has; not 0 unless kernel routing is off.
    pub port_count: u16,
    /// A backend is drawn anew after this many requests on a leg.
    pub redraw_after: u32,
    /// Failures in a row that take an endpoint out; 0: never.
    pub eject_after: u32,
    /// One in this many packets is traced, if [`Settings::TRACE`].
    pub trace_every: u32,
    /// For how long an endpoint is out, in nanoseconds.
    pub eject_for: u64,
    /// Who leaves notes in front of packets, from XDP to TC: drawn by the agent. 0: nobody.
    pub note_owner: u64,
    /// For how long a leg without a client is kept, in nanoseconds; 0: not at all.
    pub pool_idle: u64,
    /// How many of them an endpoint gets, by kind of client: at most [`crate::POOL_PLACES`].
    pub pool_legs: u32,
    /// Zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<Settings>() == 88 && align_of::<Settings>() == 8);

impl Settings {
    /// New connections pass to the stack; flows run out.
    pub const PASSIVE: u32 = 1;
    /// Some route matches on headers: field names are looked up in `HEADER_NAMES`.
    pub const CAPTURES_HEADERS: u32 = 2;
    /// Sampled events go to the ring buffer.
    pub const TRACE: u32 = 4;
    /// With that, responses with a status of 400 and above always do.
    pub const TRACE_ERRORS: u32 = 8;
}

impl Vip {
    /// The listener inserts forwarded headers.
    pub const FORWARDED_HEADERS: u32 = 1;
}
