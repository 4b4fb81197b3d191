use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::{HostPattern, Listener, Route, WildcardLabels};

use crate::change::Change;
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
    /// Host to its number. Names may be in it that no route has any more: their shards have nothing for them.
    hosts: Arc<HostMap>,
    /// How many hosts are in it.
    named: usize,
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
    at: Attached,
}

/// That a route is for a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Attached {
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
        if before.is_some() && is_thin(numbers.end(), live) {
            numbers = Numbers::after(None);
            entries = numbers.entries(all, &routes);
            live = count(&entries);
        }
        // Where there is a number for each name in the map, and no name without one, they are the same ones.
        let known =
            before.filter(|before| numbers.new.is_empty() && before.named == live && before.live() == live);
        let hosts = match known {
            Some(before) => before.hosts.clone(),
            None => Arc::new(HostMap::new(entries.iter().map(|entry| (entry.key.clone(), entry.at.host)))),
        };
        let end = numbers.end();
        let entries: Vec<Attached> = entries.iter().map(|entry| entry.at).collect();
        let mut shards: Vec<Placed> = Vec::with_capacity(end.div_ceil(SHARD_HOSTS as usize));
        for of_shard in entries.chunk_by(|a, b| a.shard() == b.shard()) {
            let at = of_shard.first().map_or(0, |one| one.shard() as usize);
            // Nobody asks those whose hosts have all gone.
            shards.resize_with(at, || Placed::new(&[], all, regexes, None));
            shards.push(Placed::new(of_shard, all, regexes, before.and_then(|before| before.shards.get(at))));
        }
        Self { listener, routes, hosts, named: live, end, shards: shards.into() }
    }

    /// Compiles the shards of the hosts whose routes came or went between `old`, of which the table before was made, and `all`. None if
    /// that is not all: where wildcards came or went, which names without routes of their own turn to, or too many hosts are without.
    pub(crate) fn after(
        &self,
        listener: Arc<Listener>,
        change: &Change,
        (old, all): (&[Arc<Route>], &[Arc<Route>]),
        new: &[u32],
        regexes: &Regexes,
    ) -> Option<Self> {
        let mut numbers = Numbers::after(Some(self));
        let mut touched: BTreeMap<u32, Vec<Attached>> = BTreeMap::new();
        for &place in change.gone(&self.routes) {
            for key in names(old.get(place as usize)?)? {
                touched.entry(self.hosts.value(&key)? / SHARD_HOSTS).or_default();
            }
        }
        for &place in new {
            for key in names(all.get(place as usize)?)? {
                let one = Attached { host: numbers.of(key), place };
                touched.entry(one.shard()).or_default().push(one);
            }
        }
        let end = numbers.end();
        let shard = |at: u32| {
            let known = self.shards.get(at as usize);
            let Some(mut attached) = touched.remove(&at) else {
                return known
                    .map_or_else(|| Some(Placed::new(&[], all, regexes, None)), |known| known.moved(change));
            };
            attached.extend(known.into_iter().flat_map(|known| known.staying(at, change)));
            attached.sort_unstable();
            Some(Placed::new(&attached, all, regexes, known))
        };
        let shards: Box<[Placed]> =
            (0..number(end).div_ceil(SHARD_HOSTS)).map(shard).collect::<Option<_>>()?;
        let hosts = match numbers.new.is_empty() {
            true => self.hosts.clone(),
            false => Arc::new(self.hosts.with(&numbers.new_names()?)),
        };
        let (routes, named) = (change.places(&self.routes, new), self.named + numbers.new.len());
        let table = Self { listener, routes, hosts, named, end, shards };
        (!is_thin(end, table.live())).then_some(table)
    }

    /// How many hosts have routes.
    fn live(&self) -> usize {
        self.shards.iter().map(|placed| placed.shard.live()).sum()
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

/// Whether of the numbers below `end` so few are of hosts with routes that they are better given anew.
fn is_thin(end: usize, live: usize) -> bool {
    end > 2 * live + SHARD_HOSTS as usize
}

impl Attached {
    fn shard(self) -> u32 {
        self.host / SHARD_HOSTS
    }
}

impl Placed {
    /// Of what is in order.
    fn new(attached: &[Attached], all: &[Arc<Route>], regexes: &Regexes, before: Option<&Self>) -> Self {
        let mut places: Vec<u32> = attached.iter().map(|one| one.place).collect();
        places.sort_unstable();
        places.dedup();
        let member = |one: &Attached| {
            let route = places.binary_search(&one.place).unwrap_or_default();
            Member { route: number(route), scope: one.host % SHARD_HOSTS }
        };
        let mut members: Vec<Member> = attached.iter().map(member).collect();
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

    /// The same where its routes stand now; none: one is gone.
    fn moved(&self, change: &Change) -> Option<Self> {
        let places = self.places.iter().map(|&place| change.moved(place)).collect::<Option<_>>()?;
        Some(Self { shard: self.shard.clone(), places })
    }

    /// What stays of it, being the shard with this number.
    fn staying(&self, at: u32, change: &Change) -> impl Iterator<Item = Attached> {
        self.shard.members().iter().filter_map(move |member| {
            let place = change.moved(*self.places.get(member.route as usize)?)?;
            Some(Attached { host: at * SHARD_HOSTS + member.scope, place })
        })
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

    /// Those that are new; none: not all of them are names.
    fn new_names(&self) -> Option<Vec<(&'m str, u32)>> {
        let name = |(key, &value): (&HostKey<'m>, _)| match key {
            HostKey::Exact(name) => Some((*name, value)),
            HostKey::Suffix(..) | HostKey::Any => None,
        };
        self.new.iter().map(name).collect()
    }

    /// The hosts of the routes at these places, by number.
    fn entries(&mut self, all: &'m [Arc<Route>], routes: &[u32]) -> Vec<Entry<'m>> {
        let attached = || routes.iter().filter_map(|&at| Some((at, all.get(at as usize)?)));
        // The suffixes that some route takes with one label only.
        let one_label: BTreeSet<&str> =
            attached().flat_map(|(_, route)| &route.hosts).filter_map(suffix_of_one_label).collect();
        let mut entries = Vec::with_capacity(routes.len());
        let mut add = |place, key: HostKey<'m>| {
            entries.push(Entry { at: Attached { host: self.of(key.clone()), place }, key });
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
        entries.sort_by_key(|entry| entry.at.host);
        entries
    }
}

/// The hosts of a route; none: there are wildcards among them.
fn names(route: &Route) -> Option<Vec<HostKey<'_>>> {
    if route.hosts.is_empty() {
        return Some(vec![HostKey::Any]);
    }
    let name = |host| match HostKey::new(Some(host)) {
        HostKey::Suffix(..) => None,
        key => Some(key),
    };
    route.hosts.iter().map(name).collect()
}

/// How many hosts there are in entries, which are by number.
fn count(entries: &[Entry<'_>]) -> usize {
    entries.chunk_by(|a, b| a.at.host == b.at.host).count()
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
        route_for(HostPattern::Exact(format!("{name}.test").into()), name)
    }

    fn route_for(host: HostPattern, name: &str) -> Arc<Route> {
        let id = RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", name), rule: 0 };
        let action = Action::Respond { status: 200, reason: "test".into() };
        Arc::new(Route { hosts: vec![host], ..Route::new(id, action) })
    }

    fn listener() -> Arc<Listener> {
        Arc::new(Listener {
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
        })
    }

    fn table(routes: &[Arc<Route>], before: Option<&ListenerTable>) -> ListenerTable {
        let places = (0..number(routes.len())).collect();
        ListenerTable::new(listener(), routes, places, &Regexes::default(), before)
    }

    /// The table of `routes` by what is another than in `old`; none: all has to be looked at.
    fn changed(routes: &[Arc<Route>], old: &[Arc<Route>], before: &ListenerTable) -> Option<ListenerTable> {
        let change = Change::between(old, routes);
        let new: Vec<u32> = (number(change.head)..number(change.new_tail)).collect();
        before.after(listener(), &change, (old, routes), &new, &Regexes::default())
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
    fn a_change_looks_at_no_other_shard() {
        let mut routes: Vec<_> = (0..HOSTS).map(|i| route(&format!("r{i}"))).collect();
        let (old, first) = (routes.clone(), table(&routes, None));
        routes[70] = route("r70");
        let second = changed(&routes, &old, &first).unwrap();
        assert_eq!(kept(&second, &first), [true, false, true, true]);
        assert!(Arc::ptr_eq(&second.hosts, &first.hosts));
        let old = routes.clone();
        routes.insert(0, route("new"));
        let third = changed(&routes, &old, &second).unwrap();
        assert_eq!(kept(&third, &second), [true, true, true, false]);
        let old = routes.clone();
        routes.remove(1);
        let fourth = changed(&routes, &old, &third).unwrap();
        assert_eq!(kept(&fourth, &third), [false, true, true, true]);
        assert!(Arc::ptr_eq(&fourth.hosts, &third.hosts), "the name stays in the map");
        assert_eq!((fourth.live(), fourth.named), (HOSTS, HOSTS + 1));
        assert_eq!(*fourth.routes, *(0..number(HOSTS)).collect::<Vec<_>>());
        let wild = HostPattern::Wildcard { suffix: ".test".into(), labels: WildcardLabels::OneOrMore };
        let old = routes.clone();
        routes.push(route_for(wild, "wild"));
        assert!(changed(&routes, &old, &fourth).is_none(), "names turn to wildcards");
        let emptied = changed(&routes[..20], &routes, &table(&routes, None));
        assert!(emptied.is_none(), "of 200 numbers 20 are in use");
    }

    /// What is left of a wildcard would keep names from the next.
    #[test]
    fn a_wildcard_that_is_gone_leaves_no_trace() {
        let wild = |labels, name| route_for(HostPattern::Wildcard { suffix: ".test".into(), labels }, name);
        let (one, more) = (wild(WildcardLabels::One, "one"), wild(WildcardLabels::OneOrMore, "more"));
        let name = route("r");
        let all = [one.clone(), more.clone(), name.clone()];
        let first = table(&all, None);
        let second = changed(&all[..2], &all, &first).unwrap();
        assert_eq!((second.live(), second.named), (2, 3));
        let third = table(&[more, name], Some(&second));
        assert_eq!((third.live(), third.named), (2, 2));
        assert_eq!(third.hosts.find_map("x.test", Some), third.hosts.find_map("x.y.test", Some));
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
