use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::{HostPattern, Listener, Route, WildcardLabels};

use crate::group::number;
use crate::host::{HostKey, HostMap};
use crate::regexes::Regexes;
use crate::shard::{Member, Shard};
use crate::{Headers, Request};

/// So many hosts are compiled together: few enough that a change of one route is cheap, and enough that what a look-up reads
/// stands close together.
const SHARD_HOSTS: u32 = 64;

/// The compiled routes of one listener.
#[derive(Debug)]
pub(crate) struct ListenerTable {
    pub(crate) listener: Arc<Listener>,
    /// The places in `snapshot.routes` of the routes attached to it.
    pub(crate) routes: Box<[u32]>,
    /// Host to its number.
    hosts: Arc<HostMap>,
    /// How many hosts there are.
    live: usize,
    /// Their numbers are below it.
    end: usize,
    /// By the numbers of their hosts; numbers of hosts that have gone stay free.
    shards: Box<[Placed]>,
}

/// A shard and where its routes are.
#[derive(Debug)]
struct Placed {
    shard: Arc<Shard>,
    /// The place in `snapshot.routes` of each of its routes.
    places: Box<[u32]>,
}

/// The match that takes a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The route's place in `snapshot.routes`.
    pub(crate) route: u32,
    /// Which of the route's matches.
    pub(crate) match_index: u32,
}

/// A host of a route.
struct Entry<'m> {
    key: HostKey<'m>,
    /// The host's number.
    host: u32,
    /// The route's place in `snapshot.routes`.
    place: u32,
}

impl ListenerTable {
    /// Compiles the routes at these places for `listener`, taking over the shards of an earlier table whose routes are the same.
    pub(crate) fn new(
        listener: Arc<Listener>,
        all: &[Arc<Route>],
        routes: Box<[u32]>,
        regexes: &Regexes,
        before: Option<&Self>,
    ) -> Self {
        let mut numbers = Numbers::after(before);
        let mut entries = numbers.entries(all, &routes);
        let mut live = count(&entries);
        if before.is_some() && numbers.end() > 2 * live + SHARD_HOSTS as usize {
            numbers = Numbers::after(None);
            entries = numbers.entries(all, &routes);
            live = count(&entries);
        }
        // Each number that is known was in use: as many are the same ones.
        let known = before.filter(|before| numbers.new.is_empty() && before.live == live);
        let hosts = match known {
            Some(before) => before.hosts.clone(),
            None => Arc::new(HostMap::new(entries.iter().map(|entry| (entry.key.clone(), entry.host)))),
        };
        let mut shards: Vec<Placed> = Vec::with_capacity(numbers.end().div_ceil(SHARD_HOSTS as usize));
        for of_shard in entries.chunk_by(|a, b| a.host / SHARD_HOSTS == b.host / SHARD_HOSTS) {
            let at = of_shard.first().map_or(0, |entry| (entry.host / SHARD_HOSTS) as usize);
            // Nobody asks those whose hosts have all gone.
            shards.resize_with(at, || Placed::new(&[], all, regexes, None));
            shards.push(Placed::new(of_shard, all, regexes, before.and_then(|before| before.shards.get(at))));
        }
        Self { listener, routes, hosts, live, end: numbers.end(), shards: shards.into() }
    }

    /// The route and match that take the request.
    pub(crate) fn lookup<H: Headers>(&self, request: &Request<'_, H>) -> Option<Found> {
        self.hosts.find_map(request.host, |host| {
            let Placed { shard, places } = self.shards.get((host / SHARD_HOSTS) as usize)?;
            let candidate = shard.lookup(host % SHARD_HOSTS, request)?;
            let route = *places.get(candidate.route as usize)?;
            Some(Found { route, match_index: candidate.match_index })
        })
    }
}

impl Placed {
    fn new(entries: &[Entry<'_>], all: &[Arc<Route>], regexes: &Regexes, before: Option<&Self>) -> Self {
        let mut places: Vec<u32> = entries.iter().map(|entry| entry.place).collect();
        places.sort_unstable();
        places.dedup();
        let member = |entry: &Entry<'_>| {
            let route = places.binary_search(&entry.place).unwrap_or_default();
            Member { route: number(route), scope: entry.host % SHARD_HOSTS }
        };
        let mut members: Vec<Member> = entries.iter().map(member).collect();
        members.sort_unstable();
        members.dedup();
        let routes: Box<[_]> = places.iter().filter_map(|&at| all.get(at as usize).cloned()).collect();
        let known = before.map(|before| &before.shard).filter(|shard| shard.is_of(&routes, &members));
        let shard = match known {
            Some(known) => known.clone(),
            None => Arc::new(Shard::new(routes, members.into(), regexes)),
        };
        Self { shard, places: places.into() }
    }
}

/// Numbers hosts: those of an earlier table as they were, new ones behind them.
struct Numbers<'b, 'm> {
    before: Option<&'b HostMap>,
    first: usize,
    new: HashMap<HostKey<'m>, u32>,
}

impl<'b, 'm> Numbers<'b, 'm> {
    fn after(before: Option<&'b ListenerTable>) -> Self {
        // The last shard is filled up: hosts that come one by one make no shards of one.
        let first = before.map_or(0, |before| before.end);
        Self { before: before.map(|before| &*before.hosts), first, new: HashMap::new() }
    }

