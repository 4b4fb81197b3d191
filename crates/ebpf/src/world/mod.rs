//! The engine's world at any hook: maps, clock, chance, sockets. What differs from hook to hook is behind [`Hook`], and the
//! packet is each hook's own.

mod socket;
mod tables;

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_EXIST, BPF_NOEXIST},
    btf_maps::lpm_trie::Key,
    helpers::generated::{
        bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_spin_lock, bpf_spin_unlock,
    },
};
use dataplane::engine::{Env, HandOff, Owner, Packet, Part, Scratch, Verdict};
use wire::{
    CachedClient, CachedEndpoint, Closed, EndpointHealth, EndpointRecord, Event, Flow, Hop, Leg, ListenerKey,
    Lot, Pool, PooledLeg, REQUESTS_PER_CPU, Reason, Responses, Settings, StoredRequest, Tuple, Vip,
};

use crate::maps::{
    BACKEND_FAILURES, CLOSED, ENDPOINT_RESPONSES, EVENTS, FLOW_CACHE, FLOWS, LEGS, LISTENER_RESPONSES, LOTS,
    METRICS, NEXT_REQUEST, POOLED_LEGS, POOLS, REASONS, REQUESTS, ROUTE_RESPONSES, SETTINGS, TRUSTED_PROXIES,
    VIPS,
};

pub use socket::Socket;
use socket::{TCP_LISTEN, TCP_TIME_WAIT};

/// Where a program sees the packet.
pub trait Hook {
    /// Whether another hook sees what this one passes: see [`Env::PRECEDES`].
    const PRECEDES: bool;

    /// The program's context.
    fn context(&self) -> *mut c_void;

    /// Enters the program of a part. Returns only if that cannot be.
    fn go_on(&self, part: Part) -> Verdict;

    /// Gives the packet and its connection to the socket, which listens; whether it took them.
    fn give(&self, listener: &Socket, attributes: &HandOff) -> bool;
}

/// Calls `change` with a value that is ours alone meanwhile.
///
/// # Safety
/// A live map value, and the lock in it.
#[inline(always)]
unsafe fn under<V, R>(
    lock: *mut aya_ebpf::bindings::bpf_spin_lock,
    value: *mut V,
    change: impl FnOnce(&mut V) -> R,
) -> R {
    // SAFETY: the caller's.
    unsafe {
        bpf_spin_lock(lock);
        let result = change(&mut *value);
        bpf_spin_unlock(lock);
        result
    }
}

/// The engine's world at a hook.
pub struct World<H>(pub H);

impl<H: Hook> Env for World<H>
where
    Self: Packet,
{
    const PRECEDES: bool = H::PRECEDES;

    #[inline(always)]
    fn go_on(&mut self, part: Part, _: &mut Scratch) -> Verdict {
        self.0.go_on(part)
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
        if EVENTS.output_untyped::<Event>(event, 0).is_err() {
            self.count(Reason::Untold);
        }
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
        // SAFETY: a live map value, and the lock in it.
        unsafe { under((&raw mut (*flow).lock).cast(), flow, change) }
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
    fn note_lot(&self, key: &Tuple, lot: &Lot) {
        // Without it userspace draws another.
        let _ = LOTS.insert(key, lot, 0);
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
    fn change_leg(&self, key: &Tuple, leg: &Leg) -> bool {
        LEGS.insert(key, leg, u64::from(BPF_EXIST)).is_ok()
    }

    #[inline(always)]
    fn remove_leg(&self, key: &Tuple) {
        let _ = LEGS.remove(key);
    }

    #[inline(always)]
    fn pool(&self, index: u32) -> Option<*mut Pool> {
        POOLS.get_ptr_mut(index)
    }

    #[inline(always)]
    fn locked_pool<R>(&self, pool: *mut Pool, change: impl FnOnce(&mut Pool) -> R) -> R {
        // SAFETY: a live map value, and the lock in it.
        unsafe { under((&raw mut (*pool).lock).cast(), pool, change) }
    }

    #[inline(always)]
    fn pooled(&self, key: &Tuple) -> Option<*mut PooledLeg> {
        POOLED_LEGS.get_ptr_mut(key)
    }

    #[inline(always)]
    fn locked_pooled<R>(&self, leg: *mut PooledLeg, change: impl FnOnce(&mut PooledLeg) -> R) -> R {
        // SAFETY: a live map value, and the lock in it.
        unsafe { under((&raw mut (*leg).lock).cast(), leg, change) }
    }

    #[inline(always)]
    fn insert_pooled(&self, key: &Tuple, leg: &PooledLeg) -> bool {
        POOLED_LEGS.insert(key, leg, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn remove_pooled(&self, key: &Tuple) {
        let _ = POOLED_LEGS.remove(key);
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
        let socket = Socket::find(self.0.context(), tuple, is_v6);
        match socket.state() {
            None => Owner::Nobody,
            Some(TCP_LISTEN) => Owner::Listener,
            Some(TCP_TIME_WAIT) => Owner::TimeWait,
            Some(_) => Owner::Connection,
        }
    }

    #[inline(always)]
    fn hand_off(&mut self, tuple: &Tuple, is_v6: bool, attributes: &HandOff) -> bool {
        let socket = Socket::find(self.0.context(), tuple, is_v6);
        socket.state() == Some(TCP_LISTEN) && self.0.give(&socket, attributes)
    }

    #[inline(always)]
    fn way(&self, endpoint: &EndpointRecord) -> Option<Hop> {
        // The stack resolves the first packet's way; the answer shows the link addresses.
        if endpoint.device == 0 { None } else { Some(Hop { device: endpoint.device, ..Hop::default() }) }
    }
}
