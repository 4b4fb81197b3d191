//! Packet headers, and the map keys and values shared with the kernel.
//!
//! Everything here compiles unchanged for the host and for the kernel (`bpfel-unknown-none`): no allocation, no
//! panics, no slices. A [`Cursor`] walks the packet with the one form of bounds check that the verifier follows;
//! [`Segment::parse`] turns a frame into what the programs decide on. Addresses and ports in shared records are
//! byte arrays in network order; a `u16` port is always in host order.

#![cfg_attr(not(test), no_std)]

mod affinity;
mod balancing;
mod copies;
mod cursor;
mod device;
mod ethernet;
mod flow;
mod icmp;
mod ip;
mod maps;
mod observe;
mod payload;
mod pool;
mod reason;
mod routing;
mod segment;
mod segment_error;
mod tcp;

pub use affinity::{BACKEND_MEMBERS_MAX, CachedClient, CachedEndpoint, FLOW_CACHE_MAX, Member};
pub use balancing::{
    BACKENDS_MAX, BackendRecord, ENDPOINTS_MAX, EndpointHealth, EndpointRecord, MAGLEV_SLOTS_MAX,
    MAGLEV_TABLES_MAX, MaglevTable, ROUTE_ACTIONS_MAX, ROUTE_BACKENDS_MAX, RouteAction, Settings, Vip,
    WeightedBackend,
};
pub use copies::{LOTS_MAX, Lot};
pub use cursor::Cursor;
pub use device::{DEVICES_MAX, Device, Notes};
pub use ethernet::{EtherType, EthernetHeader, VlanTag, link_header};
pub use flow::{
    Closed, FLOWS_MAX, Flow, Hop, Leg, POINTS_MAX, REQUEST_MAX, REQUESTS_PER_CPU, StoredRequest, TcpOptions,
    Tuple, bpf_spin_lock,
};
pub use icmp::TooBig;
pub use ip::{IpAddress, Ipv4Header, Ipv6Header, NetworkHeader, ip_protocol};
pub use maps::{LAYOUT_VERSION, LISTENERS_MAX, ListenerCounters, ListenerKey, Metrics};
pub use observe::{BUCKETS, EVENT_HOST, EVENT_PATH, Event, RESPONSES_MAX, Responses};
pub use payload::{
    CAPTURES_MAX, HEADER_NAME_MAX, Method, PAYLOAD_MAX, PAYLOAD_ROOM, Payload, PayloadSpan, RequestFacts,
    ResponseFacts,
};
pub use pool::{POOL_PLACES, POOLED_LEGS_MAX, POOLS_MAX, Pool, PooledLeg, PooledPort};
pub use reason::Reason;
pub use routing::{
    CANDIDATES_MAX, CONDITIONS_MAX, Candidate, FNV_OFFSET, FNV_PRIME, HEADER_CONDITIONS_MAX,
    HEADER_VALUE_MAX, HOST_MAX, HOSTS_MAX, HeaderCondition, HeaderConditions, HostKey, HostRecord, PATH_MAX,
    PREFIX_ROUTES_MAX, PrefixKey, PrefixRecord, ROUTES_MAX, RouteKey, RouteRecord, SCOPES_MAX, fnv1a,
};
pub use segment::{Segment, listener_of};
pub use segment_error::SegmentError;
pub use tcp::{TcpFlags, TcpHeader};