    /// The numbers are below it.
    fn end(&self) -> usize {
        self.first + self.new.len()
    }

    fn of(&mut self, key: HostKey<'m>) -> u32 {
        if let Some(known) = self.before.and_then(|before| before.value(&key)) {
            return known;
        }
        let next = number(self.end());
        *self.new.entry(key).or_insert(next)
    }

    /// The hosts of the routes at these places, by number.
    fn entries(&mut self, all: &'m [Arc<Route>], routes: &[u32]) -> Vec<Entry<'m>> {
        let attached = || routes.iter().filter_map(|&at| Some((at, all.get(at as usize)?)));
        // The suffixes that some route takes with one label only.
        let one_label: BTreeSet<&str> =
            attached().flat_map(|(_, route)| &route.hosts).filter_map(suffix_of_one_label).collect();
        let mut entries = Vec::with_capacity(routes.len());
        let mut add = |place, key: HostKey<'m>| {
            entries.push(Entry { host: self.of(key.clone()), key, place });
        };
        for (place, route) in attached() {
            if route.hosts.is_empty() {
                add(place, HostKey::Any);
            }
            for host in &route.hosts {
                add(place, HostKey::new(Some(host)));
                // One label is one or more as well: where a suffix has routes of both kinds, they compete for such hosts.
                if let HostPattern::Wildcard { suffix, labels: WildcardLabels::OneOrMore } = host
                    && one_label.contains(&**suffix)
                {
                    add(place, HostKey::Suffix(suffix, WildcardLabels::One));
                }
            }
        }
        // Most are in order: the stable sort makes use of that.
        entries.sort_by_key(|entry| entry.host);
        entries
    }
}

/// How many hosts there are in entries, which are by number.
fn count(entries: &[Entry<'_>]) -> usize {
    entries.chunk_by(|a, b| a.host == b.host).count()
}

fn suffix_of_one_label(host: &HostPattern) -> Option<&str> {
    match host {
        HostPattern::Wildcard { suffix, labels: WildcardLabels::One } => Some(suffix),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use model::{Action, ListenerId, ObjectKind, ObjectRef, Protocol, RouteId};

    use super::*;

    const HOSTS: usize = 200;

    fn route(name: &str) -> Arc<Route> {
        let id = RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", name), rule: 0 };
        let host = HostPattern::Exact(format!("{name}.test").into());
        let action = Action::Respond { status: 200, reason: "test".into() };
        Arc::new(Route { hosts: vec![host], ..Route::new(id, action) })
    }

    fn table(routes: &[Arc<Route>], before: Option<&ListenerTable>) -> ListenerTable {
        let listener = Arc::new(Listener {
            id: ListenerId::default_http(),
            addresses: vec![],
            port: 80,
            protocol: Protocol::Http,
            hostname: None,
            tls: None,
            forwarded_headers: true,
            backend_certificate: None,
            proxy_protocol: false,
            reached_by: None,
        });
        let places = (0..number(routes.len())).collect();
        ListenerTable::new(listener, routes, places, &Regexes::default(), before)
    }

    /// Which shards are those of `before`.
    fn kept(table: &ListenerTable, before: &ListenerTable) -> Vec<bool> {
        table.shards.iter().zip(&before.shards).map(|(a, b)| Arc::ptr_eq(&a.shard, &b.shard)).collect()
    }

    #[test]
    fn a_change_makes_the_shard_of_its_host_again() {
        let mut routes: Vec<_> = (0..HOSTS).map(|i| route(&format!("r{i}"))).collect();
        let first = table(&routes, None);
        assert_eq!(first.shards.len(), 4);
        routes[70] = route("r70");
        let changed = table(&routes, Some(&first));
        assert_eq!(kept(&changed, &first), [true, false, true, true]);
        assert!(Arc::ptr_eq(&changed.hosts, &first.hosts));
        // All places behind it move.
        routes.insert(0, route("new"));
        let grown = table(&routes, Some(&changed));
        assert_eq!(
            kept(&grown, &changed),
            [true, true, true, false],
            "a host that comes is behind all others"
        );
        routes.remove(1);
        assert_eq!(kept(&table(&routes, Some(&grown)), &grown), [false, true, true, true]);
    }

    #[test]
    fn hosts_that_come_one_by_one_leave_the_full_shards_as_they_are() {
        let mut routes = vec![route("first")];
        let mut last = table(&routes, None);
        for i in 0..2 * HOSTS {
            routes.push(route(&format!("r{i}")));
            let next = table(&routes, Some(&last));
            assert_eq!(next.shards.len(), routes.len().div_ceil(SHARD_HOSTS as usize));
            let full = (routes.len() - 1) / SHARD_HOSTS as usize;
            assert!(kept(&next, &last)[..full].iter().all(|kept| *kept), "at {i}");
            last = next;
        }
    }

    #[test]
    fn numbers_of_hosts_that_went_do_not_pile_up() {
        let mut last = table(&[], None);
        for i in 0..10 * HOSTS {
            let routes: Vec<_> = (i..i + 3).map(|i| route(&format!("r{i}"))).collect();
            last = table(&routes, Some(&last));
            assert!(last.shards.len() <= 3);
        }
    }
}
