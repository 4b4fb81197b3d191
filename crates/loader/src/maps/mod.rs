//! Typed handles on the maps.
//!
//! Which maps there are and what they look like is read from the object; every map is pinned under its own name. Tables
//! that the compiler fills are written by their bytes ([`raw`]); the rest has a type here.

mod clients;
mod counters;
mod flows;
mod lots;
mod notes;
mod pool;
mod raw;
mod sizes;
mod tables;

use std::{collections::BTreeMap, path::Path};

use aya::{
    Ebpf,
    maps::{self, Map, MapData, MapInfo, PerCpuArray, PerCpuHashMap},
};
use tracing::warn;
use wire::{ListenerCounters, ListenerKey, Metrics, Notes, Responses};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    MapError, PinError, RoutingError, StartError,
    object::Shape,
    pins::{self, PinFolder},
};

pub use clients::Clients;
pub use lots::Lots;
pub use tables::{Entry, Prefix, Write};

pub(crate) use raw::RawMap;
pub use sizes::maps_of;
pub(crate) use sizes::{entries, size};

const METRICS: &str = "METRICS";
const LISTENER_COUNTERS: &str = "LISTENER_COUNTERS";
pub(crate) const REASONS: &str = "REASONS";
const LISTENER_RESPONSES: &str = "LISTENER_RESPONSES";
const ROUTE_RESPONSES: &str = "ROUTE_RESPONSES";
const ENDPOINT_RESPONSES: &str = "ENDPOINT_RESPONSES";
pub(crate) const EVENTS: &str = "EVENTS";
pub(crate) const FLOWS: &str = "FLOWS";
const LEGS: &str = "LEGS";
const POOLED_LEGS: &str = "POOLED_LEGS";
const CLOSED: &str = "CLOSED";
pub(crate) const FLOW_CACHE: &str = "FLOW_CACHE";
const LOTS: &str = "LOTS";
const REQUESTS: &str = "REQUESTS";
const VIPS: &str = "VIPS";
pub(crate) const ENDPOINTS: &str = "ENDPOINTS";
pub(crate) const SETTINGS: &str = "SETTINGS";
const TRUSTED_PROXIES: &str = "TRUSTED_PROXIES";
pub(crate) const BACKEND_FAILURES: &str = "BACKEND_FAILURES";
pub(crate) const XDP_DEVICES: &str = "XDP_DEVICES";
const NOTES: &str = "NOTES";

/// The maps whose capacity is a setting, or the machine's.
const SIZED: [&str; 7] = [FLOWS, LEGS, CLOSED, FLOW_CACHE, REQUESTS, ROUTE_RESPONSES, ENDPOINT_RESPONSES];

/// Those of them that hold counts alone: nothing is lost with them.
const COUNTS: [&str; 2] = [ROUTE_RESPONSES, ENDPOINT_RESPONSES];

/// The maps of responses, by [`Answered`].
const RESPONSES: [&str; 3] = [LISTENER_RESPONSES, ROUTE_RESPONSES, ENDPOINT_RESPONSES];

/// What responses are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// The index of a listener ([`wire::Vip::listener`]).
    AtListener(u32),
    /// An index of `ROUTE_ACTIONS`.
    ByRoute(u32),
    /// An index of `ENDPOINTS`.
    ByEndpoint(u32),
}

/// The maps that the agent itself reads and writes when the kernel routes.
const ROUTING: [&str; 17] = [
    FLOWS,
    LEGS,
    POOLED_LEGS,
    CLOSED,
    FLOW_CACHE,
    LOTS,
    ENDPOINTS,
    SETTINGS,
    TRUSTED_PROXIES,
    BACKEND_FAILURES,
    REASONS,
    LISTENER_RESPONSES,
    ROUTE_RESPONSES,
    ENDPOINT_RESPONSES,
    EVENTS,
    XDP_DEVICES,
    NOTES,
];

/// The shapes whose capacity differs from what the object says.
pub(crate) fn sized(shapes: &[Shape]) -> impl Iterator<Item = &Shape> {
    shapes.iter().filter(|shape| SIZED.contains(&shape.name.as_str()) || sizes::may_differ(&shape.name))
}

