use wire::{
    CachedClient, CachedEndpoint, Closed, EndpointHealth, EndpointRecord, Event, Flow, Hop, Leg, ListenerKey,
    Lot, Pool, PooledLeg, Reason, Responses, Settings, StoredRequest, Tuple, Vip,
};

use super::{Scratch, Verdict};
use crate::lookup::{Balancing, Tables};
use crate::request::Names;
use crate::sum::Sum;

/// A part of the engine. The number is its place in the program array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Part {
    /// A segment of a client.
    Client = 0,
    /// A segment of a client without a flow.
    First = 1,
    /// A request on a connection that has a flow.
    Request = 2,
    /// Binding the first request of a connection.
    BindFirst = 3,
    /// Binding a later one.
    BindAgain = 4,
    /// Sending the SYN of a leg again, or to another endpoint.
    Reopen = 5,
    /// A segment of an endpoint.
    Endpoint = 6,
    /// The SYN-ACK of an endpoint.
    Open = 7,
    /// The refusal of an endpoint: another one gets the request.
    Elsewhere = 8,
    /// A fragment, or a packet with IP options or extension headers.
    Shape = 9,
    /// A segment of an endpoint on a leg that waits for a client.
    Pooled = 10,
}

impl Part {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Client,
        Self::First,
        Self::Request,
        Self::BindFirst,
        Self::BindAgain,
        Self::Reopen,
        Self::Endpoint,
        Self::Open,
        Self::Elsewhere,
        Self::Shape,
        Self::Pooled,
    ];

    /// The name of the part's program in XDP, if it has one there.
    pub const fn early_program(self) -> Option<&'static str> {
        Some(match self {
            Self::Client => "rauta_xdp_client",
            Self::First => "rauta_xdp_first",
            Self::Request => "rauta_xdp_request",
            Self::BindFirst => "rauta_xdp_bind",
            Self::BindAgain => "rauta_xdp_rebind",
            Self::Reopen => "rauta_xdp_reopen",
            Self::Endpoint => "rauta_xdp_endpoint",
            Self::Open => "rauta_xdp_open",
            Self::Elsewhere => "rauta_xdp_other",
            Self::Pooled => "rauta_xdp_pooled",
            Self::Shape => return None,
        })
    }

    /// The name of the part's program at TC.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Client => "rauta_tc_client",
            Self::First => "rauta_tc_first",
            Self::Request => "rauta_tc_request",
            Self::BindFirst => "rauta_tc_bind",
            Self::BindAgain => "rauta_tc_rebind",
            Self::Reopen => "rauta_tc_reopen",
            Self::Endpoint => "rauta_tc_endpoint",
            Self::Open => "rauta_tc_open",
            Self::Elsewhere => "rauta_tc_other",
            Self::Shape => "rauta_tc_shape",
            Self::Pooled => "rauta_tc_pooled",
        }
    }
}

/// Who has the connection of a tuple on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// No socket.
    Nobody,
    /// A listener waits for connections.
    Listener,
    /// A closed connection waits for late segments.
    TimeWait,
    /// A connection.
    Connection,
}

/// What the host's stack must know to take a connection over: the kernel's `struct bpf_tcp_req_attrs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HandOff {
    /// The client's timestamp.
    pub rcv_tsval: u32,
    /// The timestamp of ours that the client echoes.
    pub rcv_tsecr: u32,
    /// Largest segment of the client, in bytes.
    pub mss: u16,
    /// Shift of our windows.
    pub rcv_wscale: u8,
    /// Shift of the client's windows.
    pub snd_wscale: u8,
    /// 0: no ECN.
    pub ecn_ok: u8,
    /// 1 if windows are scaled.
    pub wscale_ok: u8,
    /// 1 with selective acknowledgements.
    pub sack_ok: u8,
    /// 1 with timestamps.
    pub tstamp_ok: u8,
    /// `usec_ts_ok` (0: unknown) and three reserved bytes: zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<HandOff>() == 20);

/// The packet at hand.
pub trait Packet {
    /// Copies `len` (1 to `N`) bytes at offset `at` of the frame; whether it could.
    fn load<const N: usize>(&mut self, at: u32, into: &mut [u8; N], len: u32) -> bool;

    /// Copies `len` (1 to `ROOM`) bytes to `into + to`; `to + ROOM` must be within `N`.
    fn load_at<const N: usize, const ROOM: usize>(
        &mut self,
        at: u32,
        into: &mut [u8; N],
        to: u32,
        len: u32,
    ) -> bool;

    /// Puts `len` (1 to `N`) bytes at offset `at` of the frame.
    fn store<const N: usize>(&mut self, at: u32, from: &[u8; N], len: u32) -> bool;

    /// Puts `len` (1 to `ROOM`) bytes from `from + skip` at offset `at`; `skip + ROOM` must be within `N`.
    fn store_from<const N: usize, const ROOM: usize>(
        &mut self,
        at: u32,
        from: &[u8; N],
        skip: u32,
        len: u32,
    ) -> bool;

    /// Makes the frame `len` bytes long: cuts its end or adds to it.
    fn resize(&mut self, len: u32) -> bool;

    /// Corrects the checksum field at `at` for what was added to pseudo-header and to the rest. A packet whose checksum is
    /// left to the device has only the sum of the pseudo-header there; the host knows which one it is.
    fn correct(&mut self, at: u32, pseudo: Sum, rest: Sum) -> bool;

    /// Whether it carries a VLAN tag, beside the frame or in it.
    fn is_tagged(&self) -> bool;

    /// Whether it stands for several segments.
    fn is_large(&self) -> bool;

