//! Everything else that the engine needs: connections, endpoints, clock, chance, sockets.

use core::{ffi::c_void, mem};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_EXIST, BPF_NOEXIST},
    btf_maps::lpm_trie::Key,
    helpers::generated::{
        bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_skc_to_tcp_sock, bpf_spin_lock,
        bpf_spin_unlock,
    },
};
use dataplane::engine::{Env, HandOff, Owner, Part, Scratch, Verdict};
use wire::{
    CachedClient, CachedEndpoint, Closed, EndpointHealth, EndpointRecord, Event, Flow, Hop, Leg, ListenerKey,
    Lot, REQUESTS_PER_CPU, Reason, Responses, Settings, StoredRequest, Tuple, Vip,
};

use super::{
    Tc,
    socket::{Socket, TCP_LISTEN, TCP_TIME_WAIT},
};
use crate::maps::{
    BACKEND_FAILURES, CLOSED, ENDPOINT_RESPONSES, EVENTS, FLOW_CACHE, FLOWS, LEGS, LISTENER_RESPONSES, LOTS,
    METRICS, NEXT_REQUEST, PARTS, REASONS, REQUESTS, ROUTE_RESPONSES, SETTINGS, TRUSTED_PROXIES, VIPS,
};

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
        // SAFETY: the loader makes this a call of the kernel function `bpf_sk_assign_tcp_reqsk` (Linux 6.9), or of nothing,
        // which answers -EOPNOTSUPP.
        unsafe {
            let assign: unsafe extern "C" fn(*mut __sk_buff, *mut c_void, *const HandOff, i32) -> i32 =
                mem::transmute(ASSIGN_TCP_REQSK);
            assign(self.skb(), listener.cast(), &raw const *attributes, size_of::<HandOff>() as i32) == 0
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
