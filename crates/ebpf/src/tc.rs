//! The engine's world at the TC hook: maps, and helpers on socket buffers.

use core::{ffi::c_void, mem};

use aya_ebpf::{
    EbpfContext,
    bindings::{
        __sk_buff, BPF_CSUM_LEVEL_QUERY, BPF_EXIST, BPF_F_CURRENT_NETNS, BPF_F_PSEUDO_HDR, BPF_NOEXIST,
        bpf_sock, bpf_sock_tuple,
    },
    btf_maps::lpm_trie::Key,
    helpers::generated::{
        bpf_csum_diff, bpf_csum_level, bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_ns,
        bpf_l4_csum_replace, bpf_sk_release, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
        bpf_skc_lookup_tcp, bpf_skc_to_tcp_sock, bpf_spin_lock, bpf_spin_unlock,
    },
    programs::TcContext,
};
use dataplane::{
    engine::{Env, HandOff, Owner, Packet, Part, Scratch, Verdict},
    lookup::{Balancing, Tables},
    opaque::opaque,
    request::Names,
    sum::Sum,
};
use wire::{
    BackendRecord, CachedClient, CachedEndpoint, Candidate, Closed, EndpointHealth, EndpointRecord, Event,
    Flow, HEADER_NAME_MAX, HeaderConditions, Hop, HostKey, HostRecord, Leg, ListenerKey, MaglevTable, Member,
    PrefixKey, PrefixRecord, REQUESTS_PER_CPU, Reason, Responses, RouteAction, RouteKey, RouteRecord,
    Settings, StoredRequest, Tuple, Vip,
};

use crate::maps::{
    BACKEND_FAILURES, BACKEND_MEMBERS, BACKENDS, CANDIDATES, CLOSED, ENDPOINT_RESPONSES, ENDPOINTS, EVENTS,
    FLOW_CACHE, FLOWS, HEADER_CONDITIONS, HEADER_NAMES, HOSTS, LEGS, LISTENER_RESPONSES, MAGLEV_TABLES,
    METRICS, NEXT_REQUEST, PARTS, PREFIX_ROUTES, REASONS, REQUESTS, ROUTE_ACTIONS, ROUTE_RESPONSES, ROUTES,
    SETTINGS, TRUSTED_PROXIES, VIPS,
};

/// States of a socket (`include/net/tcp_states.h`).
const TCP_TIME_WAIT: u32 = 6;
const TCP_LISTEN: u32 = 10;

/// One packet at the TC hook.
pub struct Tc<'c> {
    ctx: &'c TcContext,
}

impl<'c> Tc<'c> {
    /// The engine's world for the packet of `ctx`.
    #[inline(always)]
    pub const fn new(ctx: &'c TcContext) -> Self {
        Self { ctx }
    }

    /// Whether the packet is for a VLAN. The kernel takes the tag off for the VLAN's device, whose hook sees it then; here
    /// it is nobody's. A tag without a VLAN (IEEE 802.1p) is not meant.
    #[inline(always)]
    pub fn is_of_vlan(&self) -> bool {
        // SAFETY: fields of the context.
        unsafe { (*self.skb()).vlan_present != 0 && (*self.skb()).vlan_tci & 0xfff != 0 }
    }

    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.ctx.skb.skb
    }
}

/// A length from 1 to `most`, in a form that the verifier believes.
#[inline(always)]
fn length(len: u32, most: usize) -> Option<u32> {
    let less = opaque(u64::from(len).wrapping_sub(1));
    if less >= most as u64 {
        return None;
    }
    Some(less as u32 + 1)
}

/// An offset up to `most`, in a form that the verifier believes.
#[inline(always)]
fn offset(at: u32, most: usize) -> Option<usize> {
    let at = opaque(u64::from(at));
    if at > most as u64 {
        return None;
    }
    Some(at as usize)
}

