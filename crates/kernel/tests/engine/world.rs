//! The maps, clock and sockets that the engine sees, and the engine on one packet.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use dataplane::engine::{HandOff, Owner, Scratch, Verdict, ingress};
use kernel::Tables;
use wire::{
    CachedClient, CachedEndpoint, Closed, Cursor, EndpointHealth, Event, Flow, Leg, Lot, Pool, PooledLeg,
    Reason, Responses, Settings, StoredRequest, Tuple,
};

use crate::cpu::Cpu;
use crate::packet::Packet;
use crate::random::Random;

/// Values at fixed places; a place that is given back is given away next, as the kernel's maps do.
pub(crate) struct Slab<V> {
    places: RefCell<Vec<Box<UnsafeCell<V>>>>,
    free: RefCell<Vec<usize>>,
    taken: RefCell<HashMap<Tuple, usize>>,
    limit: usize,
}

impl<V: Copy> Slab<V> {
    fn new(limit: usize) -> Self {
        Self { places: RefCell::default(), free: RefCell::default(), taken: RefCell::default(), limit }
    }

    pub(crate) fn get(&self, key: &Tuple) -> Option<*mut V> {
        let index = *self.taken.borrow().get(key)?;
        Some(self.places.borrow()[index].get())
    }

    /// In the place of whatever was there.
    pub(crate) fn insert(&self, key: &Tuple, value: V) -> bool {
        if self.taken.borrow().len() >= self.limit && self.get(key).is_none() {
            return false;
        }
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            self.places.borrow_mut().push(Box::new(UnsafeCell::new(value)));
            self.places.borrow().len() - 1
        });
        // SAFETY: the model has one thread, and no reference into a place outlives a call of the engine's closures.
        unsafe { *self.places.borrow()[index].get() = value };
        if let Some(old) = self.taken.borrow_mut().insert(*key, index) {
            self.free.borrow_mut().push(old);
        }
        true
    }

    pub(crate) fn remove(&self, key: &Tuple) -> bool {
        let Some(index) = self.taken.borrow_mut().remove(key) else { return false };
        self.free.borrow_mut().push(index);
        true
    }

    pub(crate) fn all(&self) -> Vec<(Tuple, V)> {
        let places = self.places.borrow();
        // SAFETY: as in `insert`.
        self.taken.borrow().iter().map(|(key, index)| (*key, unsafe { *places[*index].get() })).collect()
    }
}

/// The clients that keep their endpoint. A place that is given away again shows its next owner, as in the kernel's map.
pub(crate) struct Cache {
    places: Vec<UnsafeCell<CachedEndpoint>>,
    /// By place, the one that was used longest ago first.
    keys: RefCell<VecDeque<(CachedClient, usize)>>,
}

impl Cache {
    pub(crate) fn new(places: usize) -> Self {
        Self { places: (0..places).map(|_| UnsafeCell::default()).collect(), keys: RefCell::default() }
    }

    pub(crate) fn get(&self, key: &CachedClient) -> Option<*mut CachedEndpoint> {
        let mut keys = self.keys.borrow_mut();
        let at = keys.iter().position(|(other, _)| other == key)?;
        let found = keys.remove(at)?;
        keys.push_back(found);
        Some(self.places[found.1].get())
    }

    pub(crate) fn put(&self, key: &CachedClient, value: CachedEndpoint) {
        let place = self.get(key).unwrap_or_else(|| {
            let mut keys = self.keys.borrow_mut();
            let used = keys.len();
            let place = if used < self.places.len() { used } else { keys.pop_front().unwrap().1 };
            keys.push_back((*key, place));
            self.places[place].get()
        });
        // SAFETY: the model has one thread, and the engine copies what it reads.
        unsafe { *place = value };
    }

    /// Changes what is remembered of every client.
    pub(crate) fn each(&self, change: impl Fn(&mut CachedEndpoint)) {
        // SAFETY: as in `put`.
        self.keys.borrow().iter().for_each(|(_, place)| change(unsafe { &mut *self.places[*place].get() }));
    }

