use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use balance::{EndpointKey, Maglev};
use model::{ProxyProtocol, Snapshot};
use wire::{BackendRecord, EndpointRecord, IpAddress, MAGLEV_SLOTS_MAX, MaglevTable, Member};

use crate::actions::{BackendKey, unreachable};
use crate::ids::Ids;
use crate::{Facts, Map, Reach, Sizes, Tables};

/// An endpoint, and our address on legs to it.
pub(crate) type EndpointId = (SocketAddr, IpAddr);
/// Endpoints with their names and weights, and the number of slots.
type TableId = (Vec<(u32, SocketAddr, u16)>, u32);

/// An endpoint of a backend that the kernel reaches.
struct Reached {
    id: EndpointId,
    /// What every tier calls it. Legs may go to its other address.
    name: SocketAddr,
    other: Option<SocketAddr>,
    /// 0: it takes no new requests.
    weight: u16,
}

/// Backends, Maglev tables and endpoints.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) backends: Ids<BackendKey>,
    pub(crate) maglev: Ids<TableId>,
    pub(crate) endpoints: Ids<EndpointId>,
    built: HashMap<u32, Arc<MaglevTable>>,
    /// Stands for every table where they are only counted.
    blank: Option<Arc<MaglevTable>>,
    generations: HashMap<u32, u32>,
    /// Of endpoints.
    devices: HashMap<u32, u32>,
    /// Of endpoints whose legs go to an address that is not their name.
    names: HashMap<u32, SocketAddr>,
    /// Backends whose clients keep their endpoint.
    kept: BTreeSet<u32>,
    /// Backends that found no room, or their endpoints or table: their requests are handed off.
    full: BTreeSet<BackendKey>,
    /// How many of them larger maps would have room for, by the map.
    lacking: BTreeMap<Map, u32>,
    /// Members of backends whose clients stay: half of what the map takes, for they come before others go.
    members_max: usize,
    pub(crate) serial: u32,
    pub(crate) found: Found,
}

/// What an agent before this one has left.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Indices of backends by subject and size of the table; 0: without one.
    backends: HashMap<(u64, u32), BTreeSet<u32>>,
    tables: BTreeMap<u32, Arc<MaglevTable>>,
    /// Backends that have one of the tables, in the same way.
    with_table: BTreeSet<(u64, u32)>,
}

impl Found {
    pub(crate) fn new(tables: &Tables) -> Self {
        let mut backends: HashMap<_, BTreeSet<u32>> = HashMap::new();
        for (at, record) in &tables.backends {
            backends.entry((record.subject, record.slots)).or_default().insert(*at);
        }
        let used = tables.maglev.iter().filter(|(_, table)| table.serial != 0);
        let with_table = tables.backends.values().filter(|record| record.slots != 0);
        Self {
            backends,
            tables: used.map(|(at, table)| (*at, Arc::clone(table))).collect(),
            with_table: with_table.map(|record| (record.subject, record.slots)).collect(),
        }
    }
}

impl Pool {
    pub(crate) fn new(sizes: &Sizes) -> Self {
        Self {
            backends: Ids::new(1, sizes.backends),
            maglev: Ids::new(0, sizes.maglev),
            endpoints: Ids::new(1, sizes.endpoints),
            members_max: sizes.members as usize,
            built: HashMap::new(),
            blank: None,
            generations: HashMap::new(),
            devices: HashMap::new(),
            names: HashMap::new(),
            kept: BTreeSet::new(),
            full: BTreeSet::new(),
            lacking: BTreeMap::new(),
            serial: 0,
            found: Found::default(),
        }
    }

    pub(crate) fn begin(&mut self) {
        self.backends.begin();
        self.maglev.begin();
        self.endpoints.begin();
        self.kept.clear();
        self.full.clear();
        self.lacking.clear();
    }

    /// The index of a backend; none if there are too many.
    pub(crate) fn backend(&mut self, key: &BackendKey) -> Option<u32> {
        if !self.backends.knows(key) {
            self.adopt_backend(key);
        }
        let found = self.backends.get(key).map(|(index, _)| index);
        if found.is_none() && self.full.insert(key.clone()) {
            *self.lacking.entry(Map::Backends).or_default() += 1;
        }
        found
    }