impl Packet for Tc<'_> {
    #[inline(always)]
    fn load<const N: usize>(&mut self, at: u32, into: &mut [u8; N], len: u32) -> bool {
        let Some(len) = length(len, N) else { return false };
        // SAFETY: `len` bytes fit into the array.
        unsafe { bpf_skb_load_bytes(self.ctx.as_ptr(), at, into.as_mut_ptr().cast(), len) == 0 }
    }

    #[inline(always)]
    fn load_at<const N: usize, const ROOM: usize>(
        &mut self,
        at: u32,
        into: &mut [u8; N],
        to: u32,
        len: u32,
    ) -> bool {
        const { assert!(ROOM <= N) };
        let (Some(to), Some(len)) = (offset(to, N - ROOM), length(len, ROOM)) else { return false };
        // SAFETY: `to` leaves ROOM bytes in the array, and `len` is no more.
        unsafe { bpf_skb_load_bytes(self.ctx.as_ptr(), at, into.as_mut_ptr().add(to).cast(), len) == 0 }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: u32, from: &[u8; N], len: u32) -> bool {
        let Some(len) = length(len, N) else { return false };
        // SAFETY: `len` bytes are in the array.
        unsafe { bpf_skb_store_bytes(self.skb(), at, from.as_ptr().cast(), len, 0) == 0 }
    }

    #[inline(always)]
    fn store_from<const N: usize, const ROOM: usize>(
        &mut self,
        at: u32,
        from: &[u8; N],
        skip: u32,
        len: u32,
    ) -> bool {
        const { assert!(ROOM <= N) };
        let (Some(skip), Some(len)) = (offset(skip, N - ROOM), length(len, ROOM)) else { return false };
        // SAFETY: as in `load_at`.
        unsafe { bpf_skb_store_bytes(self.skb(), at, from.as_ptr().add(skip).cast(), len, 0) == 0 }
    }

    #[inline(always)]
    fn resize(&mut self, len: u32) -> bool {
        // SAFETY: a plain helper; nothing points into the packet.
        self.ctx.len() == len || unsafe { bpf_skb_change_tail(self.skb(), len, 0) == 0 }
    }

    #[inline(always)]
    fn correct(&mut self, at: u32, pseudo: Sum, rest: Sum) -> bool {
        // SAFETY: plain helpers. Without a size the difference itself is what is given; the helper knows whether the
        // checksum is left to the device.
        unsafe {
            bpf_l4_csum_replace(self.skb(), at, 0, u64::from(rest.folded()), 0) == 0
                && bpf_l4_csum_replace(
                    self.skb(),
                    at,
                    0,
                    u64::from(pseudo.folded()),
                    u64::from(BPF_F_PSEUDO_HDR),
                ) == 0
        }
    }

    #[inline(always)]
    fn is_tagged(&self) -> bool {
        // SAFETY: a field of the context. The kernel moves the outer tag there before the hook.
        unsafe { (*self.skb()).vlan_present != 0 }
    }

    #[inline(always)]
    fn is_large(&self) -> bool {
        // SAFETY: a field of the context.
        unsafe { (*self.skb()).gso_size != 0 }
    }

    #[inline(always)]
    fn is_verified(&self) -> bool {
        // SAFETY: a plain helper. It refuses unless the packet says CHECKSUM_UNNECESSARY, as one says that GRO has looked at.
        self.is_large() || unsafe { bpf_csum_level(self.skb(), u64::from(BPF_CSUM_LEVEL_QUERY)) >= 0 }
    }

    #[inline(always)]
    fn sum<const N: usize>(&self, bytes: &[u8; N], len: u32) -> Sum {
        // Kernels before 6.13 take 512 bytes at a time.
        const PIECE: u32 = 512;
        let len = (len + 3) & !3;
        let mut sum = 0u32;
        let mut at = 0;
        while at < N as u32 && at < wire::PAYLOAD_MAX as u32 {
            let room = (N as u32 - at).min(PIECE);
            if let Some(piece) = length(len.saturating_sub(at).min(room), room as usize) {
                // SAFETY: `piece` bytes behind `at` are in the array; the helper only reads.
                sum = unsafe {
                    let from = bytes.as_ptr().add(at as usize).cast_mut().cast();
                    bpf_csum_diff(core::ptr::null_mut(), 0, from, piece, sum) as u32
                };
            }
            at += PIECE;
        }
        Sum(u64::from(sum))
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        // SAFETY: a field of the context.
        unsafe { (*self.skb()).ifindex }
    }
}

