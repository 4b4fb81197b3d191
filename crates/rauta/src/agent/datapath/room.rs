//! How full the kernel's tables are, and what its maps take.

use api::v1::Dataplane;
use kernel::Sizes;
use loader::MapUsage;
use telemetry::KernelTable;

use super::Kernel;
use super::routing::Routing;
use crate::settings::TableSettings;

impl Kernel {
    /// The kernel's tables and the memory of its maps; nothing where it does not route.
    pub(crate) fn room(&self) -> Dataplane {
        let inner = self.lock();
        let (Some(datapath), Some(routing)) = (&inner.datapath, &inner.routing) else {
            return Dataplane::default();
        };
        let (usage, in_use) = (datapath.memory(), datapath.in_use().unwrap_or_default());
        let bytes = |maps: &[&str]| {
            usage.iter().filter(|one| maps.contains(&one.map.as_str())).map(|one| one.bytes).sum()
        };
        let of_routes =
            Sizes::TABLES.into_iter().zip(tables(routing)).map(|(map, table)| api::v1::KernelTable {
                name: table.name.to_owned(),
                map: map.name().to_owned(),
                used: table.used,
                size: u32::try_from(table.size).unwrap_or(u32::MAX),
                max: u32::try_from(table.max).unwrap_or(u32::MAX),
                bytes: bytes(&loader::maps_of(map.name())),
            });
        let of_connections = [
            ("flows", "FLOWS", in_use.flows, in_use.flows_max),
            ("legs", "LEGS", in_use.legs, in_use.legs_max),
        ];
        let of_connections = of_connections.map(|(name, map, used, size)| api::v1::KernelTable {
            name: name.to_owned(),
            map: map.to_owned(),
            used,
            size,
            max: size,
            bytes: bytes(&[map]),
        });
        let [(_, connections), (_, other)] = map_bytes(&usage);
        Dataplane {
            tables: of_connections.into_iter().chain(of_routes).collect(),
            map_bytes: connections + other,
            connection_map_bytes: connections,
            ..Dataplane::default()
        }
    }
}

/// The tables of routes, in the order of [`Sizes::TABLES`].
pub(super) fn tables(routing: &Routing) -> impl Iterator<Item = KernelTable> {
    let (in_use, sizes, most) = (routing.in_use(), routing.sizes(), routing.sizes_max());
    let lacking = routing.lacking();
    Sizes::TABLES.into_iter().map(move |table| {
        let of = |sizes: &Sizes| u64::from(sizes.of(table).unwrap_or(0));
        // Larger maps that were found stay.
        let max = of(&most).max(of(&sizes));
        let lacking = lacking.get(&table).copied().unwrap_or(0).into();
        KernelTable { name: TableSettings::key(table), used: of(&in_use), size: of(&sizes), max, lacking }
    })
}

/// What maps take, those of connections and the others.
pub(super) fn map_bytes(usage: &[MapUsage]) -> [(&'static str, u64); 2] {
    let sum = |of_connections| {
        let counted = usage.iter().filter(|one| one.is_of_connections() == of_connections);
        counted.map(|one| one.bytes).sum()
    };
    [("connections", sum(true)), ("other", sum(false))]
}