    /// Lets a backend have the index of a record of its Service, which may have to be another: it follows its endpoints as ever.
    fn adopt_backend(&mut self, key: &BackendKey) {
        let subject = balance::subject(&key.0.unspoken().to_string());
        let found = [key.1, 0].iter().find_map(|&size| {
            let like = self.found.backends.get_mut(&(subject, size))?;
            like.pop_first().filter(|index| *index != 0)
        });
        if let Some(index) = found.filter(|index| self.backends.key(*index).is_none()) {
            self.backends.adopt(key.clone(), index);
        }
    }

    /// Lets a table have the index of one with the same slots, and be that one.
    fn adopt_table(&mut self, key: &TableId, slots: &[u16]) -> Option<u32> {
        let is_it = |(_, table): &(&u32, &Arc<MaglevTable>)| table.pad == 0 && table.endpoints == *slots;
        let index = *self.found.tables.iter().find(is_it)?.0;
        let table = self.found.tables.remove(&index)?;
        self.maglev.key(index).is_none().then(|| {
            self.maglev.adopt(key.clone(), index);
            self.built.insert(index, table);
            index
        })
    }

    /// Whether a backend found no room.
    pub(crate) fn is_full(&self, key: &BackendKey) -> bool {
        self.full.contains(key)
    }

    /// Makes no tables from now on, but counts them.
    pub(crate) fn only_count(&mut self) {
        self.blank = Some(Arc::new(MaglevTable { serial: 0, pad: 0, endpoints: [0; MAGLEV_SLOTS_MAX + 1] }));
    }

    /// How many backends of the latest compilation found no room that larger maps would have, by the map.
    pub(crate) fn lacking(&self) -> &BTreeMap<Map, u32> {
        &self.lacking
    }

    /// The maps are as large as this from now on.
    pub(crate) fn resize(&mut self, sizes: &Sizes) {
        self.backends.numbers().end_at(sizes.backends);
        self.maglev.numbers().end_at(sizes.maglev);
        self.endpoints.numbers().end_at(sizes.endpoints);
        self.members_max = sizes.members as usize;
    }

    /// Notes backends whose clients keep their endpoint.
    pub(crate) fn keep(&mut self, backends: impl IntoIterator<Item = u32>) {
        self.kept.extend(backends);
    }

