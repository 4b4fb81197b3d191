//! The same engine outside the kernel, on tables and vectors. Clock and chance are set from outside, to what they were in
//! the kernel; no socket takes a connection, as in a test run, unless a test says otherwise.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::HashMap;

use dataplane::engine::{Env, HandOff, Owner, Packet, Part, Scratch, Verdict, ingress, resume};
use dataplane::lookup::{Balancing, Tables};
use dataplane::request::Names;
use dataplane::sum::Sum;
use wire::{
    BackendRecord, CachedClient, CachedEndpoint, Candidate, Closed, Cursor, EndpointHealth, EndpointRecord,
    Event, Flow, HEADER_NAME_MAX, HeaderConditions, Hop, HostKey, HostRecord, Leg, ListenerKey, Lot,
    MaglevTable, Member, Pool, PooledLeg, PrefixKey, PrefixRecord, Reason, Responses, RouteAction, RouteKey,
    RouteRecord, SegmentError, Settings, StoredRequest, Tuple, Vip,
};
use zerocopy::FromZeros;

/// What a program says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// TCX_NEXT: the packet is for the next program and the stack.
    Pass,
    /// TCX_DROP.
    Drop,
    /// TCX_REDIRECT: out of a device.
    Send,
}

/// A map whose values stay where they are while the engine points at them.
type Places<V> = RefCell<HashMap<Tuple, Box<UnsafeCell<V>>>>;

/// Values that were taken out of a map.
type Gone<V> = RefCell<Vec<Box<UnsafeCell<V>>>>;

/// Slots for stored requests.
const SLOTS: u32 = 16;

/// The maps.
pub(crate) struct Native {
    pub(crate) tables: kernel::Tables,
    pub(crate) settings: Settings,
    pub(crate) now: Cell<u64>,
    pub(crate) random: Cell<u32>,
    /// Whether sockets take connections, as they do outside of test runs.
    pub(crate) takes: Cell<bool>,
    flows: Places<Flow>,
    legs: Places<Leg>,
    closed: Places<Closed>,
    lots: RefCell<HashMap<Tuple, Lot>>,
    /// What was taken out: the engine may still point at it, as in the kernel until the end of the run.
    gone_flows: Gone<Flow>,
    gone_legs: Gone<Leg>,
    pools: Vec<UnsafeCell<Pool>>,
    pooled: Places<PooledLeg>,
    gone_pooled: Gone<PooledLeg>,
    cached: RefCell<HashMap<CachedClient, Box<UnsafeCell<CachedEndpoint>>>>,
    slots: Vec<UnsafeCell<StoredRequest>>,
    next_slot: Cell<u32>,
    health: Vec<UnsafeCell<EndpointHealth>>,
    responses: UnsafeCell<Responses>,
    reasons: RefCell<Vec<Reason>>,
}

/// What the engine did with a frame.
pub(crate) struct Done {
    pub(crate) said: Said,
    pub(crate) frame: Vec<u8>,
    pub(crate) reasons: Vec<Reason>,
    /// What the host was asked to take over.
    pub(crate) asked: Option<HandOff>,
}

impl Native {
    /// No leg waits for a client any more.
    pub(crate) fn empty_pools(&mut self) {
        self.pools.fill_with(|| UnsafeCell::new(Pool::new_zeroed()));
    }

    pub(crate) fn new(tables: kernel::Tables, settings: Settings) -> Self {
        Self {
            tables,
            settings,
            now: Cell::new(0),
            random: Cell::new(0),
            takes: Cell::new(false),
            flows: RefCell::default(),
            legs: RefCell::default(),
            closed: RefCell::default(),
            lots: RefCell::default(),
            gone_flows: RefCell::default(),
            gone_legs: RefCell::default(),
            pools: (0..wire::POOLS_MAX).map(|_| UnsafeCell::new(Pool::new_zeroed())).collect(),
            pooled: RefCell::default(),
            gone_pooled: RefCell::default(),
            cached: RefCell::default(),
            slots: (0..SLOTS).map(|_| UnsafeCell::new(StoredRequest::new_zeroed())).collect(),
            next_slot: Cell::new(0),
            health: (0..64).map(|_| UnsafeCell::default()).collect(),
            responses: UnsafeCell::default(),
            reasons: RefCell::default(),
        }
    }

