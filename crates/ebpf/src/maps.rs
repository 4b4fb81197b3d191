//! Every map of the programs. The agent pins each under its own name, and fills all but the flows.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf},
    macros::btf_map,
};
use dataplane::engine::{Part, Scratch};
use wire::{
    BACKEND_MEMBERS_MAX, BACKENDS_MAX, BackendRecord, CANDIDATES_MAX, CachedClient, CachedEndpoint,
    Candidate, Closed, DEVICES_MAX, Device, ENDPOINTS_MAX, EndpointHealth, EndpointRecord, FLOW_CACHE_MAX,
    FLOWS_MAX, Flow, HEADER_CONDITIONS_MAX, HEADER_NAME_MAX, HOSTS_MAX, HeaderConditions, HostKey,
    HostRecord, LISTENERS_MAX, LOTS_MAX, Leg, ListenerCounters, ListenerKey, Lot, MAGLEV_TABLES_MAX,
    MaglevTable, Member, Metrics, Notes, POOLED_LEGS_MAX, POOLS_MAX, PREFIX_ROUTES_MAX, Pool, PooledLeg,
    PrefixKey, PrefixRecord, REQUESTS_PER_CPU, RESPONSES_MAX, ROUTE_ACTIONS_MAX, ROUTES_MAX, Reason,
    Responses, RouteAction, RouteKey, RouteRecord, Settings, StoredRequest, Tuple, Vip,
};

/// The six counters of the whole data plane.
#[btf_map]
pub static METRICS: PerCpuArray<Metrics, 1> = PerCpuArray::new();

/// Our listeners; what arrived at each, counted here.
#[btf_map]
pub static LISTENER_COUNTERS: PerCpuHashMap<ListenerKey, ListenerCounters, LISTENERS_MAX> =
    PerCpuHashMap::new();

/// How often each [`Reason`] was met.
#[btf_map]
pub static REASONS: PerCpuArray<u64, { Reason::SLOTS }> = PerCpuArray::new();

/// What the agent may change while we run.
#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// The sockets that clients dial and the kernel routes for.
#[btf_map]
pub static VIPS: HashMap<ListenerKey, Vip, LISTENERS_MAX> = HashMap::new();

/// Client connections.
#[btf_map]
pub static FLOWS: HashMap<Tuple, Flow, FLOWS_MAX> = HashMap::new();

/// Connections that are over: late copies of their first requests are known by it.
#[btf_map]
pub static CLOSED: LruHashMap<Tuple, Closed, FLOWS_MAX> = LruHashMap::new();

/// Legs to endpoints; they outlive their flows until they are reset.
#[btf_map]
pub static LEGS: HashMap<Tuple, Leg, { 2 * FLOWS_MAX }> = HashMap::new();

/// Legs without a client. Takes memory only for those that there are.
#[btf_map]
pub static POOLED_LEGS: HashMap<Tuple, PooledLeg, POOLED_LEGS_MAX, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Where to look for them, by endpoint and kind of client.
#[btf_map]
pub static POOLS: Array<Pool, POOLS_MAX> = Array::new();

/// Requests that wait for a SYN-ACK: [`REQUESTS_PER_CPU`] for each CPU. The agent sizes it for the machine.
#[btf_map]
pub static REQUESTS: Array<StoredRequest, { 2 * REQUESTS_PER_CPU as usize }> = Array::new();

/// The number of this CPU's next request.
#[btf_map]
pub static NEXT_REQUEST: PerCpuArray<u32, 1> = PerCpuArray::new();

/// Room for one packet's decisions.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Host names.
#[btf_map]
pub static HOSTS: LpmTrie<[u8; size_of::<HostKey>() - 4], HostRecord, HOSTS_MAX> = LpmTrie::new();

/// Exact paths.
#[btf_map]
pub static ROUTES: HashMap<RouteKey, RouteRecord, ROUTES_MAX> = HashMap::new();

/// Path prefixes.
#[btf_map]
pub static PREFIX_ROUTES: LpmTrie<[u8; size_of::<PrefixKey>() - 4], PrefixRecord, PREFIX_ROUTES_MAX> =
    LpmTrie::new();

