//! Records of spliced connections: one per client connection, one per leg to an endpoint.

use core::hash::{Hash, Hasher};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute_ref};

use crate::IpAddress;

/// How many client connections the kernel can splice at once, by default.
pub const FLOWS_MAX: usize = 65_536;

/// Insertion points whose bytes the endpoint may not have acknowledged yet; more and a request waits.
pub const POINTS_MAX: usize = 8;

/// Addresses and ports of a segment as it arrives: key of `FLOWS` (client to VIP) and of `LEGS` (endpoint to us).
///
/// Aligned to words, or the compiler would have programs copy it byte by byte.
#[derive(Debug, Clone, Copy, Default, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Tuple {
    /// Sender.
    pub source: IpAddress,
    /// Receiver.
    pub destination: IpAddress,
    /// Port of the sender, network order.
    pub source_port: [u8; 2],
    /// Port of the receiver, network order.
    pub destination_port: [u8; 2],
}
const _: () = assert!(size_of::<Tuple>() == 36 && align_of::<Tuple>() == 4);

/// By words and without branches: the derived form calls a loop over bytes.
impl PartialEq for Tuple {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let (a, b): (&[u32; 9], &[u32; 9]) = (transmute_ref!(self), transmute_ref!(other));
        let mut differs = 0;
        let mut i = 0;
        while i < 9 {
            differs |= a[i] ^ b[i];
            i += 1;
        }
        differs == 0
    }
}

impl Hash for Tuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Tuple {
    /// The same connection as the other side sends it.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// The way to the next hop: the device and the addresses of the link header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hop {
    /// Index of the device to leave by; 0: not known.
    pub device: u32,
    /// Link address of the next hop.
    pub destination: [u8; 6],
    /// Link address of the device.
    pub source: [u8; 6],
}
const _: () = assert!(size_of::<Hop>() == 16 && align_of::<Hop>() == 4);

/// The lock inside a [`Flow`]. Kernel and verifier know it by this name and shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct bpf_spin_lock {
    /// The kernel's.
    pub val: u32,
}
const _: () = assert!(size_of::<bpf_spin_lock>() == 4 && align_of::<bpf_spin_lock>() == 4);

/// What the ends agreed on in their handshakes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TcpOptions {
    /// Largest segment that the end takes, in bytes.
    pub mss: u16,
    /// Shift of the windows that the end announces; [`TcpOptions::NO_SCALE`]: none.
    pub window_scale: u8,
    /// Bit set: [`TcpOptions::SACK`], [`TcpOptions::TIMESTAMPS`].
    pub flags: u8,
}
const _: () = assert!(size_of::<TcpOptions>() == 4 && align_of::<TcpOptions>() == 2);

impl TcpOptions {
    /// No window scaling (RFC 7323 allows shifts up to 14).
    pub const NO_SCALE: u8 = 15;
    /// Selective acknowledgements (RFC 2018).
    pub const SACK: u8 = 1;
    /// Timestamps (RFC 7323).
    pub const TIMESTAMPS: u8 = 2;

    /// Whether timestamps are in use.
    #[inline(always)]
    pub const fn timestamps(&self) -> bool {
        self.flags & Self::TIMESTAMPS != 0
    }

    /// Whether selective acknowledgements are in use.
    #[inline(always)]
    pub const fn sack(&self) -> bool {
        self.flags & Self::SACK != 0
    }
}