    pub(crate) fn run(&self, frame: &[u8]) -> Done {
        self.reasons.borrow_mut().clear();
        let mut env = Cpu { maps: self, frame: frame.to_vec(), asked: None };
        // SAFETY: a scratch is numbers, and its content means nothing before.
        let mut scratch: Box<Scratch> = unsafe { Box::new_zeroed().assume_init() };
        let verdict = match scratch.segment.read(Cursor::new(frame)) {
            Ok(()) => ingress(&mut env, &mut scratch),
            Err(SegmentError::Fragment | SegmentError::Ipv6Extension) => env.go_on(Part::Shape, &mut scratch),
            Err(_) => Verdict::PASS,
        };
        let said = match verdict {
            Verdict::PASS => Said::Pass,
            Verdict::DROP => Said::Drop,
            _ => Said::Send,
        };
        Done { said, frame: env.frame, reasons: self.reasons.borrow().clone(), asked: env.asked }
    }

    pub(crate) fn flow(&self, client: &Tuple) -> Option<Flow> {
        // SAFETY: one thread, between two packets.
        self.flows.borrow().get(client).map(|place| unsafe { *place.get() })
    }

    pub(crate) fn leg(&self, key: &Tuple) -> Option<Leg> {
        // SAFETY: as above.
        self.legs.borrow().get(key).map(|place| unsafe { *place.get() })
    }

    pub(crate) fn lot(&self, client: &Tuple) -> Option<Lot> {
        self.lots.borrow().get(client).copied()
    }

    pub(crate) fn closed(&self, client: &Tuple) -> Option<Closed> {
        // SAFETY: as above.
        self.closed.borrow().get(client).map(|place| unsafe { *place.get() })
    }

    pub(crate) fn cached(&self, key: &CachedClient) -> Option<CachedEndpoint> {
        // SAFETY: as above.
        self.cached.borrow().get(key).map(|place| unsafe { *place.get() })
    }

    pub(crate) fn set_cached(&self, key: &CachedClient, value: CachedEndpoint) {
        self.cached.borrow_mut().insert(*key, Box::new(UnsafeCell::new(value)));
    }

    pub(crate) fn health(&self, endpoint: u32) -> EndpointHealth {
        // SAFETY: as above.
        unsafe { *self.health[endpoint as usize].get() }
    }

    pub(crate) fn forget_health(&self, endpoint: u32) {
        // SAFETY: as above.
        unsafe { *self.health[endpoint as usize].get() = EndpointHealth::default() };
    }
}

struct Cpu<'n> {
    maps: &'n Native,
    frame: Vec<u8>,
    asked: Option<HandOff>,
}

impl Cpu<'_> {
    fn range(&self, at: u32, len: u32) -> Option<std::ops::Range<usize>> {
        let range = at as usize..at as usize + len as usize;
        (len > 0 && range.end <= self.frame.len()).then_some(range)
    }
}

impl Packet for Cpu<'_> {
    fn load<const N: usize>(&mut self, at: u32, into: &mut [u8; N], len: u32) -> bool {
        self.load_at::<N, N>(at, into, 0, len)
    }

    fn load_at<const N: usize, const ROOM: usize>(
        &mut self,
        at: u32,
        into: &mut [u8; N],
        to: u32,
        len: u32,
    ) -> bool {
        let fits = len as usize <= ROOM && to as usize <= N - ROOM;
        let Some(range) = self.range(at, len).filter(|_| fits) else { return false };
        into[to as usize..][..len as usize].copy_from_slice(&self.frame[range]);
        true
    }

    fn store<const N: usize>(&mut self, at: u32, from: &[u8; N], len: u32) -> bool {
        self.store_from::<N, N>(at, from, 0, len)
    }

    fn store_from<const N: usize, const ROOM: usize>(
        &mut self,
        at: u32,
        from: &[u8; N],
        skip: u32,
        len: u32,
    ) -> bool {
        let fits = len as usize <= ROOM && skip as usize <= N - ROOM;
        let Some(range) = self.range(at, len).filter(|_| fits) else { return false };
        self.frame[range].copy_from_slice(&from[skip as usize..][..len as usize]);
        true
    }

    fn resize(&mut self, len: u32) -> bool {
        self.frame.resize(len as usize, 0);
        true
    }

    /// As `inet_proto_csum_replace_by_diff` (Linux, `net/core/utils.c`) on a packet with a whole checksum.
    fn correct(&mut self, at: u32, pseudo: Sum, rest: Sum) -> bool {
        let Some(range) = self.range(at, 2) else { return false };
        let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
        let mut field = u32::from(u16::from_be_bytes([self.frame[range.start], self.frame[range.start + 1]]));
        for difference in [rest, pseudo] {
            let sum = fold(fold(u32::from(difference.folded().to_be()) + (!field & 0xffff)));
            field = !sum & 0xffff;
        }
        self.frame[range].copy_from_slice(&(field as u16).to_be_bytes());
        true
    }

    fn is_tagged(&self) -> bool {
        false
    }

    fn is_large(&self) -> bool {
        false
    }

    fn is_verified(&self) -> bool {
        false
    }

    fn sum<const N: usize>(&self, bytes: &[u8; N], len: u32) -> Sum {
        let len = (len as usize).next_multiple_of(4).min(N);
        bytes[..len].chunks_exact(4).fold(Sum::default(), |sum, word| sum.word(word.try_into().unwrap()))
    }

    fn device(&self) -> u32 {
        // Where test runs come in: the loopback device.
        1
    }
}

