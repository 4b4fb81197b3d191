//! The engine's environment for one packet: what the helpers of the kernel do, on vectors and tables.

use dataplane::engine::{Env, HandOff, Owner, Packet as AnyPacket, Part, Scratch, Verdict, resume, suits};
use dataplane::lookup::{Balancing, Tables};
use dataplane::request::Names;
use dataplane::sum::Sum;
use wire::{
    BackendRecord, CachedClient, CachedEndpoint, Candidate, Closed, EndpointHealth, EndpointRecord, Flow,
    HEADER_NAME_MAX, HeaderConditions, Hop, HostKey, HostRecord, Leg, ListenerKey, Lot, MaglevTable, Member,
    Pool, PooledLeg, PrefixKey, PrefixRecord, Reason, Responses, RouteAction, RouteKey, RouteRecord,
    Settings, StoredRequest, Tuple, Vip,
};

use crate::packet::{Packet, fold};
use crate::world::{Handed, SLOTS, World};

/// `EARLY`: in XDP, with TC behind it.
pub(crate) struct Cpu<'w, const EARLY: bool> {
    pub(crate) world: &'w World,
    pub(crate) packet: Packet,
    pub(crate) handed: Option<Handed>,
    pub(crate) cpu: usize,
    /// How long the packet may get.
    pub(crate) room: usize,
}

impl<const EARLY: bool> Cpu<'_, EARLY> {
    fn range(&self, at: u32, len: u32) -> Option<std::ops::Range<usize>> {
        let range = at as usize..at as usize + len as usize;
        (len > 0 && range.end <= self.packet.frame.len()).then_some(range)
    }

    /// Another CPU does its work between two steps of this one.
    fn race(&self) {
        if self.cpu == 0 && self.world.random.chance(self.world.races.get()) {
            let other = self.world.beside.borrow_mut().pop_front();
            if let Some(packet) = other {
                self.world.process(packet, 1);
            }
        }
    }
}

impl<const EARLY: bool> AnyPacket for Cpu<'_, EARLY> {
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
        let (Some(range), true) = (self.range(at, len), len as usize <= ROOM && to as usize <= N - ROOM)
        else {
            return false;
        };
        into[to as usize..][..len as usize].copy_from_slice(&self.packet.frame[range]);
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
        let (Some(range), true) = (self.range(at, len), len as usize <= ROOM && skip as usize <= N - ROOM)
        else {
            return false;
        };
        self.packet.frame[range].copy_from_slice(&from[skip as usize..][..len as usize]);
        true
    }

    fn resize(&mut self, len: u32) -> bool {
        let len = len as usize;
        if len == self.packet.frame.len() {
            return true;
        }
        assert!(!self.packet.large || len < self.packet.frame.len(), "a packet of several segments grows");
        assert!(len <= self.room, "a packet grows for which nobody has looked whether it can");
        self.packet.frame.resize(len, 0);
        self.packet.large = false;
        true
    }

    /// As `inet_proto_csum_replace_by_diff` (Linux, `net/core/utils.c`).
    fn correct(&mut self, at: u32, pseudo: Sum, rest: Sum) -> bool {
        let Some(range) = self.range(at, 2) else { return false };
        let field = u64::from(u16::from_be_bytes(self.packet.frame[range.clone()].try_into().unwrap()));
        let (pseudo, rest) = (u64::from(pseudo.folded().to_be()), u64::from(rest.folded().to_be()));
        let corrected = if self.packet.partial {
            fold(pseudo + field)
        } else {
            !fold(pseudo + u64::from(fold(rest + (!field & 0xffff))))
        };
        self.packet.frame[range].copy_from_slice(&corrected.to_be_bytes());
        true
    }

    fn is_tagged(&self) -> bool {
        false
    }

    fn is_large(&self) -> bool {
        self.packet.large
    }

    fn has_room(&mut self, more: u32) -> bool {
        let has_room = !EARLY || more == 0 || self.world.early_random.chance(self.world.early_room.get());
        self.room = self.room.max(self.packet.frame.len() + if has_room { more as usize } else { 0 });
        has_room
    }

    fn is_verified(&self) -> bool {
        // Some devices look at some packets.
        let looks = self.packet.frame.len().is_multiple_of(3);
        !EARLY && (self.packet.large || looks && !self.packet.partial && !self.packet.corrupt)
    }

    fn sum<const N: usize>(&self, bytes: &[u8; N], len: u32) -> Sum {
        let len = (len as usize).next_multiple_of(4).min(N);
        bytes[..len].chunks_exact(4).fold(Sum::default(), |sum, word| sum.word(word.try_into().unwrap()))
    }

    fn device(&self) -> u32 {
        // Endpoints are behind device 2: their link addresses tell.
        if self.packet.frame[8] == 10 && self.packet.frame[9] == 1 { 2 } else { 1 }
    }
}

