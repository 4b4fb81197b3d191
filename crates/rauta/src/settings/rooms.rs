//! Room in the kernel's tables of routes.

use std::collections::BTreeMap;
use std::fmt;

use kernel::{Map, Sizes};

/// Entries of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// When the maps are made.
    pub(crate) first: u32,
    /// When it has grown as far as it may.
    pub(crate) most: u32,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.most {
            true => write!(f, "{}", self.most),
            false => write!(f, "{}-{}", self.first, self.most),
        }
    }
}

/// The room of each table: see [`Sizes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableSettings {
    pub(crate) hosts: Room,
    pub(crate) routes: Room,
    pub(crate) prefixes: Room,
    pub(crate) candidates: Room,
    pub(crate) conditions: Room,
    pub(crate) actions: Room,
    pub(crate) backends: Room,
    pub(crate) maglev: Room,
    pub(crate) endpoints: Room,
    pub(crate) members: Room,
}

impl TableSettings {
    /// When the maps are made, by their names.
    pub(crate) fn first(&self) -> BTreeMap<&'static str, u32> {
        Sizes::TABLES.iter().map(|table| (table.name(), self.of(*table).first)).collect()
    }

    /// When the tables have grown as far as they may.
    pub(crate) fn most(&self) -> Sizes {
        Sizes::from_tables(|table| self.of(table).most)
    }

    /// What a setting is called that is for one of [`Sizes::TABLES`].
    pub(crate) const fn key(table: Map) -> &'static str {
        match table {
            Map::Hosts => "hosts",
            Map::Routes => "routes",
            Map::PrefixRoutes => "prefixes",
            Map::Candidates => "candidates",
            Map::HeaderConditions => "conditions",
            Map::RouteActions => "actions",
            Map::Backends => "backends",
            Map::MaglevTables => "maglev",
            Map::BackendMembers => "members",
            Map::Endpoints | Map::Vips | Map::HeaderNames | Map::Copies => "endpoints",
        }
    }

    const fn of(&self, table: Map) -> Room {
        match table {
            Map::Hosts => self.hosts,
            Map::Routes => self.routes,
            Map::PrefixRoutes => self.prefixes,
            Map::Candidates => self.candidates,
            Map::HeaderConditions => self.conditions,
            Map::RouteActions => self.actions,
            Map::Backends => self.backends,
            Map::MaglevTables => self.maglev,
            Map::BackendMembers => self.members,
            Map::Endpoints | Map::Vips | Map::HeaderNames | Map::Copies => self.endpoints,
        }
    }
}

impl Default for TableSettings {
    fn default() -> Self {
        let room = |first, most| Room { first, most };
        Self {
            // Tries take memory for what is in them alone.
            hosts: room(131_072, 131_072),
            routes: room(2048, 131_072),
            prefixes: room(131_072, 131_072),
            candidates: room(8192, 262_144),
            conditions: room(512, 32_768),
            actions: room(2048, 65_536),
            backends: room(1024, 65_536),
            maglev: room(128, 8192),
            endpoints: room(4096, 65_536),
            // Takes memory for what is in it, and for as many places.
            members: room(16_384, 262_144),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_its_own_room_and_key() {
        let settings = TableSettings { maglev: Room { first: 7, most: 9 }, ..TableSettings::default() };
        assert_eq!(settings.first().get("MAGLEV_TABLES"), Some(&7));
        assert_eq!((settings.most().maglev, settings.most().endpoints), (9, 65_536));
        let mut keys: Vec<_> = Sizes::TABLES.into_iter().map(TableSettings::key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), settings.first().len()), (10, 10));
    }
}