impl Tables for Cpu<'_> {
    fn host<'t>(&'t self, key: &HostKey) -> Option<&'t HostRecord> {
        self.maps.tables.host(key)
    }

    fn route<'t>(&'t self, key: &RouteKey) -> Option<&'t RouteRecord> {
        self.maps.tables.route(key)
    }

    fn prefix<'t>(&'t self, key: &PrefixKey) -> Option<&'t PrefixRecord> {
        self.maps.tables.prefix(key)
    }

    fn candidate(&self, index: u32) -> Option<&Candidate> {
        self.maps.tables.candidate(index)
    }

    fn conditions(&self, index: u32) -> Option<&HeaderConditions> {
        self.maps.tables.conditions(index)
    }
}

impl Balancing for Cpu<'_> {
    fn action(&self, index: u32) -> Option<&RouteAction> {
        self.maps.tables.action(index)
    }

    fn copied_below(&self, action: u32) -> Option<u32> {
        self.maps.tables.copied_below(action)
    }

    fn backend(&self, index: u32) -> Option<&BackendRecord> {
        self.maps.tables.backend(index)
    }

    fn table(&self, index: u32) -> Option<&MaglevTable> {
        self.maps.tables.table(index)
    }

    fn endpoint(&self, index: u32) -> Option<&EndpointRecord> {
        Balancing::endpoint(&self.maps.tables, index)
    }

    fn member(&self, key: &Member) -> Option<u32> {
        self.maps.tables.member(key)
    }
}

impl Names for Cpu<'_> {
    fn number(&self, name: &[u8; HEADER_NAME_MAX]) -> Option<u8> {
        self.maps.tables.names.get(name).map(|&number| number as u8)
    }
}