/// A trie's key with its length in front, as the kernel wants it.
#[inline(always)]
const fn trie_key<K, const N: usize>(key: &K) -> &Key<[u8; N]> {
    const { assert!(size_of::<K>() == N + 4) };
    // SAFETY: `Key` is packed: the length in bits, then the bytes.
    unsafe { &*(&raw const *key).cast() }
}

impl Tables for Tc<'_> {
    #[inline(always)]
    fn host<'t>(&'t self, key: &HostKey) -> Option<&'t HostRecord> {
        HOSTS.get(trie_key(key))
    }

    #[inline(always)]
    fn route<'t>(&'t self, key: &RouteKey) -> Option<&'t RouteRecord> {
        // SAFETY: the reader checks that the record is still its key's.
        unsafe { ROUTES.get(key) }
    }

    #[inline(always)]
    fn prefix<'t>(&'t self, key: &PrefixKey) -> Option<&'t PrefixRecord> {
        PREFIX_ROUTES.get(trie_key(key))
    }

    #[inline(always)]
    fn candidate(&self, index: u32) -> Option<&Candidate> {
        CANDIDATES.get(index)
    }

    #[inline(always)]
    fn conditions(&self, index: u32) -> Option<&HeaderConditions> {
        HEADER_CONDITIONS.get(index)
    }
}

impl Balancing for Tc<'_> {
    #[inline(always)]
    fn action(&self, index: u32) -> Option<&RouteAction> {
        ROUTE_ACTIONS.get(index)
    }

    #[inline(always)]
    fn backend(&self, index: u32) -> Option<&BackendRecord> {
        BACKENDS.get(index)
    }

    #[inline(always)]
    fn table(&self, index: u32) -> Option<&MaglevTable> {
        MAGLEV_TABLES.get(index)
    }

    #[inline(always)]
    fn endpoint(&self, index: u32) -> Option<&EndpointRecord> {
        ENDPOINTS.get(index)
    }

    #[inline(always)]
    fn member(&self, key: &Member) -> Option<u32> {
        // SAFETY: four bytes, copied at once.
        unsafe { BACKEND_MEMBERS.get(key) }.copied()
    }
}

impl Names for Tc<'_> {
    #[inline(always)]
    fn number(&self, name: &[u8; HEADER_NAME_MAX]) -> Option<u8> {
        // SAFETY: four bytes, copied at once.
        unsafe { HEADER_NAMES.get(name) }.map(|number| *number as u8)
    }
}