impl<const EARLY: bool> Tables for Cpu<'_, EARLY> {
    fn host<'t>(&'t self, key: &HostKey) -> Option<&'t HostRecord> {
        self.world.tables.borrow().host(key)
    }

    fn route<'t>(&'t self, key: &RouteKey) -> Option<&'t RouteRecord> {
        self.world.tables.borrow().route(key)
    }

    fn prefix<'t>(&'t self, key: &PrefixKey) -> Option<&'t PrefixRecord> {
        self.world.tables.borrow().prefix(key)
    }

    fn candidate(&self, index: u32) -> Option<&Candidate> {
        self.world.tables.borrow().candidate(index)
    }

    fn conditions(&self, index: u32) -> Option<&HeaderConditions> {
        self.world.tables.borrow().conditions(index)
    }
}

impl<const EARLY: bool> Balancing for Cpu<'_, EARLY> {
    fn action(&self, index: u32) -> Option<&RouteAction> {
        self.world.tables.borrow().action(index)
    }

    fn copied_below(&self, action: u32) -> Option<u32> {
        self.world.tables.borrow().copied_below(action)
    }

    fn backend(&self, index: u32) -> Option<&BackendRecord> {
        self.world.tables.borrow().backend(index)
    }

    fn table(&self, index: u32) -> Option<&MaglevTable> {
        self.world.tables.borrow().table(index)
    }

    fn endpoint(&self, index: u32) -> Option<&EndpointRecord> {
        Balancing::endpoint(*self.world.tables.borrow(), index)
    }

    fn member(&self, key: &Member) -> Option<u32> {
        self.world.tables.borrow().member(key)
    }
}

impl<const EARLY: bool> Names for Cpu<'_, EARLY> {
    fn number(&self, name: &[u8; HEADER_NAME_MAX]) -> Option<u8> {
        self.world.tables.borrow().names.get(name).map(|&number| number as u8)
    }
}

