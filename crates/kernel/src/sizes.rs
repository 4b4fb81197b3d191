//! How many entries the tables of routes have room for.

use wire::{
    BACKEND_MEMBERS_MAX, BACKENDS_MAX, CANDIDATES_MAX, ENDPOINTS_MAX, HEADER_CONDITIONS_MAX, HOSTS_MAX,
    MAGLEV_TABLES_MAX, PREFIX_ROUTES_MAX, ROUTE_ACTIONS_MAX, ROUTES_MAX,
};

use crate::{Map, Tables};

/// Entries of each table: its room, or what is in it. Of an array all places up to the last one in use count as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// `HOSTS`: names and suffixes of each socket.
    pub hosts: u32,
    /// `ROUTES`: exact paths.
    pub routes: u32,
    /// `PREFIX_ROUTES`.
    pub prefixes: u32,
    /// `CANDIDATES`: matches.
    pub candidates: u32,
    /// `HEADER_CONDITIONS`: matches with conditions on headers.
    pub conditions: u32,
    /// `ROUTE_ACTIONS`: rules.
    pub actions: u32,
    /// `BACKENDS`.
    pub backends: u32,
    /// `MAGLEV_TABLES`: different sets of endpoints.
    pub maglev: u32,
    /// `ENDPOINTS`.
    pub endpoints: u32,
    /// `BACKEND_MEMBERS`: addresses of endpoints of backends whose clients stay.
    pub members: u32,
}

impl Sizes {
    /// The tables.
    pub const TABLES: [Map; 10] = [
        Map::Hosts,
        Map::Routes,
        Map::PrefixRoutes,
        Map::Candidates,
        Map::HeaderConditions,
        Map::RouteActions,
        Map::Backends,
        Map::MaglevTables,
        Map::Endpoints,
        Map::BackendMembers,
    ];

    /// More than any snapshot needs: to count, for no table can be as large.
    pub const UNBOUNDED: Self = Self {
        hosts: 1 << 30,
        routes: 1 << 30,
        prefixes: 1 << 30,
        candidates: 1 << 30,
        conditions: 1 << 30,
        actions: 1 << 30,
        backends: 1 << 30,
        maglev: 1 << 30,
        endpoints: 1 << 30,
        members: 1 << 30,
    };

    /// Of one table; none: it is not one of [`Sizes::TABLES`].
    pub const fn of(&self, table: Map) -> Option<u32> {
        Some(match table {
            Map::Hosts => self.hosts,
            Map::Routes => self.routes,
            Map::PrefixRoutes => self.prefixes,
            Map::Candidates => self.candidates,
            Map::HeaderConditions => self.conditions,
            Map::RouteActions => self.actions,
            Map::Backends => self.backends,
            Map::MaglevTables => self.maglev,
            Map::Endpoints => self.endpoints,
            Map::BackendMembers => self.members,
            Map::Vips | Map::HeaderNames | Map::Copies => return None,
        })
    }

    /// The same of all by their tables; 0 in place of none.
    pub fn from_tables(mut size: impl FnMut(Map) -> u32) -> Self {
        Self {
            hosts: size(Map::Hosts),
            routes: size(Map::Routes),
            prefixes: size(Map::PrefixRoutes),
            candidates: size(Map::Candidates),
            conditions: size(Map::HeaderConditions),
            actions: size(Map::RouteActions),
            backends: size(Map::Backends),
            maglev: size(Map::MaglevTables),
            endpoints: size(Map::Endpoints),
            members: size(Map::BackendMembers),
        }
    }

    /// What a content takes.
    pub(crate) fn taken(tables: &Tables) -> Self {
        let places = |last: Option<&u32>| last.map_or(0, |last| last + 1);
        Self {
            hosts: count(tables.hosts.len()),
            routes: count(tables.routes.len()),
            prefixes: count(tables.prefixes.len()),
            candidates: places(tables.candidates.keys().next_back()),
            conditions: places(tables.conditions.keys().next_back()),
            actions: places(tables.actions.keys().next_back()),
            backends: places(tables.backends.keys().next_back()),
            maglev: places(tables.maglev.keys().next_back()),
            endpoints: places(tables.endpoints.keys().next_back()),
            members: count(tables.members.len()),
        }
    }
}

/// Those of the object that holds the programs.
impl Default for Sizes {
    fn default() -> Self {
        Self {
            hosts: count(HOSTS_MAX),
            routes: count(ROUTES_MAX),
            prefixes: count(PREFIX_ROUTES_MAX),
            candidates: count(CANDIDATES_MAX),
            conditions: count(HEADER_CONDITIONS_MAX),
            actions: count(ROUTE_ACTIONS_MAX),
            backends: count(BACKENDS_MAX),
            maglev: count(MAGLEV_TABLES_MAX),
            endpoints: count(ENDPOINTS_MAX),
            members: count(BACKEND_MEMBERS_MAX),
        }
    }
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}