/// Value of map `FLOWS`: a client connection and its current leg. Guarded by its lock; both directions change it.
///
/// Sequence numbers are in the space of the client unless the name starts with `leg_`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flow {
    /// Held while the record is read or changed.
    pub lock: bpf_spin_lock,
    /// A `dataplane::flow::State`; 0 in a record that is no longer or not yet in use.
    pub state: u8,
    /// Flags: who has closed, what was said. `dataplane::flow::flag`.
    pub flags: u8,
    /// Requests given to the leg whose final response has not ended, at most 32.
    pub outstanding: u8,
    /// How often the current request was sent to an endpoint that did not answer.
    pub tries: u8,
    /// Client to VIP, as the client sends.
    pub client: Tuple,
    /// Endpoint to our source address, as the endpoint sends; all zero without a leg.
    pub leg: Tuple,
    /// To the client.
    pub down: Hop,
    /// To the endpoint.
    pub up: Hop,
    /// What the client announced.
    pub client_options: TcpOptions,
    /// What the endpoint announced.
    pub leg_options: TcpOptions,
    /// Nanoseconds since boot of the last segment of either side.
    pub last_seen: u64,
    /// When the flow began, nanoseconds since boot.
    pub began: u64,
    /// When the oldest outstanding request arrived, nanoseconds since boot; 0 once its first response byte was seen.
    pub asked: u64,

    /// First byte of the next request: everything before it belongs to requests that were decided.
    pub next_seq: u32,
    /// Just behind the highest byte that the client sent.
    pub client_end: u32,
    /// Our initial sequence number: the cookie.
    pub isn: u32,
    /// First byte of a connection on the same ports whose SYN was answered while this one was silent.
    pub offered_seq: u32,
    /// And its acknowledgement; 0: there is none.
    pub offered_ack: u32,
    /// When the client was last challenged, in milliseconds since boot, cut to 32 bits.
    pub challenged: u32,
    /// Just behind the highest byte that was sent to the client: what the client will acknowledge.
    pub sent_end: u32,
    /// The client's highest acknowledgement.
    pub client_ack: u32,
    /// First byte of the request that opened the leg.
    pub request_seq: u32,
    /// First byte of the newest request on the leg.
    pub newest_seq: u32,
    /// Acknowledgement in the segment of the request that opened the leg.
    pub request_ack: u32,
    /// Timestamps of that segment.
    pub request_tsval: u32,
    /// Timestamps of that segment.
    pub request_tsecr: u32,
    /// Newest timestamp sent to the client.
    pub sent_tsval: u32,
    /// Newest timestamp of the client.
    pub client_tsval: u32,
    /// Window of that segment, as it stood in the header.
    pub request_window: u16,
    /// Length of the text inserted at each point, in bytes.
    pub insert_len: u16,
    /// The client's FIN is this byte, if its flag is set.
    pub client_fin: u32,

    /// Sequence number of our SYN on the leg.
    pub leg_isn: u32,
    /// Sequence number of the endpoint's SYN-ACK; after 2^31 bytes, one farther back than any window.
    pub leg_peer_isn: u32,
    /// Just behind the highest byte that the endpoint sent.
    pub leg_end: u32,
    /// The endpoint's highest acknowledgement.
    pub leg_ack: u32,
    /// The endpoint's FIN is this byte, if its flag is set.
    pub leg_fin: u32,
    /// Where the next response head or body boundary is expected.
    pub leg_next: u32,
    /// Timestamp of our SYN.
    pub leg_tsval: u32,
    /// Newest timestamp of the endpoint.
    pub leg_peer_tsval: u32,

    /// Added to what the client sends, insertions not counted.
    pub seq_add: u32,
    /// Added to the acknowledgements of the client.
    pub ack_add: u32,
    /// Added to the timestamps of the client.
    pub tsval_add: u32,
    /// Added to the timestamp echoes of the client.
    pub tsecr_add: u32,

    /// Insertion points (client space, ascending) whose bytes the endpoint may not have acknowledged.
    pub points: [u32; POINTS_MAX],
    /// How many of `points` are in use.
    pub points_used: u8,
    /// A `dataplane::response::Phase`.
    pub phase: u8,
    /// Digits of a chunk size read so far.
    pub chunk_digits: u8,
    /// Consecutive repetitions of a held request.
    pub held: u8,
    /// Bytes of body or chunk still to come behind `leg_next`.
    pub remaining: u64,
    /// Bit k: the k-th outstanding request, oldest first, is a HEAD.
    pub heads: u32,
    /// Requests on this connection so far.
    pub requests: u32,
    /// Legs of this connection so far.
    pub legs: u32,
    /// The held request's first byte, to know it again.
    pub held_seq: u32,
    /// `leg_end` when the request was held.
    pub held_end: u32,
    /// Slot of the stored request in `REQUESTS`.
    pub slot: u32,

    /// Route of the newest request.
    pub route: u32,
    /// Backend of the leg.
    pub backend: u32,
    /// Endpoint of the leg.
    pub endpoint: u32,
    /// The endpoint's generation when it was chosen.
    pub endpoint_generation: u32,
    /// Listener, as an index of counters.
    pub listener: u32,
    /// Requests on this leg since the backend was drawn, but for the one that bound the leg.
    pub drawn: u32,
    /// The VIP's largest segment, as promised to the client.
    pub vip_mss: u16,
    /// The window shift we promised the client; [`TcpOptions::NO_SCALE`]: none.
    pub vip_scale: u8,
    /// Segments in a row that were sent before: to the endpoint in the lower four bits, to the client in the upper ones.
    pub repeats: u8,
    /// `BackendRecord::serial` when the leg was chosen or last found to be right.
    pub backend_serial: u32,
    /// Bytes that the endpoint is told first on the leg, and [`Flow::TOLD_HEARD`] once it has acknowledged them; 0: none.
    pub told: u32,
    /// What is known of the leg: `dataplane::flow::leg_flag`.
    pub leg_flags: u32,
    /// Where the newest request says `close`, which the endpoint is not told, if its flag is set.
    pub close_at: u32,
    /// Where its response said `keep-alive`, in whose place the client is told `close`, if its flag is set.
    pub told_at: u32,
}
const _: () = assert!(align_of::<Flow>() == 8 && size_of::<Flow>().is_multiple_of(8));