    /// Makes a newcomer of a client.
    pub(crate) fn forget_client(&self, client: std::net::IpAddr) {
        let (unknown, client) = ([0; 16], octets(client));
        for (key, _) in self.keys.borrow_mut().iter_mut().filter(|(key, _)| key.client == client) {
            key.client = unknown;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.borrow().len()
    }
}

/// Slots for stored requests of one CPU: few, so that they run over.
pub(crate) const SLOTS: u32 = 6;

/// What the engine asked the host to take.
pub(crate) struct Handed {
    pub(crate) tuple: Tuple,
    pub(crate) attributes: HandOff,
}

/// Where a packet goes.
pub(crate) enum Fate {
    Sent(Packet),
    Passed(Packet, Option<Handed>),
}

pub(crate) struct World {
    pub(crate) tables: RefCell<&'static Tables>,
    pub(crate) settings: Settings,
    pub(crate) flows: Slab<Flow>,
    pub(crate) cache: Cache,
    pub(crate) legs: Slab<Leg>,
    pub(crate) closed: Slab<Closed>,
    pub(crate) pools: Vec<UnsafeCell<Pool>>,
    pub(crate) pooled: Slab<PooledLeg>,
    pub(crate) lots: RefCell<HashMap<Tuple, Lot>>,
    pub(crate) slots: Vec<UnsafeCell<StoredRequest>>,
    pub(crate) next_slot: [Cell<u32>; 2],
    pub(crate) health: Vec<UnsafeCell<EndpointHealth>>,
    pub(crate) responses: Vec<UnsafeCell<Responses>>,
    pub(crate) reasons: RefCell<HashMap<&'static str, u32>>,
    pub(crate) now: Cell<u64>,
    pub(crate) random: Random,
    /// What the host's sockets are.
    pub(crate) owners: RefCell<HashMap<Tuple, Owner>>,
    /// Whether a socket listens at our addresses.
    pub(crate) listens: Cell<bool>,
    pub(crate) trusts: Cell<bool>,
    /// Packets that another CPU may process between two steps of this one.
    pub(crate) beside: RefCell<VecDeque<Packet>>,
    /// In percent of the steps.
    pub(crate) races: Cell<u64>,
    /// How many packets meet XDP before TC, in percent.
    pub(crate) early: Cell<u64>,
    /// What chance says of that; the rest of a run is the same with it and without.
    pub(crate) early_random: Random,
    /// How many of their frames could grow there, in percent.
    pub(crate) early_room: Cell<u64>,
    /// How many of them were decided there.
    pub(crate) decided_early: Cell<u32>,
    /// Bytes of those, with their headers.
    pub(crate) early_bytes: Cell<usize>,
    pub(crate) fates: RefCell<Vec<Fate>>,
    /// Of each CPU: what the packet before has left there is there still.
    scratches: [RefCell<Box<Scratch>>; 2],
    /// What the engine has told.
    pub(crate) events: RefCell<Vec<Event>>,
}

impl World {
    pub(crate) fn new(tables: &'static Tables, seed: u64) -> Self {
        let settings = Settings {
            cookie_key: [seed, 7],
            heartbeat: 0,
            heartbeat_timeout: u64::MAX,
            mss_v4: 1380,
            mss_v6: 1340,
            port_first: 20_000,
            port_count: 48,
            redraw_after: 32,
            eject_after: 100,
            eject_for: 1_000_000_000,
            ..Settings::default()
        };
        Self {
            tables: RefCell::new(tables),
            settings,
            flows: Slab::new(1000),
            cache: Cache::new(100),
            legs: Slab::new(1000),
            closed: Slab::new(1000),
            // SAFETY: a pool is numbers.
            pools: (0..wire::POOLS_MAX).map(|_| UnsafeCell::new(unsafe { std::mem::zeroed() })).collect(),
            pooled: Slab::new(1000),
            lots: RefCell::default(),
            // SAFETY: a stored request is numbers.
            slots: (0..2 * SLOTS).map(|_| UnsafeCell::new(unsafe { std::mem::zeroed() })).collect(),
            next_slot: Default::default(),
            health: (0..64).map(|_| UnsafeCell::default()).collect(),
            responses: (0..16).map(|_| UnsafeCell::default()).collect(),
            reasons: RefCell::default(),
            now: Cell::new(0),
            random: Random::new(seed ^ 0x5eed),
            owners: RefCell::default(),
            listens: Cell::new(true),
            trusts: Cell::new(false),
            beside: RefCell::default(),
            races: Cell::new(0),
            early: Cell::new(0),
            early_random: Random::new(seed ^ 0xea51),
            early_room: Cell::new(80),
            decided_early: Cell::new(0),
            early_bytes: Cell::new(0),
            fates: RefCell::default(),
            // SAFETY: a scratch is numbers.
            scratches: [0; 2].map(|_| RefCell::new(unsafe { Box::new_zeroed().assume_init() })),
            events: RefCell::default(),
        }
    }