    /// Writes down all backends that were asked for, with their tables and endpoints. `alive` is called with each table that is made.
    pub(crate) fn compile(
        &mut self,
        snapshot: &Snapshot,
        facts: &Facts,
        tables: &mut Tables,
        alive: &mut dyn FnMut(),
    ) {
        let mut wanted: Vec<(u32, BackendKey, bool)> =
            self.backends.iter().map(|(key, index, used)| (index, key.clone(), used)).collect();
        wanted.sort_by_key(|(index, ..)| *index);
        // Draining only if it is so wherever it is named.
        let mut takes: BTreeMap<EndpointId, bool> = BTreeMap::new();
        let mut devices: HashMap<EndpointId, u32> = HashMap::new();
        let mut names: HashMap<EndpointId, SocketAddr> = HashMap::new();
        // What rests stays as it is in the map: a reader may still be on its way there.
        for (index, (id, size), _) in wanted.into_iter().filter(|(.., used)| *used) {
            let mut record = BackendRecord::default();
            let subject = balance::subject(&id.unspoken().to_string());
            let backend = snapshot.backends.get(&id);
            if let Some(backend) = backend {
                let mut known = Vec::new();
                for endpoint in &backend.endpoints {
                    let mut ways = endpoint.addresses().filter_map(|address| way(address, facts));
                    let Some((id, device)) = ways.next() else { continue };
                    let is_ready = endpoint.condition.takes_requests();
                    *takes.entry(id).or_insert(false) |= is_ready;
                    devices.insert(id, device);
                    let (name, other) = (canonical(endpoint.address), endpoint.other);
                    // Legs that began by the other address go on.
                    for (id, device) in ways.filter(|(id, _)| self.endpoints.knows(id)) {
                        takes.entry(id).or_insert(false);
                        devices.insert(id, device);
                        names.entry(id).or_insert(name);
                    }
                    // An address that is an endpoint by itself, too, has its own name.
                    let named = names.entry(id).or_insert(name);
                    *named = if id.0 == name { name } else { *named };
                    known.push(Reached {
                        id,
                        name,
                        other: other.map(|other| canonical(other.address)),
                        weight: if is_ready { endpoint.weight } else { 0 },
                    });
                }
                if unreachable(backend, facts).is_none() {
                    let found = self.table(&known, (subject, size), tables, alive).and_then(|record| {
                        if self.kept.contains(&index) {
                            self.members(index, &known, tables)?;
                        }
                        Ok(record)
                    });
                    let taking = known.iter().filter(|one| one.weight > 0).count();
                    record = found.unwrap_or_else(|full| {
                        if taking > 0 {
                            self.full.insert((id.clone(), size));
                        }
                        if can_be(taking, size) {
                            *self.lacking.entry(full).or_default() += 1;
                        }
                        BackendRecord::default()
                    });
                }
            }
            record.subject = subject;
            let told = backend.and_then(|backend| backend.proxy_protocol);
            record.flags = if told == Some(ProxyProtocol::V2) { BackendRecord::PROXY_V2 } else { 0 };
            tables.backends.insert(index, record);
        }
        for (id, takes) in &takes {
            if let Some(index) = self.endpoint(id) {
                self.devices.insert(index, devices.get(id).copied().unwrap_or(0));
                if let Some(name) = names.get(id).filter(|name| **name != id.0) {
                    self.names.insert(index, *name);
                } else if names.contains_key(id) {
                    self.names.remove(&index);
                }
                let flags = if *takes { 0 } else { EndpointRecord::DRAINING };
                tables.endpoints.insert(index, self.record(id, index, EndpointRecord::USABLE | flags));
            }
        }
    }

    /// Ends a compilation: what was not asked for rests, without its flags.
    pub(crate) fn finish(&mut self, now: Duration, tables: &mut Tables) -> Option<Duration> {
        let (_, backends) = self.backends.finish(now);
        let (left, maglev) = self.maglev.finish(now);
        for (_, index) in &left {
            self.built.remove(index);
        }
        let (left, endpoints) = self.endpoints.finish(now);
        for (_, index) in &left {
            self.generations.remove(index);
            self.devices.remove(index);
            self.names.remove(index);
        }
        for (id, index, used) in self.endpoints.iter().filter(|(.., used)| !used) {
            debug_assert!(!used);
            tables.endpoints.insert(index, self.record(id, index, 0));
        }
        [backends, maglev, endpoints].into_iter().flatten().min()
    }

    /// What other tiers call the endpoint, where that is not its address.
    pub(crate) fn name(&self, index: u32) -> Option<SocketAddr> {
        self.names.get(&index).copied()
    }

    /// Leaves an endpoint the index and generation that it had.
    pub(crate) fn adopt(&mut self, index: u32, record: &EndpointRecord) {
        let address = SocketAddr::new(ip(record.address), u16::from_be_bytes(record.port));
        let id = (address, ip(record.source));
        if self.endpoints.knows(&id) {
            return;
        }
        self.endpoints.adopt(id, index);
        self.generations.insert(index, record.generation);
        self.devices.insert(index, record.device);
        self.serial = self.serial.max(record.generation);
    }