/// Matches of a path, in order.
#[btf_map]
pub static CANDIDATES: Array<Candidate, CANDIDATES_MAX> = Array::new();

/// Header conditions of candidates.
#[btf_map]
pub static HEADER_CONDITIONS: Array<HeaderConditions, HEADER_CONDITIONS_MAX> = Array::new();

/// Field names that routes match on, and their numbers.
#[btf_map]
pub static HEADER_NAMES: HashMap<[u8; HEADER_NAME_MAX], u32, 16> = HashMap::new();

/// What to do with a route's requests.
#[btf_map]
pub static ROUTE_ACTIONS: Array<RouteAction, ROUTE_ACTIONS_MAX> = Array::new();

/// By action: requests with a lot below are copied.
#[btf_map]
pub static COPIES: Array<u32, ROUTE_ACTIONS_MAX> = Array::new();

/// The lots of requests that went to userspace, by connection. When it is full the one that was noted longest ago goes.
#[btf_map]
pub static LOTS: LruHashMap<Tuple, Lot, LOTS_MAX> = LruHashMap::new();

/// Backends.
#[btf_map]
pub static BACKENDS: Array<BackendRecord, BACKENDS_MAX> = Array::new();

/// Maglev tables.
#[btf_map]
pub static MAGLEV_TABLES: Array<MaglevTable, MAGLEV_TABLES_MAX> = Array::new();

/// Endpoints.
#[btf_map]
pub static ENDPOINTS: Array<EndpointRecord, ENDPOINTS_MAX> = Array::new();

/// Legs that did not open, by endpoint.
#[btf_map]
pub static BACKEND_FAILURES: Array<EndpointHealth, ENDPOINTS_MAX> = Array::new();

/// Which endpoint a client has. The agent sizes it; when it is full the client that was silent longest goes.
#[btf_map]
pub static FLOW_CACHE: LruHashMap<CachedClient, CachedEndpoint, FLOW_CACHE_MAX> = LruHashMap::new();

/// Endpoints of the backends whose clients stay. Takes memory only for what is in it.
#[btf_map]
pub static BACKEND_MEMBERS: HashMap<
    Member,
    u32,
    { 2 * BACKEND_MEMBERS_MAX },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// Senders whose forwarding headers are believed.
#[btf_map]
pub static TRUSTED_PROXIES: LpmTrie<[u8; 16], u32, 1024> = LpmTrie::new();

/// The programs of the engine's parts at TC, by number.
#[btf_map]
pub static PARTS: ProgramArray<{ Part::ALL.len() }> = ProgramArray::new();

/// The same in XDP.
#[btf_map]
pub static XDP_PARTS: ProgramArray<{ Part::ALL.len() }> = ProgramArray::new();

/// The interfaces that XDP works with.
#[btf_map]
pub static XDP_DEVICES: HashMap<u32, Device, DEVICES_MAX> = HashMap::new();

/// What becomes of the notes that XDP leaves to TC, by the interface that has both.
#[btf_map]
pub static NOTES: PerCpuHashMap<u32, Notes, DEVICES_MAX> = PerCpuHashMap::new();

/// Responses by status class and time to their first byte, by listener.
#[btf_map]
pub static LISTENER_RESPONSES: PerCpuArray<Responses, RESPONSES_MAX> = PerCpuArray::new();

/// The same by route, an index of `ROUTE_ACTIONS`. The agent sizes it for as many routes as are wanted by settings.
#[btf_map]
pub static ROUTE_RESPONSES: PerCpuArray<Responses, 1> = PerCpuArray::new();

/// The same by endpoint, an index of `ENDPOINTS`.
#[btf_map]
pub static ENDPOINT_RESPONSES: PerCpuArray<Responses, 1> = PerCpuArray::new();

/// Sampled events for `rauta trace` and the access log: values are [`wire::Event`]s. Named as type of the values libbpf would refuse it.
#[btf_map]
pub static EVENTS: RingBuf<(), { 1024 * 1024 }> = RingBuf::new();
