use std::collections::BTreeMap;
use std::sync::Arc;

use wire::{
    BackendRecord, Candidate, EndpointRecord, HEADER_NAME_MAX, HeaderConditions, HostKey, HostRecord,
    ListenerKey, MaglevTable, Member, PrefixKey, PrefixRecord, RouteAction, RouteKey, RouteRecord, Vip,
};
use zerocopy::FromBytes;

use crate::diff::{Map, Write};

/// The wanted content of the maps, or what was read from them.
///
/// It answers lookups as the maps do ([`dataplane::lookup::Tables`], [`dataplane::lookup::Balancing`]): for tests, and to
/// explain a decision without a packet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// `VIPS`.
    pub vips: BTreeMap<ListenerKey, Vip>,
    /// `HOSTS`.
    pub hosts: BTreeMap<HostKey, HostRecord>,
    /// `ROUTES`.
    pub routes: BTreeMap<RouteKey, RouteRecord>,
    /// `PREFIX_ROUTES`.
    pub prefixes: BTreeMap<PrefixKey, PrefixRecord>,
    /// `CANDIDATES`.
    pub candidates: BTreeMap<u32, Candidate>,
    /// `HEADER_CONDITIONS`.
    pub conditions: BTreeMap<u32, HeaderConditions>,
    /// `HEADER_NAMES`: lower case, zero padded.
    pub names: BTreeMap<[u8; HEADER_NAME_MAX], u32>,
    /// `ROUTE_ACTIONS`.
    pub actions: BTreeMap<u32, RouteAction>,
    /// `COPIES`, by action.
    pub copies: BTreeMap<u32, u32>,
    /// `BACKENDS`.
    pub backends: BTreeMap<u32, BackendRecord>,
    /// `MAGLEV_TABLES`.
    pub maglev: BTreeMap<u32, Arc<MaglevTable>>,
    /// `ENDPOINTS`.
    pub endpoints: BTreeMap<u32, EndpointRecord>,
    /// `BACKEND_MEMBERS`: of backends whose clients stay.
    pub members: BTreeMap<Member, u32>,
}

impl Tables {
    /// Does to the content what the write does to a map. Bytes of another size than the map's are no write: nothing
    /// happens, and the answer is false.
    pub fn apply(&mut self, write: &Write) -> bool {
        let done = match write.map {
            Map::Vips => exchange(&mut self.vips, write),
            Map::Hosts => exchange(&mut self.hosts, write),
            Map::Routes => exchange(&mut self.routes, write),
            Map::PrefixRoutes => exchange(&mut self.prefixes, write),
            Map::Candidates => exchange(&mut self.candidates, write),
            Map::HeaderConditions => exchange(&mut self.conditions, write),
            Map::HeaderNames => exchange(&mut self.names, write),
            Map::RouteActions => exchange(&mut self.actions, write),
            Map::Copies => exchange(&mut self.copies, write),
            Map::Backends => exchange(&mut self.backends, write),
            Map::Endpoints => exchange(&mut self.endpoints, write),
            Map::BackendMembers => exchange(&mut self.members, write),
            Map::MaglevTables => {
                let key = u32::read_from_bytes(&write.key).ok();
                let value = write.value.as_deref().and_then(|bytes| MaglevTable::read_from_bytes(bytes).ok());
                key.zip(value).map(|(key, value)| {
                    self.maglev.insert(key, Arc::new(value));
                })
            }
        };
        done.is_some()
    }

    /// Whether some route matches on headers, so that programs look field names up.
    pub fn captures_headers(&self) -> bool {
        !self.names.is_empty()
    }

    /// Adds what is not there.
    pub(crate) fn add_missing(&mut self, other: &Self) {
        fn add<K: Ord + Clone, V: Clone>(ours: &mut BTreeMap<K, V>, theirs: &BTreeMap<K, V>) {
            for (key, value) in theirs {
                ours.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        add(&mut self.hosts, &other.hosts);
        add(&mut self.routes, &other.routes);
        add(&mut self.prefixes, &other.prefixes);
        add(&mut self.candidates, &other.candidates);
        add(&mut self.conditions, &other.conditions);
        add(&mut self.names, &other.names);
        add(&mut self.actions, &other.actions);
        add(&mut self.copies, &other.copies);
        add(&mut self.backends, &other.backends);
        add(&mut self.maglev, &other.maglev);
        add(&mut self.members, &other.members);
    }
}

fn exchange<K, V>(map: &mut BTreeMap<K, V>, write: &Write) -> Option<()>
where
    K: FromBytes + Ord,
    V: FromBytes,
{
    let key = K::read_from_bytes(&write.key).ok()?;
    match &write.value {
        Some(value) => drop(map.insert(key, V::read_from_bytes(value).ok()?)),
        None => drop(map.remove(&key)),
    }
    Some(())
}

impl dataplane::lookup::Tables for Tables {
    fn host<'t>(&'t self, key: &HostKey) -> Option<&'t HostRecord> {
        let lengths = (32..=key.bits).rev().filter(|bits| bits % 8 == 0);
        let shorter = |bits: u32| {
            let mut wanted = HostKey { bits, ..*key };
            wanted.text[(bits as usize / 8).saturating_sub(4)..].fill(0);
            wanted
        };
        lengths.map(shorter).find_map(|wanted| self.hosts.get(&wanted))
    }

    fn route<'t>(&'t self, key: &RouteKey) -> Option<&'t RouteRecord> {
        self.routes.get(key)
    }

    fn prefix<'t>(&'t self, key: &PrefixKey) -> Option<&'t PrefixRecord> {
        let lengths = (32..=key.bits).rev().filter(|bits| bits % 8 == 0);
        let shorter = |bits: u32| {
            let mut wanted = PrefixKey { bits, ..*key };
            wanted.path[(bits as usize / 8).saturating_sub(4)..].fill(0);
            wanted
        };
        lengths.map(shorter).find_map(|wanted| self.prefixes.get(&wanted))
    }

    fn candidate(&self, index: u32) -> Option<&Candidate> {
        self.candidates.get(&index)
    }

    fn conditions(&self, index: u32) -> Option<&HeaderConditions> {
        self.conditions.get(&index)
    }
}

impl dataplane::lookup::Balancing for Tables {
    fn action(&self, index: u32) -> Option<&RouteAction> {
        self.actions.get(&index)
    }

    fn copied_below(&self, action: u32) -> Option<u32> {
        self.copies.get(&action).copied()
    }

    fn backend(&self, index: u32) -> Option<&BackendRecord> {
        self.backends.get(&index)
    }

    fn table(&self, index: u32) -> Option<&MaglevTable> {
        self.maglev.get(&index).map(|table| &**table)
    }

    fn endpoint(&self, index: u32) -> Option<&EndpointRecord> {
        self.endpoints.get(&index)
    }

    fn member(&self, key: &Member) -> Option<u32> {
        self.members.get(key).copied()
    }
}