impl<const EARLY: bool> Env for Cpu<'_, EARLY> {
    const PRECEDES: bool = EARLY;

    fn go_on(&mut self, part: Part, scratch: &mut Scratch) -> Verdict {
        self.race();
        let is_first = part == Part::Client || part == Part::Endpoint;
        if EARLY && (part == Part::Shape || is_first && !suits(scratch)) {
            return Verdict::DEFER;
        }
        resume(part, self, scratch)
    }

    fn now(&self) -> u64 {
        self.world.now.get()
    }

    fn random(&self) -> u32 {
        self.world.random.next() as u32
    }

    fn count(&self, reason: Reason) {
        *self.world.reasons.borrow_mut().entry(reason.as_str()).or_default() += 1;
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.world.settings)
    }

    fn vip(&self, key: &ListenerKey) -> Option<&Vip> {
        self.world.tables.borrow().vips.get(key)
    }

    fn is_trusted(&self, _: &[u8; 16]) -> bool {
        self.world.trusts.get()
    }

    fn health(&self, endpoint: u32) -> Option<*mut EndpointHealth> {
        self.world.health.get(endpoint as usize).map(std::cell::UnsafeCell::get)
    }

    fn responses(&self, listener: u32) -> Option<*mut Responses> {
        self.world.responses.get(listener as usize).map(std::cell::UnsafeCell::get)
    }

    fn route_responses(&self, action: u32) -> Option<*mut Responses> {
        self.responses(action)
    }

    fn endpoint_responses(&self, endpoint: u32) -> Option<*mut Responses> {
        self.responses(endpoint)
    }

    fn tell(&self, event: &wire::Event) {
        let ours = if EARLY { 1 } else { 2 };
        assert!(event.tier == ours || event.tier == 3, "{event:?}");
        self.world.events.borrow_mut().push(*event);
    }

    fn cached(&self, key: &CachedClient) -> Option<*mut CachedEndpoint> {
        self.world.cache.get(key)
    }

    fn cache(&self, key: &CachedClient, value: &CachedEndpoint) {
        self.world.cache.put(key, *value);
    }

    fn flow(&self, key: &Tuple) -> Option<*mut Flow> {
        self.world.flows.get(key)
    }

    fn locked<R>(&self, flow: *mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R {
        // SAFETY: one thread; the closure calls nothing of the world, and the place lives as long as that.
        let result = change(unsafe { &mut *flow });
        self.race();
        result
    }

    fn insert_flow(&self, key: &Tuple, flow: &Flow) -> bool {
        self.world.flows.get(key).is_none() && self.world.flows.insert(key, *flow)
    }

    fn remove_flow(&self, key: &Tuple) {
        self.world.flows.remove(key);
    }

    fn closed(&self, key: &Tuple) -> Option<*mut Closed> {
        self.world.closed.get(key)
    }

    fn note_closed(&self, key: &Tuple, closed: &Closed) {
        self.world.closed.insert(key, *closed);
    }

    fn note_lot(&self, key: &Tuple, lot: &Lot) {
        self.world.lots.borrow_mut().insert(*key, *lot);
    }

    fn leg(&self, key: &Tuple) -> Option<*mut Leg> {
        self.world.legs.get(key)
    }

    fn insert_leg(&self, key: &Tuple, leg: &Leg) -> bool {
        self.world.legs.get(key).is_none() && self.world.legs.insert(key, *leg)
    }

    fn change_leg(&self, key: &Tuple, leg: &Leg) -> bool {
        self.world.legs.get(key).is_some() && self.world.legs.insert(key, *leg)
    }

    fn remove_leg(&self, key: &Tuple) {
        self.world.legs.remove(key);
    }

    fn pool(&self, index: u32) -> Option<*mut Pool> {
        self.world.pools.get(index as usize).map(std::cell::UnsafeCell::get)
    }

    fn locked_pool<R>(&self, pool: *mut Pool, change: impl FnOnce(&mut Pool) -> R) -> R {
        // SAFETY: as in `locked`.
        let result = change(unsafe { &mut *pool });
        self.race();
        result
    }

    fn pooled(&self, key: &Tuple) -> Option<*mut PooledLeg> {
        let found = self.world.pooled.get(key);
        self.race();
        found
    }

    fn locked_pooled<R>(&self, leg: *mut PooledLeg, change: impl FnOnce(&mut PooledLeg) -> R) -> R {
        // SAFETY: as in `locked`.
        let result = change(unsafe { &mut *leg });
        self.race();
        result
    }

    fn insert_pooled(&self, key: &Tuple, leg: &PooledLeg) -> bool {
        let is_in = self.world.pooled.get(key).is_none() && self.world.pooled.insert(key, *leg);
        self.race();
        is_in
    }

    fn remove_pooled(&self, key: &Tuple) {
        self.world.pooled.remove(key);
        self.race();
    }

    fn next_slot(&self) -> u32 {
        let next = &self.world.next_slot[self.cpu];
        next.set(next.get() + 1);
        self.cpu as u32 * SLOTS + next.get() % SLOTS
    }

    fn slot(&self, index: u32) -> Option<*mut StoredRequest> {
        self.world.slots.get(index as usize).map(std::cell::UnsafeCell::get)
    }

    fn owner(&self, tuple: &Tuple, _: bool) -> Owner {
        match self.world.owners.borrow().get(tuple) {
            Some(owner) => *owner,
            None if self.world.listens.get() => Owner::Listener,
            None => Owner::Nobody,
        }
    }

    fn hand_off(&mut self, tuple: &Tuple, is_v6: bool, attributes: &HandOff) -> bool {
        if self.owner(tuple, is_v6) != Owner::Listener {
            return false;
        }
        self.handed = Some(Handed { tuple: *tuple, attributes: *attributes });
        // The socket exists from here on, and other CPUs see it.
        self.world.owners.borrow_mut().insert(*tuple, Owner::Connection);
        true
    }

    fn way(&self, endpoint: &EndpointRecord) -> Option<Hop> {
        if endpoint.device == 0 { None } else { Some(Hop { device: endpoint.device, ..Hop::default() }) }
    }
}