    /// Whether the device or the kernel has verified its checksum: that of each segment before they were joined, too.
    fn is_verified(&self) -> bool;

    /// Whether the frame can become so many bytes longer. Where it always can, nobody is asked.
    #[inline(always)]
    fn has_room(&mut self, _: u32) -> bool {
        true
    }

    /// The sum of the first `len` bytes; up to three bytes behind them are zero.
    fn sum<const N: usize>(&self, bytes: &[u8; N], len: u32) -> Sum;

    /// Index of the device it came in by.
    fn device(&self) -> u32;
}

/// Everything that the engine needs of the world: maps, clock, chance, sockets, routes.
///
/// Map values are raw pointers: other CPUs change them at any time. What must not tear is under the flow's lock or checked
/// by a generation.
pub trait Env: Packet + Tables + Balancing + Names {
    /// Whether another hook sees, in their order, the packets that this one passes. What this one does not decide is
    /// [`Verdict::DEFER`], and not counted: the other decides it as if it were the first. So are all hand-offs, since sockets take
    /// packets of the stack alone, and what seems to come early behind one.
    const PRECEDES: bool = false;

    /// Goes on at another part; what it needs is in the scratch. A kernel program is a part: each is verified by itself.
    fn go_on(&mut self, part: Part, scratch: &mut Scratch) -> Verdict;

    /// Nanoseconds since boot.
    fn now(&self) -> u64;
    /// 32 random bits.
    fn random(&self) -> u32;
    /// Counts.
    fn count(&self, reason: Reason);

    /// `LISTENER_RESPONSES`, of this CPU.
    fn responses(&self, listener: u32) -> Option<*mut Responses>;
    /// `ROUTE_RESPONSES`, of this CPU; none for a route that is not counted by itself.
    fn route_responses(&self, action: u32) -> Option<*mut Responses>;
    /// `ENDPOINT_RESPONSES`, of this CPU; none for an endpoint that is not counted by itself.
    fn endpoint_responses(&self, endpoint: u32) -> Option<*mut Responses>;
    /// Puts an event into `EVENTS`.
    fn tell(&self, event: &Event);

    /// `SETTINGS`.
    fn settings(&self) -> Option<&Settings>;
    /// `VIPS`.
    fn vip(&self, key: &ListenerKey) -> Option<&Vip>;
    /// Whether the sender is in `TRUSTED_PROXIES`.
    fn is_trusted(&self, address: &[u8; 16]) -> bool;
    /// `BACKEND_FAILURES`.
    fn health(&self, endpoint: u32) -> Option<*mut EndpointHealth>;

    /// `FLOW_CACHE`.
    fn cached(&self, key: &CachedClient) -> Option<*mut CachedEndpoint>;
    /// Puts an entry into it; the one that was used longest ago may go for it.
    fn cache(&self, key: &CachedClient, value: &CachedEndpoint);

    /// `FLOWS`.
    fn flow(&self, key: &Tuple) -> Option<*mut Flow>;
    /// Calls `change` with the flow locked. It must call nothing of this trait.
    fn locked<R>(&self, flow: *mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R;
    /// Adds a flow, unless there is one.
    fn insert_flow(&self, key: &Tuple, flow: &Flow) -> bool;
    /// Takes a flow out.
    fn remove_flow(&self, key: &Tuple);

    /// `CLOSED`.
    fn closed(&self, key: &Tuple) -> Option<*mut Closed>;
    /// Remembers a connection in the place of one before.
    fn note_closed(&self, key: &Tuple, closed: &Closed);

    /// Notes the lot of a request in `LOTS`; the one that was noted longest ago may go for it.
    fn note_lot(&self, key: &Tuple, lot: &Lot);

    /// `LEGS`.
    fn leg(&self, key: &Tuple) -> Option<*mut Leg>;
    /// Adds a leg, unless there is one.
    fn insert_leg(&self, key: &Tuple, leg: &Leg) -> bool;
    /// Puts a leg in the place of the one that is there; whether there was one.
    fn change_leg(&self, key: &Tuple, leg: &Leg) -> bool;
    /// Takes a leg out.
    fn remove_leg(&self, key: &Tuple);

    /// `POOLS`.
    fn pool(&self, index: u32) -> Option<*mut Pool>;
    /// Calls `change` with the pool locked. It must call nothing of this trait.
    fn locked_pool<R>(&self, pool: *mut Pool, change: impl FnOnce(&mut Pool) -> R) -> R;
    /// `POOLED_LEGS`.
    fn pooled(&self, key: &Tuple) -> Option<*mut PooledLeg>;
    /// Calls `change` with the leg locked. It must call nothing of this trait.
    fn locked_pooled<R>(&self, leg: *mut PooledLeg, change: impl FnOnce(&mut PooledLeg) -> R) -> R;
    /// Adds a leg to it, unless there is one.
    fn insert_pooled(&self, key: &Tuple, leg: &PooledLeg) -> bool;
    /// Takes a leg out of it.
    fn remove_pooled(&self, key: &Tuple);

    /// The number of the next slot for a stored request, of this CPU.
    fn next_slot(&self) -> u32;
    /// `REQUESTS`.
    fn slot(&self, index: u32) -> Option<*mut StoredRequest>;

    /// Who has the connection of the tuple.
    fn owner(&self, tuple: &Tuple, is_v6: bool) -> Owner;
    /// Gives the packet and its connection to the listener of the tuple; whether one took it.
    fn hand_off(&mut self, tuple: &Tuple, is_v6: bool, attributes: &HandOff) -> bool;
    /// The way to an endpoint, if there is one that the kernel tier can go. Without link addresses the host finds them.
    fn way(&self, endpoint: &EndpointRecord) -> Option<Hop>;
}