    /// The record of a backend with these endpoints.
    ///
    /// # Errors
    ///
    /// The map that is full, where there is such a table at all.
    fn table(
        &mut self,
        endpoints: &[Reached],
        (subject, size): (u64, u32),
        tables: &mut Tables,
        alive: &mut dyn FnMut(),
    ) -> Result<BackendRecord, Map> {
        let full = Map::MaglevTables;
        let mut members = Vec::new();
        for Reached { id, name, weight, .. } in endpoints.iter().filter(|one| one.weight > 0) {
            members.push((self.endpoint(id).ok_or(Map::Endpoints)?, *name, *weight));
        }
        if !can_be(members.len(), size) {
            return Err(full);
        }
        let key = (members, size);
        if !self.maglev.knows(&key) {
            // Making one takes far longer than to see that it finds no room, and is not the one that was found.
            if !self.maglev.has_room() && !self.found.with_table.contains(&(subject, size)) {
                return Err(full);
            }
            if let Some(blank) = self.blank.clone() {
                let (index, _) = self.maglev.get(&key).ok_or(full)?;
                self.built.insert(index, blank);
            } else {
                let slots = slots(&key).ok_or(full)?;
                alive();
                if self.adopt_table(&key, &slots).is_none() {
                    let (index, _) = self.maglev.get(&key).ok_or(full)?;
                    let table = MaglevTable { serial: self.next(), pad: 0, endpoints: slots };
                    self.built.insert(index, Arc::new(table));
                }
            }
        }
        let (index, _) = self.maglev.get(&key).ok_or(full)?;
        let table = self.built.get(&index).ok_or(full)?;
        tables.maglev.insert(index, table.clone());
        Ok(BackendRecord { table: index, slots: size, serial: table.serial, flags: 0, subject: 0 })
    }

    /// Writes down which endpoints clients of a backend may have, by each of their addresses, for userspace knows them by one and
    /// legs by another.
    ///
    /// # Errors
    ///
    /// The map that is full.
    fn members(&mut self, backend: u32, endpoints: &[Reached], tables: &mut Tables) -> Result<(), Map> {
        let takes = || endpoints.iter().filter(|one| one.weight > 0);
        let wanted: usize = takes().map(|one| 1 + usize::from(one.other.is_some())).sum();
        if tables.members.len() + wanted > self.members_max {
            return Err(Map::BackendMembers);
        }
        for one in takes() {
            let index = self.endpoint(&one.id).ok_or(Map::Endpoints)?;
            for address in [Some(one.name), one.other].into_iter().flatten() {
                let (address, port) = (mapped(address.ip()), address.port().to_be_bytes());
                tables.members.insert(Member { address, port, pad: [0; 2], backend }, index);
            }
        }
        Ok(())
    }

    fn endpoint(&mut self, id: &EndpointId) -> Option<u32> {
        let (index, is_new) = self.endpoints.get(id)?;
        if is_new {
            let generation = self.next();
            self.generations.insert(index, generation);
        }
        Some(index)
    }

    fn record(&self, (address, source): &EndpointId, index: u32, flags: u16) -> EndpointRecord {
        EndpointRecord {
            address: mapped(address.ip()),
            source: mapped(*source),
            port: address.port().to_be_bytes(),
            flags,
            generation: self.generations.get(&index).copied().unwrap_or(0),
            device: self.devices.get(&index).copied().unwrap_or(0),
        }
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1).max(1);
        self.serial
    }
}

/// Whether there is a table of so many slots for so many endpoints, however large maps are.
const fn can_be(endpoints: usize, size: u32) -> bool {
    endpoints > 0 && endpoints <= size as usize
}

/// The endpoints of a table's slots; none if there is no such table.
fn slots((members, size): &TableId) -> Option<[u16; MAGLEV_SLOTS_MAX + 1]> {
    // By their names, as every tier and gateway builds it.
    let keys: Vec<_> = members.iter().map(|&(_, name, weight)| EndpointKey::new(name, weight)).collect();
    let maglev = Maglev::build(&keys, *size).ok()?;
    let mut slots = [0; MAGLEV_SLOTS_MAX + 1];
    for (slot, place) in slots.iter_mut().zip(maglev.slots()) {
        *slot = members.get(usize::from(*place)).and_then(|(index, ..)| u16::try_from(*index).ok())?;
    }
    Some(slots)
}

/// How legs go to an address, and the device of that way, if the kernel has one.
fn way(address: SocketAddr, facts: &Facts) -> Option<(EndpointId, u32)> {
    let address = canonical(address);
    match facts.endpoints.get(&address.ip()) {
        Some(Reach::From { source, device }) => Some(((address, source.to_canonical()), *device)),
        _ => None,
    }
}

/// As it stands in records.
pub(crate) fn mapped(address: IpAddr) -> IpAddress {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn ip(address: IpAddress) -> IpAddr {
    IpAddr::from(address).to_canonical()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