    /// The engine on one packet, of CPU `cpu`; what became of it is added to the fates.
    pub(crate) fn process(&self, packet: Packet, cpu: usize) {
        if self.early.get() > 0 && self.early_random.chance(self.early.get()) && !packet.large {
            let before = packet.frame.clone();
            let (verdict, early, handed) = self.run::<true>(packet.clone(), cpu);
            assert!(handed.is_none(), "sockets take packets of the stack alone");
            if verdict != Verdict::DEFER && verdict != Verdict::PASS {
                self.decided_early.set(self.decided_early.get() + 1);
                self.early_bytes.set(self.early_bytes.get() + before.len());
                return self.settle(verdict, early, None);
            }
            assert_eq!(early.frame, before, "what is left to TC is as it came");
        }
        let (verdict, packet, handed) = self.run::<false>(packet, cpu);
        assert!(verdict != Verdict::DEFER, "nobody is behind TC");
        self.settle(verdict, packet, handed);
    }

    fn run<const EARLY: bool>(&self, packet: Packet, cpu: usize) -> (Verdict, Packet, Option<Handed>) {
        let mut scratch = self.scratches[cpu].borrow_mut();
        assert!(scratch.segment.read(Cursor::new(&packet.frame)).is_ok(), "the model sends TCP");
        let room = if EARLY { packet.frame.len() } else { usize::MAX };
        let mut env = Cpu::<EARLY> { world: self, packet, handed: None, cpu, room };
        let verdict = ingress(&mut env, &mut scratch);
        (verdict, env.packet, env.handed)
    }

    fn settle(&self, verdict: Verdict, packet: Packet, handed: Option<Handed>) {
        if verdict == Verdict::PASS {
            self.fates.borrow_mut().push(Fate::Passed(packet, handed));
        } else if let Some(device) = verdict.sends_by().or(verdict.resolves_by()) {
            assert!(device == 1 || device == 2, "a device that there is: {device}");
            let is_resolved = verdict.sends_by().is_some();
            let to = if is_resolved { Some(<[u8; 6]>::try_from(&packet.frame[..6]).unwrap()) } else { None };
            let seg = crate::packet::Seg::read(&Packet { partial: packet.partial, ..packet.clone() });
            if let (Some(to), Some(seg)) = (to, seg) {
                assert_eq!(to, crate::packet::mac(seg.dst.ip()), "link address of {}", seg.dst);
            }
            self.fates.borrow_mut().push(Fate::Sent(packet));
        }
    }

    pub(crate) fn counted(&self, reason: Reason) -> u32 {
        self.reasons.borrow().get(reason.as_str()).copied().unwrap_or(0)
    }
}

/// The key of what `src` sends to `dst`.
pub(crate) fn tuple(src: SocketAddr, dst: SocketAddr) -> Tuple {
    Tuple {
        source: octets(src.ip()),
        destination: octets(dst.ip()),
        source_port: src.port().to_be_bytes(),
        destination_port: dst.port().to_be_bytes(),
    }
}

pub(crate) fn octets(address: std::net::IpAddr) -> [u8; 16] {
    match address {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    }
}
