//! Typed handles on the maps.

use std::{collections::HashSet, path::Path};

use aya::{
    Ebpf,
    maps::{self, Map, MapData, MapInfo, MapType, PerCpuArray, PerCpuHashMap, PerCpuValues},
    sys::SyscallError,
    util::nr_cpus,
};
use wire::{ListenerCounters, ListenerKey, Metrics};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{ListenerAddress, MapError, PinError, StartError, pins::PinFolder};

const METRICS: &str = "METRICS";
const LISTENER_COUNTERS: &str = "LISTENER_COUNTERS";

/// What a pinned map must look like to be taken over.
const SHAPES: [(&str, MapType, usize, usize, usize); 2] = [
    (METRICS, MapType::PerCpuArray, size_of::<u32>(), size_of::<Metrics>(), 1),
    (
        LISTENER_COUNTERS,
        MapType::PerCpuHash,
        size_of::<ListenerKey>(),
        size_of::<ListenerCounters>(),
        wire::LISTENERS_MAX,
    ),
];

/// Names of the maps, which are also the names of their pins.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|(name, ..)| *name)
}

/// Checks that what is pinned under our names is what we would pin.
///
/// # Errors
///
/// [`PinError::Foreign`] naming the file and the difference.
pub(crate) fn check_pins(pins: &PinFolder) -> Result<(), PinError> {
    SHAPES.iter().try_for_each(|(name, kind, key, value, entries)| {
        let path = pins.object(name);
        let foreign = |what| Err(PinError::Foreign { path: path.clone(), what });
        if !Path::new(&path).exists() {
            return Ok(());
        }
        let Ok(found) = MapInfo::from_pin(&path) else { return foreign("not a map") };
        if found.map_type().ok() != Some(*kind) {
            return foreign("a map of another type");
        }
        let same = |found: u32, ours: usize| usize::try_from(found) == Ok(ours);
        if !same(found.key_size(), *key) || !same(found.value_size(), *value) {
            return foreign("a map with another key or value");
        }
        if !same(found.max_entries(), *entries) {
            return foreign("a map of another capacity");
        }
        Ok(())
    })
}

/// A shared record as the map wrappers want it.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
struct Record<T>(T);

// SAFETY: zerocopy's derives prove that `T` has neither padding nor invalid bit patterns.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for Record<T> {}

/// The maps of a loaded object.
pub(crate) struct Maps {
    metrics: PerCpuArray<MapData, Record<Metrics>>,
    listeners: PerCpuHashMap<MapData, Record<ListenerKey>, Record<ListenerCounters>>,
}

impl Maps {
    /// Takes the maps out of `object`.
    ///
    /// # Errors
    ///
    /// A map is missing or has another shape, which is a broken build.
    pub(crate) fn take(object: &mut Ebpf) -> Result<Self, StartError> {
        let mut map = |name| object.take_map(name).ok_or(StartError::Incomplete { name });
        let (metrics, listeners): (Map, Map) = (map(METRICS)?, map(LISTENER_COUNTERS)?);
        Ok(Self {
            metrics: metrics.try_into().map_err(access(METRICS))?,
            listeners: listeners.try_into().map_err(access(LISTENER_COUNTERS))?,
        })
    }

    /// The six counters, summed over CPUs.
    pub(crate) fn metrics(&self) -> Result<Metrics, MapError> {
        let values = self.metrics.get(&0, 0).map_err(access(METRICS))?;
        Ok(values.iter().fold(Metrics::default(), |sum, value| sum.merged(value.0)))
    }

    /// Counters per listener, summed over CPUs, in the order of address and port.
    pub(crate) fn listener_counters(&self) -> Result<Vec<(ListenerAddress, ListenerCounters)>, MapError> {
        let mut counters = Vec::new();
        for entry in self.listeners.iter() {
            let (key, values) = entry.map_err(access(LISTENER_COUNTERS))?;
            let sum = values.iter().fold(ListenerCounters::default(), |sum, value| sum.merged(value.0));
            counters.push((ListenerAddress::from_key(&key.0), sum));
        }
        counters.sort_unstable_by_key(|(listener, _)| *listener);
        Ok(counters)
    }

    /// Makes the map hold exactly `wanted`: removes what is gone, adds what is new, leaves the counters of the rest.
    pub(crate) fn set_listeners(&mut self, wanted: &[ListenerAddress]) -> Result<(), MapError> {
        let wanted: HashSet<ListenerKey> = wanted.iter().map(|listener| listener.key()).collect();
        let present: Result<HashSet<ListenerKey>, _> =
            self.listeners.keys().map(|key| key.map(|key| key.0)).collect();
        let present = present.map_err(access(LISTENER_COUNTERS))?;
        for gone in present.difference(&wanted) {
            self.listeners.remove(&Record(*gone)).map_err(access(LISTENER_COUNTERS))?;
        }
        let cpus =
            nr_cpus().map_err(|(_, error)| access(LISTENER_COUNTERS)(maps::MapError::IoError(error)))?;
        for new in wanted.difference(&present) {
            let zero = PerCpuValues::try_from(vec![Record(ListenerCounters::default()); cpus])
                .map_err(|error| access(LISTENER_COUNTERS)(maps::MapError::IoError(error)))?;
            self.listeners.insert(Record(*new), zero, 0).map_err(full_or_access)?;
        }
        Ok(())
    }
}

fn access(map: &'static str) -> impl Fn(maps::MapError) -> MapError {
    move |source| MapError::Access { map, source }
}

fn full_or_access(error: maps::MapError) -> MapError {
    match &error {
        maps::MapError::SyscallError(SyscallError { io_error, .. })
            if io_error.raw_os_error() == Some(libc::E2BIG) =>
        {
            MapError::Full
        }
        _ => access(LISTENER_COUNTERS)(error),
    }
}