impl Flow {
    /// Bit of [`Flow::told`].
    pub const TOLD_HEARD: u32 = 1 << 31;
}

/// Value of map `CLOSED` (least recently used go first): the newest connection of a client's tuple that has no record any more, or
/// never had one. A late copy of its first request shows a cookie that is still valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Closed {
    /// Our initial sequence number: the cookie.
    pub isn: u32,
    /// 0 while userspace may still have to be given the connection again, then [`Closed::OVER`]; or, if the client closed last, what its
    /// FIN acknowledged: should that come again, our answer was lost.
    pub is_over: u32,
}
const _: () = assert!(size_of::<Closed>() == 8 && align_of::<Closed>() == 4);

impl Closed {
    /// It is over.
    pub const OVER: u32 = 1;
}

/// Value of map `LEGS`: whose leg it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Leg {
    /// When it was opened or given up, nanoseconds since boot.
    pub opened: u64,
    /// Key in `FLOWS`; all zero for a leg that was given up and waits to be reset.
    pub client: Tuple,
    /// Of a leg that was given up: the next byte that the endpoint expects.
    pub reset_seq: u32,
    /// Of a leg that was given up: the way to the endpoint.
    pub up: Hop,
}
const _: () = assert!(size_of::<Leg>() == 64 && align_of::<Leg>() == 8);

/// Bytes of a request that can be kept for the SYN-ACK, inserted text included.
pub const REQUEST_MAX: usize = 3072;

/// Stored requests per CPU; a slot is reused after as many binds.
pub const REQUESTS_PER_CPU: u32 = 512;

/// Value of map `REQUESTS`: the request that waits for the endpoint's SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StoredRequest {
    /// Whose it is: the leg's tuple as the endpoint sends.
    pub leg: Tuple,
    /// And the ISN of its SYN.
    pub leg_isn: u32,
    /// How many bytes are valid.
    pub len: u32,
    /// Their one's complement sum in 16-bit words, folded, network order as loaded on this machine.
    pub sum: u32,
    /// The request with what was inserted.
    pub bytes: [u8; REQUEST_MAX],
}
const _: () = assert!(size_of::<StoredRequest>() == 48 + REQUEST_MAX);