impl Env for Tc<'_> {
    #[inline(always)]
    fn go_on(&mut self, part: Part, _: &mut Scratch) -> Verdict {
        // SAFETY: a plain helper. It returns only if the agent has not put the program there: the peer sends again.
        unsafe { PARTS.tail_call(self.ctx, part as u32) };
        Verdict::DROP
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a plain helper.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a plain helper.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        if let Some(counter) = REASONS.get_ptr_mut(reason as u32) {
            // SAFETY: a live value of this CPU.
            unsafe { *counter += 1 };
        }
        if reason as u8 == Reason::HandUndecidable as u8
            && let Some(metrics) = METRICS.get_ptr_mut(0)
        {
            // SAFETY: as above.
            unsafe { (*metrics).http_parse_errors += 1 };
        }
    }

    #[inline(always)]
    fn responses(&self, listener: u32) -> Option<*mut Responses> {
        LISTENER_RESPONSES.get_ptr_mut(listener)
    }

    #[inline(always)]
    fn route_responses(&self, action: u32) -> Option<*mut Responses> {
        ROUTE_RESPONSES.get_ptr_mut(action)
    }

    #[inline(always)]
    fn endpoint_responses(&self, endpoint: u32) -> Option<*mut Responses> {
        ENDPOINT_RESPONSES.get_ptr_mut(endpoint)
    }

    #[inline(always)]
    fn tell(&self, event: &Event) {
        // A full buffer loses events: nobody reads them.
        let _ = EVENTS.output_untyped::<Event>(event, 0);
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn vip(&self, key: &ListenerKey) -> Option<&Vip> {
        // SAFETY: copied at once; a listener that goes away meanwhile has its last packet.
        unsafe { VIPS.get(key) }
    }

    #[inline(always)]
    fn is_trusted(&self, address: &[u8; 16]) -> bool {
        TRUSTED_PROXIES.get(&Key::new(128, *address)).is_some()
    }

    #[inline(always)]
    fn health(&self, endpoint: u32) -> Option<*mut EndpointHealth> {
        BACKEND_FAILURES.get_ptr_mut(endpoint)
    }

    #[inline(always)]
    fn cached(&self, key: &CachedClient) -> Option<*mut CachedEndpoint> {
        FLOW_CACHE.get_ptr_mut(key)
    }

    #[inline(always)]
    fn cache(&self, key: &CachedClient, value: &CachedEndpoint) {
        // Without it the client's next choice is its first one again.
        let _ = FLOW_CACHE.insert(key, value, 0);
    }

    #[inline(always)]
    fn flow(&self, key: &Tuple) -> Option<*mut Flow> {
        FLOWS.get_ptr_mut(key)
    }

    #[inline(always)]
    fn locked<R>(&self, flow: *mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R {
        // SAFETY: a live map value, which the lock in it makes ours alone until it is released.
        unsafe {
            let lock = (&raw mut (*flow).lock).cast();
            bpf_spin_lock(lock);
            let result = change(&mut *flow);
            bpf_spin_unlock(lock);
            result
        }
    }

    #[inline(always)]
    fn insert_flow(&self, key: &Tuple, flow: &Flow) -> bool {
        FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn remove_flow(&self, key: &Tuple) {
        let _ = FLOWS.remove(key);
    }

    #[inline(always)]
    fn closed(&self, key: &Tuple) -> Option<*mut Closed> {
        CLOSED.get_ptr_mut(key)
    }

    #[inline(always)]
    fn note_closed(&self, key: &Tuple, closed: &Closed) {
        let _ = CLOSED.insert(key, closed, 0);
    }

    #[inline(always)]
    fn leg(&self, key: &Tuple) -> Option<*mut Leg> {
        LEGS.get_ptr_mut(key)
    }

    #[inline(always)]
    fn insert_leg(&self, key: &Tuple, leg: &Leg) -> bool {
        LEGS.insert(key, leg, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn change_leg(&self, key: &Tuple, leg: &Leg) {
        let _ = LEGS.insert(key, leg, u64::from(BPF_EXIST));
    }

    #[inline(always)]
    fn remove_leg(&self, key: &Tuple) {
        let _ = LEGS.remove(key);
    }

    #[inline(always)]
    fn next_slot(&self) -> u32 {
        let Some(next) = NEXT_REQUEST.get_ptr_mut(0) else { return 0 };
        // SAFETY: a live value of this CPU; a plain helper.
        let (number, cpu) = unsafe {
            *next = (*next).wrapping_add(1);
            (*next, bpf_get_smp_processor_id())
        };
        cpu * REQUESTS_PER_CPU + number % REQUESTS_PER_CPU
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<*mut StoredRequest> {
        REQUESTS.get_ptr_mut(index)
    }

    #[inline(always)]
    fn owner(&self, tuple: &Tuple, is_v6: bool) -> Owner {
        let socket = Socket::find(self.ctx, tuple, is_v6);
        match socket.state() {
            None => Owner::Nobody,
            Some(TCP_LISTEN) => Owner::Listener,
            Some(TCP_TIME_WAIT) => Owner::TimeWait,
            Some(_) => Owner::Connection,
        }
    }

    #[inline(always)]
    fn hand_off(&mut self, tuple: &Tuple, is_v6: bool, attributes: &HandOff) -> bool {
        let socket = Socket::find(self.ctx, tuple, is_v6);
        if socket.state() != Some(TCP_LISTEN) {
            return false;
        }
        // SAFETY: a socket that we hold; the kernel function wants what this helper returns.
        let listener = unsafe { bpf_skc_to_tcp_sock(socket.0.cast()) };
        if listener.is_null() {
            return false;
        }
        let mut attributes = *attributes;
        // SAFETY: the loader makes this a call of the kernel function `bpf_sk_assign_tcp_reqsk` (Linux 6.9), or of nothing,
        // which answers -EOPNOTSUPP.
        unsafe {
            let assign: unsafe extern "C" fn(*mut __sk_buff, *mut c_void, *mut HandOff, i32) -> i32 =
                mem::transmute(ASSIGN_TCP_REQSK);
            assign(self.skb(), listener.cast(), &raw mut attributes, size_of::<HandOff>() as i32) == 0
        }
    }

    #[inline(always)]
    fn way(&self, endpoint: &EndpointRecord) -> Option<Hop> {
        // The stack resolves the first packet's way; the answer shows the link addresses.
        if endpoint.device == 0 { None } else { Some(Hop { device: endpoint.device, ..Hop::default() }) }
    }
}

/// What the loader replaces: no kernel has a helper of this number.
const ASSIGN_TCP_REQSK: usize = 0x7ffe_0001;

/// A socket that we hold, if there is one.
struct Socket(*mut bpf_sock);

impl Socket {
    #[inline(always)]
    fn find(ctx: &TcContext, tuple: &Tuple, is_v6: bool) -> Self {
        let netns = BPF_F_CURRENT_NETNS as i64 as u64;
        let ports = [u16::from_ne_bytes(tuple.source_port), u16::from_ne_bytes(tuple.destination_port)];
        // SAFETY: the helper reads as many bytes as it is told, all of them written before.
        unsafe {
            let mut key: bpf_sock_tuple = mem::zeroed();
            if is_v6 {
                let v6 = &mut key.__bindgen_anon_1.ipv6;
                v6.saddr = mem::transmute::<[u8; 16], [u32; 4]>(tuple.source);
                v6.daddr = mem::transmute::<[u8; 16], [u32; 4]>(tuple.destination);
                v6.sport = ports[0];
                v6.dport = ports[1];
                return Self(bpf_skc_lookup_tcp(ctx.as_ptr(), &raw mut key, 36, netns, 0));
            }
            let v4 = &mut key.__bindgen_anon_1.ipv4;
            let [.., a, b, c, d] = tuple.source;
            v4.saddr = u32::from_ne_bytes([a, b, c, d]);
            let [.., a, b, c, d] = tuple.destination;
            v4.daddr = u32::from_ne_bytes([a, b, c, d]);
            v4.sport = ports[0];
            v4.dport = ports[1];
            Self(bpf_skc_lookup_tcp(ctx.as_ptr(), &raw mut key, 12, netns, 0))
        }
    }

    #[inline(always)]
    fn state(&self) -> Option<u32> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: a socket that we hold.
        Some(unsafe { (*self.0).state })
    }
}

impl Drop for Socket {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: held since it was found, and used no more.
            unsafe { bpf_sk_release(self.0.cast()) };
        }
    }
}