impl Env for Cpu<'_> {
    fn go_on(&mut self, part: Part, scratch: &mut Scratch) -> Verdict {
        resume(part, self, scratch)
    }

    fn now(&self) -> u64 {
        self.maps.now.get()
    }

    fn random(&self) -> u32 {
        self.maps.random.get()
    }

    fn count(&self, reason: Reason) {
        self.maps.reasons.borrow_mut().push(reason);
    }

    fn responses(&self, _: u32) -> Option<*mut Responses> {
        Some(self.maps.responses.get())
    }

    fn route_responses(&self, _: u32) -> Option<*mut Responses> {
        None
    }

    fn endpoint_responses(&self, _: u32) -> Option<*mut Responses> {
        None
    }

    fn tell(&self, _: &Event) {}

    fn settings(&self) -> Option<&Settings> {
        Some(&self.maps.settings)
    }

    fn vip(&self, key: &ListenerKey) -> Option<&Vip> {
        self.maps.tables.vips.get(key)
    }

    fn is_trusted(&self, _: &[u8; 16]) -> bool {
        false
    }

    fn health(&self, endpoint: u32) -> Option<*mut EndpointHealth> {
        self.maps.health.get(endpoint as usize).map(UnsafeCell::get)
    }

    fn cached(&self, key: &CachedClient) -> Option<*mut CachedEndpoint> {
        self.maps.cached.borrow().get(key).map(|place| place.get())
    }

    fn cache(&self, key: &CachedClient, value: &CachedEndpoint) {
        // One thread: what was there is replaced in its place.
        match self.maps.cached.borrow_mut().entry(*key) {
            std::collections::hash_map::Entry::Occupied(mut place) => *place.get_mut().get_mut() = *value,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Box::new(UnsafeCell::new(*value)));
            }
        }
    }

    fn flow(&self, key: &Tuple) -> Option<*mut Flow> {
        self.maps.flows.borrow().get(key).map(|place| place.get())
    }

    fn locked<R>(&self, flow: *mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R {
        // SAFETY: one thread; the closure calls nothing of the maps, and the place lives as long as that.
        change(unsafe { &mut *flow })
    }

    fn insert_flow(&self, key: &Tuple, flow: &Flow) -> bool {
        let mut flows = self.maps.flows.borrow_mut();
        let is_new = !flows.contains_key(key);
        flows.entry(*key).or_insert_with(|| Box::new(UnsafeCell::new(*flow)));
        is_new
    }

    fn remove_flow(&self, key: &Tuple) {
        let old = self.maps.flows.borrow_mut().remove(key);
        self.maps.gone_flows.borrow_mut().extend(old);
    }

    fn closed(&self, key: &Tuple) -> Option<*mut Closed> {
        self.maps.closed.borrow().get(key).map(|place| place.get())
    }

    fn note_closed(&self, key: &Tuple, closed: &Closed) {
        self.maps.closed.borrow_mut().entry(*key).or_default().get_mut().clone_from(closed);
    }

    fn note_lot(&self, key: &Tuple, lot: &Lot) {
        self.maps.lots.borrow_mut().insert(*key, *lot);
    }

    fn leg(&self, key: &Tuple) -> Option<*mut Leg> {
        self.maps.legs.borrow().get(key).map(|place| place.get())
    }

    fn insert_leg(&self, key: &Tuple, leg: &Leg) -> bool {
        let mut legs = self.maps.legs.borrow_mut();
        let is_new = !legs.contains_key(key);
        legs.entry(*key).or_insert_with(|| Box::new(UnsafeCell::new(*leg)));
        is_new
    }

    fn change_leg(&self, key: &Tuple, leg: &Leg) -> bool {
        let mut legs = self.maps.legs.borrow_mut();
        let Some(place) = legs.get_mut(key) else { return false };
        let old = std::mem::replace(place, Box::new(UnsafeCell::new(*leg)));
        self.maps.gone_legs.borrow_mut().push(old);
        true
    }

    fn remove_leg(&self, key: &Tuple) {
        let old = self.maps.legs.borrow_mut().remove(key);
        self.maps.gone_legs.borrow_mut().extend(old);
    }

    fn pool(&self, index: u32) -> Option<*mut Pool> {
        self.maps.pools.get(index as usize).map(UnsafeCell::get)
    }

    fn locked_pool<R>(&self, pool: *mut Pool, change: impl FnOnce(&mut Pool) -> R) -> R {
        // SAFETY: one thread; the closure calls nothing of the world.
        change(unsafe { &mut *pool })
    }

    fn pooled(&self, key: &Tuple) -> Option<*mut PooledLeg> {
        self.maps.pooled.borrow().get(key).map(|place| place.get())
    }

    fn locked_pooled<R>(&self, leg: *mut PooledLeg, change: impl FnOnce(&mut PooledLeg) -> R) -> R {
        // SAFETY: as in `locked_pool`.
        change(unsafe { &mut *leg })
    }

    fn insert_pooled(&self, key: &Tuple, leg: &PooledLeg) -> bool {
        let mut pooled = self.maps.pooled.borrow_mut();
        let is_new = !pooled.contains_key(key);
        if is_new {
            pooled.insert(*key, Box::new(UnsafeCell::new(*leg)));
        }
        is_new
    }

    fn remove_pooled(&self, key: &Tuple) {
        let old = self.maps.pooled.borrow_mut().remove(key);
        self.maps.gone_pooled.borrow_mut().extend(old);
    }

    fn next_slot(&self) -> u32 {
        self.maps.next_slot.set(self.maps.next_slot.get() + 1);
        self.maps.next_slot.get() % SLOTS
    }

    fn slot(&self, index: u32) -> Option<*mut StoredRequest> {
        self.maps.slots.get(index as usize).map(UnsafeCell::get)
    }

    fn owner(&self, _: &Tuple, _: bool) -> Owner {
        Owner::Nobody
    }

    fn hand_off(&mut self, _: &Tuple, _: bool, attributes: &HandOff) -> bool {
        self.asked = Some(*attributes);
        self.maps.takes.get()
    }

    fn way(&self, endpoint: &EndpointRecord) -> Option<Hop> {
        if endpoint.device == 0 { None } else { Some(Hop { device: endpoint.device, ..Hop::default() }) }
    }
}
