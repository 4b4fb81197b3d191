//! How large maps are made, and how large those are that were found.

use std::collections::BTreeMap;

use aya::util::nr_cpus;
use wire::{LISTENERS_MAX, REQUESTS_PER_CPU};

use super::{
    BACKEND_FAILURES, CLOSED, ENDPOINT_RESPONSES, ENDPOINTS, FLOW_CACHE, FLOWS, LEGS, Maps, REQUESTS,
    ROUTE_RESPONSES, VIPS,
};
use crate::{Options, object::Shape};

/// Maps of tables of routes, each with the table's name and how many of its entries the table's each take. Those of a table are indexed
/// alike; where new keys come before old ones go, there is room for both.
const TABLES: [(&str, &str, u32); 12] = [
    ("HOSTS", "HOSTS", 2),
    ("ROUTES", "ROUTES", 1),
    ("PREFIX_ROUTES", "PREFIX_ROUTES", 1),
    ("CANDIDATES", "CANDIDATES", 1),
    ("HEADER_CONDITIONS", "HEADER_CONDITIONS", 1),
    ("ROUTE_ACTIONS", "ROUTE_ACTIONS", 1),
    ("COPIES", "ROUTE_ACTIONS", 1),
    ("BACKENDS", "BACKENDS", 1),
    ("MAGLEV_TABLES", "MAGLEV_TABLES", 1),
    (ENDPOINTS, ENDPOINTS, 1),
    (BACKEND_FAILURES, ENDPOINTS, 1),
    ("BACKEND_MEMBERS", "BACKEND_MEMBERS", 2),
];

/// Whether the map may be of another size than was asked for when an earlier run made it: the agent goes by what it finds.
pub(super) fn may_differ(map: &str) -> bool {
    map == VIPS || TABLES.iter().any(|(name, ..)| *name == map)
}

/// How many entries a map takes for tables of these sizes; none: it is of no such table.
pub(crate) fn entries(map: &str, tables: &BTreeMap<&'static str, u32>) -> Option<u32> {
    let (_, table, each) = TABLES.iter().find(|(name, ..)| *name == map)?;
    Some(tables.get(table)?.saturating_mul(*each))
}

/// The maps of a table of routes.
pub fn maps_of(table: &str) -> Vec<&'static str> {
    TABLES.iter().filter(|(_, of, _)| *of == table).map(|(map, ..)| *map).collect()
}

/// Gives the map of stored requests room for every CPU, and the maps of flows room for as many as are wanted; a connection may
/// leave legs behind that are still answered, so that legs have twice as much. Routes and endpoints are counted by their index,
/// and 0 is the index of none.
pub(crate) fn size(shapes: &mut [Shape], options: &Options) {
    let cpus = nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
    for shape in shapes.iter_mut() {
        match shape.name.as_str() {
            FLOWS | CLOSED => shape.entries = options.max_flows,
            FLOW_CACHE => shape.entries = options.affinity_entries,
            LEGS => shape.entries = options.max_flows.saturating_mul(2),
            REQUESTS => shape.entries = REQUESTS_PER_CPU.saturating_mul(cpus),
            ROUTE_RESPONSES => shape.entries = options.counted_routes.saturating_add(1),
            ENDPOINT_RESPONSES => shape.entries = options.counted_endpoints.saturating_add(1),
            // New sockets come before old ones go.
            VIPS => shape.entries = u32::try_from(2 * LISTENERS_MAX).unwrap_or(shape.entries),
            map => shape.entries = entries(map, &options.tables).unwrap_or(shape.entries),
        }
    }
}

impl Maps {
    /// How many entries each table of routes has room for in all of its maps.
    pub(crate) fn table_sizes(&self) -> BTreeMap<&'static str, u32> {
        let mut sizes = BTreeMap::new();
        for (map, table, each) in TABLES {
            let Some(entries) = self.raw.get(map).map(|map| map.shape().entries / each) else { continue };
            sizes.entry(table).and_modify(|size: &mut u32| *size = entries.min(*size)).or_insert(entries);
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_a_table_are_as_large_as_it_asks() {
        let tables = BTreeMap::from([(ENDPOINTS, 100), ("HOSTS", 10), ("BACKEND_MEMBERS", 30)]);
        let of = |map| entries(map, &tables);
        assert_eq!(
            [of(ENDPOINTS), of(BACKEND_FAILURES), of("BACKEND_MEMBERS"), of("HOSTS")],
            [Some(100), Some(100), Some(60), Some(20)]
        );
        assert_eq!((of("ROUTES"), of(FLOWS)), (None, None));
        assert!(may_differ("COPIES") && may_differ(VIPS) && !may_differ("METRICS"));
    }
}