/// Checks that what is pinned under our names is what we would pin, or a table of routes of another size: then that is its size.
///
/// # Errors
///
/// [`PinError::Foreign`] naming the file and the difference.
pub(crate) fn check_pins(pins: &PinFolder, shapes: &mut [Shape]) -> Result<(), PinError> {
    shapes.iter_mut().try_for_each(|shape| {
        let path = pins.object(&shape.name);
        let foreign = |what| Err(PinError::Foreign { path: path.clone(), what });
        if !Path::new(&path).exists() {
            return Ok(());
        }
        let Ok(found) = MapInfo::from_pin(&path) else { return foreign("not a map") };
        if found.map_type().ok().map(|kind| kind as u32) != Some(shape.kind) {
            return foreign("a map of another type");
        }
        if found.key_size() != shape.key || found.value_size() != shape.value {
            return foreign("a map with another key or value");
        }
        if found.max_entries() == shape.entries {
            return Ok(());
        }
        if COUNTS.contains(&shape.name.as_str()) {
            return pins::remove_pin(&path);
        }
        if sizes::may_differ(&shape.name) {
            shape.entries = found.max_entries();
            return Ok(());
        }
        if !SIZED.contains(&shape.name.as_str()) {
            return foreign("a map of another capacity");
        }
        // Connections live in it, or clients' endpoints: better the old size than none of them.
        warn!(
            map = shape.name,
            entries = found.max_entries(),
            "the new capacity (dataplane.maxFlows, dataplane.affinity.entries) takes effect after `rauta detach`; the kernel keeps what the last run left"
        );
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
    reasons: Option<PerCpuArray<MapData, u64>>,
    /// By listener, by route, by endpoint.
    responses: [Option<PerCpuArray<MapData, Record<Responses>>>; 3],
    /// By interface.
    notes: Option<PerCpuHashMap<MapData, u32, Record<Notes>>>,
    raw: BTreeMap<String, RawMap>,
}

impl Maps {
    /// Takes the maps out of `object`, which are pinned already.
    ///
    /// # Errors
    ///
    /// A map is missing or has another shape, which is a broken build.
    pub(crate) fn take(object: &mut Ebpf, pins: &PinFolder, shapes: &[Shape]) -> Result<Self, StartError> {
        let raw: Result<BTreeMap<String, RawMap>, MapError> = shapes
            .iter()
            .map(|shape| Ok((shape.name.clone(), RawMap::open(shape, &pins.object(&shape.name))?)))
            .collect();
        let reasons: Option<Map> = object.take_map(REASONS);
        let notes: Option<Map> = object.take_map(NOTES);
        let [by_listener, by_route, by_endpoint] = RESPONSES
            .map(|name| object.take_map(name).map(TryInto::try_into).transpose().map_err(access(name)));
        let responses = [by_listener?, by_route?, by_endpoint?];
        let mut map = |name| object.take_map(name).ok_or(StartError::Incomplete { name });
        let (metrics, listeners): (Map, Map) = (map(METRICS)?, map(LISTENER_COUNTERS)?);
        Ok(Self {
            metrics: metrics.try_into().map_err(access(METRICS))?,
            listeners: listeners.try_into().map_err(access(LISTENER_COUNTERS))?,
            reasons: reasons.map(TryInto::try_into).transpose().map_err(access(REASONS))?,
            responses,
            notes: notes.map(TryInto::try_into).transpose().map_err(access(NOTES))?,
            raw: raw?,
        })
    }

    /// Whether the object has what routing needs.
    pub(crate) fn routing(&self) -> Result<(), RoutingError> {
        match ROUTING.iter().find(|name| !self.raw.contains_key(**name)) {
            Some(name) => Err(RoutingError::Incomplete { name }),
            None => Ok(()),
        }
    }

    /// Every map.
    pub(crate) fn all(&self) -> impl Iterator<Item = &RawMap> {
        self.raw.values()
    }

    /// Goes on with other maps of the same names.
    pub(crate) fn exchange(&mut self, others: impl IntoIterator<Item = RawMap>) {
        self.raw.extend(others.into_iter().map(|map| (map.shape().name.clone(), map)));
    }

    pub(crate) fn raw(&self, name: &str) -> Result<&RawMap, MapError> {
        self.raw.get(name).ok_or_else(|| MapError::Unknown { map: name.to_owned() })
    }
}

fn access(map: &'static str) -> impl Fn(maps::MapError) -> MapError {
    move |source| MapError::Access { map, source }
}
