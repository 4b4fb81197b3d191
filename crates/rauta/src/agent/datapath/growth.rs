//! The kernel's tables of routes grow when something finds no room in them: see `docs/adr/0037`.
//!
//! Larger maps are made and the programs loaded with them in a thread of its own, which takes seconds; what finds no room is userspace's until
//! then. The rest is done between two changes of the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kernel::{Facts, Map, Sizes};
use loader::{Datapath, Grown, StartError};
use model::Snapshot;
use tracing::{debug, info, warn};

use super::routing::{Routing, now};
use crate::settings::rooms::TableSettings;

/// What becomes of tables without room.
#[derive(Default)]
pub(super) struct Growth {
    state: State,
    /// What was looked at last, and what is beyond the limits.
    looked_at: Option<(Arc<Snapshot>, Facts)>,
    beyond: Vec<(Map, u32, u32)>,
    limits: Limits,
    failures: Failures,
    /// How often tables have grown, and have not.
    counted: (u64, u64),
}

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    /// Larger maps are made.
    Loading { sizes: Sizes, since: Instant, load: Load },
}

/// Programs that are loaded, until it is dropped.
struct Load {
    done: Receiver<Result<Grown, StartError>>,
    is_abandoned: Arc<AtomicBool>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_abandoned.store(true, Relaxed);
    }
}

impl Growth {
    /// Every second. Whether there is more room now. `pins` is held by whoever needs the pins to stay.
    pub(super) fn tick(
        &mut self,
        datapath: &mut Datapath,
        routing: &mut Routing,
        pins: &Arc<Mutex<()>>,
    ) -> bool {
        let State::Loading { sizes, since, load } = &self.state else {
            self.look(datapath, routing, pins);
            return false;
        };
        let grown = match load.done.try_recv() {
            Err(TryRecvError::Empty) => return false,
            Ok(grown) => grown.map_err(anyhow::Error::from),
            Err(TryRecvError::Disconnected) => Err(anyhow::anyhow!("the thread that loads is gone")),
        };
        let (before, sizes, since) = (routing.sizes(), *sizes, *since);
        self.state = State::Waiting;
        self.looked_at = None;
        if let Err(error) = grown.and_then(|grown| Ok(datapath.grow(grown)?)) {
            self.failed(&error);
            // One that could be given neither programs has none.
            if let Err(error) = datapath.follow_interfaces() {
                warn!("interfaces are not followed: {:#}", anyhow::Error::from(error));
            }
            return false;
        }
        self.failures = Failures::default();
        self.counted.0 += 1;
        routing.resize(sizes_of(datapath));
        let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(took_ms, "kernel tables are larger: {}", text(&before, &sizes));
        true
    }

    /// Looks whether something finds no room, and has larger maps made then.
    fn look(&mut self, datapath: &Datapath, routing: &Routing, pins: &Arc<Mutex<()>>) {
        let Some(from) = routing.compiled_from() else { return };
        let lacks_sockets = routing.lacks_sockets();
        if !routing.lacks_room() {
            (self.looked_at, self.beyond) = (None, Vec::new());
            if lacks_sockets {
                return self.say_limits(lacks_sockets);
            }
            if self.limits.end() | self.failures.end() {
                info!("kernel tables have room for all routes again");
            }
            return;
        }
        let is_same = |before: &(Arc<Snapshot>, Facts)| Arc::ptr_eq(&before.0, &from.0) && before.1 == from.1;
        let is_news = !self.looked_at.as_ref().is_some_and(is_same);
        let time = now();
        if !is_news && !self.failures.is_due(time) {
            return self.say_limits(lacks_sockets);
        }
        self.looked_at = Some(from.clone());
        let (lacking, now, most) = (routing.lacking(), routing.sizes(), routing.sizes_max());
        debug!(?lacking, "some routes find no room in kernel tables");
        let is_resting = self.failures.is_resting(time);
        if !is_worth_counting(lacking.keys(), (&now, &most), &self.beyond, is_resting) {
            return self.say_limits(lacks_sockets);
        }
        let needed = kernel::needed(&from.0, &from.1);
        debug!(?needed, "room that kernel tables would need");
        self.beyond = beyond(&needed, &most);
        self.say_limits(lacks_sockets);
        let sizes = wanted(&needed, &now, &most);
        if sizes == now || is_resting {
            return;
        }
        match start(datapath, sizes, pins) {
            Ok(load) => self.state = State::Loading { sizes, since: Instant::now(), load },
            Err(error) => self.failed(&error.into()),
        }
    }

    /// How often tables have grown since the start, and how often that failed.
    pub(super) const fn counted(&self) -> (u64, u64) {
        self.counted
    }

    fn failed(&mut self, error: &anyhow::Error) {
        self.counted.1 += 1;
        if self.failures.failed(now()) {
            warn!("kernel tables stay as small as they are, userspace serves what finds no room: {error:#}");
        } else {
            debug!("kernel tables stay as small as they are: {error:#}");
        }
    }

    /// Says what is larger than the settings allow.
    fn say_limits(&mut self, lacks_sockets: bool) {
        let sockets = lacks_sockets.then_some(Map::Vips.name());
        let reached = self.beyond.iter().map(|(table, ..)| table.name()).chain(sockets);
        if self.limits.look(reached, now()) {
            warn!(
                "kernel tables are at their limits, userspace serves what finds no room: {}",
                limits_text(&self.beyond, lacks_sockets)
            );
        }
    }
}

/// When the same limits are said again that still are reached.
const LIMITS_AGAIN: Duration = Duration::from_secs(3600);

/// Which limits were said, and when.
#[derive(Debug, Default)]
struct Limits {
    said: BTreeSet<&'static str>,
    at: Duration,
}

impl Limits {
    /// Whether these are to be said: one that was not, or all of them after an interval. By how much is no news.
    fn look(&mut self, reached: impl Iterator<Item = &'static str>, now: Duration) -> bool {
        let reached: BTreeSet<_> = reached.collect();
        let is_again = now.saturating_sub(self.at) >= LIMITS_AGAIN;
        if reached.is_empty() || reached.is_subset(&self.said) && !is_again {
            return false;
        }
        if is_again {
            self.said.clear();
        }
        self.said.extend(reached);
        self.at = now;
        true
    }

    /// None is reached any more. Whether any was said.
    fn end(&mut self) -> bool {
        !std::mem::take(self).said.is_empty()
    }
}

/// When growth is tried again that has failed: at first, and at most, by twice as long each time.
const AGAIN: Duration = Duration::from_secs(300);
const AGAIN_MAX: Duration = Duration::from_secs(4800);

/// Growths that failed, one after the other.
#[derive(Debug, Default)]
struct Failures {
    /// When to try again, and how long that was.
    next: Option<(Duration, Duration)>,
}

impl Failures {
    /// One more. Whether it is the first, which is said.
    fn failed(&mut self, now: Duration) -> bool {
        let pause = self.next.map_or(AGAIN, |(_, pause)| AGAIN_MAX.min(2 * pause));
        self.next.replace((now + pause, pause)).is_none()
    }

    fn is_resting(&self, now: Duration) -> bool {
        self.next.is_some_and(|(at, _)| now < at)
    }

    /// Whether to try again what has failed.
    fn is_due(&self, now: Duration) -> bool {
        self.next.is_some_and(|(at, _)| at <= now)
    }

    /// There is room. Whether it had failed.
    fn end(&mut self) -> bool {
        self.next.take().is_some()
    }
}

/// The sizes of the tables as their maps are.
pub(super) fn sizes_of(datapath: &Datapath) -> Sizes {
    let found = datapath.table_sizes();
    Sizes::from_tables(|table| found.get(table.name()).copied().unwrap_or(0))
}

/// Room for what a snapshot needs and for as much again, which rests for a while when all of it changes; no table smaller than now.
fn wanted(needed: &Sizes, now: &Sizes, most: &Sizes) -> Sizes {
    Sizes::from_tables(|table| {
        let of = |sizes: &Sizes| sizes.of(table).unwrap_or(0);
        let enough = of(needed).saturating_mul(2).checked_next_power_of_two().unwrap_or(u32::MAX);
        enough.min(of(most)).max(of(now))
    })
}

/// Whether to count what a snapshot needs, which takes a compilation of all of it: where a table that lacks room may grow now, or is
/// not known to be beyond its limit.
fn is_worth_counting<'t>(
    lacking: impl IntoIterator<Item = &'t Map>,
    (now, most): (&Sizes, &Sizes),
    beyond: &[(Map, u32, u32)],
    is_resting: bool,
) -> bool {
    lacking.into_iter().any(|table| match now.of(*table) < most.of(*table) {
        true => !is_resting,
        false => beyond.iter().all(|(other, ..)| other != table),
    })
}

/// Tables whose limit is too low: how much they would take, and their limit.
fn beyond(needed: &Sizes, most: &Sizes) -> Vec<(Map, u32, u32)> {
    let pair = |table: Map| Some((table, needed.of(table)?, most.of(table)?));
    Sizes::TABLES.into_iter().filter_map(pair).filter(|(_, needed, most)| needed > most).collect()
}

/// What has changed: `routes 2048 to 8192, actions 2048 to 4096`.
fn text(before: &Sizes, after: &Sizes) -> String {
    let one = |table: Map| {
        let (before, after) = (before.of(table)?, after.of(table)?);
        (before != after).then(|| format!("{} {before} to {after}", TableSettings::key(table)))
    };
    Sizes::TABLES.into_iter().filter_map(one).collect::<Vec<_>>().join(", ")
}

/// `dataplane.tables.routes would have to be 5000, not 4096`, of each.
fn limits_text(beyond: &[(Map, u32, u32)], lacks_sockets: bool) -> String {
    let one = |(table, needed, most): &(Map, u32, u32)| {
        format!("dataplane.tables.{} would have to be {needed}, not {most}", TableSettings::key(*table))
    };
    let sockets = lacks_sockets
        .then(|| format!("there are more than {} addresses and ports, which is fixed", wire::LISTENERS_MAX));
    beyond.iter().map(one).chain(sockets).collect::<Vec<_>>().join(", ")
}

fn start(datapath: &Datapath, sizes: Sizes, pins: &Arc<Mutex<()>>) -> io::Result<Load> {
    let tables: BTreeMap<_, _> =
        Sizes::TABLES.into_iter().filter_map(|table| Some((table.name(), sizes.of(table)?))).collect();
    let plan = datapath.plan_growth(&tables);
    let is_abandoned = plan.abandoned();
    let (answer, done) = channel();
    let pins = Arc::clone(pins);
    let work = move || {
        let _stay = pins.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody may wait for it any more.
        let _ = answer.send(Grown::load(&plan));
    };
    thread::Builder::new().name("rauta-growth".to_owned()).spawn(work)?;
    Ok(Load { done, is_abandoned })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_grow_to_twice_what_is_needed_and_not_beyond_their_limit() {
        let all = |size| Sizes::from_tables(|_| size);
        let needed = Sizes { routes: 3000, maglev: 10, endpoints: 70_000, ..all(1) };
        let most = Sizes { endpoints: 65_536, ..all(10_000) };
        let found = wanted(&needed, &Sizes { hosts: 20_000, ..all(128) }, &most);
        assert_eq!((found.routes, found.maglev, found.endpoints), (8192, 128, 65_536));
        assert_eq!(found.hosts, 20_000, "as it was found");
        assert_eq!(beyond(&needed, &most), [(Map::Endpoints, 70_000, 65_536)]);
        assert_eq!(text(&all(128), &Sizes { routes: 8192, ..all(128) }), "routes 128 to 8192");
        let limits = "dataplane.tables.endpoints would have to be 70000, not 65536";
        assert_eq!(limits_text(&beyond(&needed, &most), false), limits);
        let text = limits_text(&beyond(&needed, &most), true);
        assert_eq!(text, format!("{limits}, there are more than 4096 addresses and ports, which is fixed"));
    }

    #[test]
    fn nothing_is_counted_for_tables_that_cannot_grow() {
        let all = |size| Sizes::from_tables(|_| size);
        let (now, most) = (Sizes { routes: 64, ..all(16) }, all(64));
        let known = [(Map::Routes, 70, 64)];
        let is_worth = |lacking: &[Map], beyond, is_resting| {
            is_worth_counting(lacking, (&now, &most), beyond, is_resting)
        };
        assert!(is_worth(&[Map::Routes], &[], false), "it was not looked at");
        assert!(!is_worth(&[Map::Routes], &known, false));
        assert!(is_worth(&[Map::Routes, Map::Hosts], &known, false), "another one may grow");
        assert!(!is_worth(&[Map::Routes, Map::Hosts], &known, true), "not now");
        assert!(is_worth(&[Map::Routes], &[], true));
    }

    #[test]
    fn a_limit_is_said_once_an_interval_however_far_beyond_it_is() {
        let mut limits = Limits::default();
        let mut look = |reached: &[&'static str], at: u64| {
            limits.look(reached.iter().copied(), Duration::from_secs(10_000 + at))
        };
        assert!(!look(&[], 0));
        assert!(look(&["ROUTES"], 1));
        assert!((2..100).all(|at| !look(&["ROUTES"], at)));
        assert!(look(&["ROUTES", "HOSTS"], 100), "another one");
        assert!(!look(&["HOSTS"], 101) && !look(&["ROUTES"], 102), "both were said");
        assert!(!look(&["ROUTES"], 3699));
        assert!(look(&["ROUTES"], 3700) && !look(&["ROUTES"], 3701));
        assert!(limits.end() && !limits.end());
        assert!(limits.look(["ROUTES"].into_iter(), Duration::from_secs(13_702)), "anew");
    }

    #[test]
    fn what_fails_is_said_once_and_tried_less_and_less() {
        let seconds = Duration::from_secs;
        let mut failures = Failures::default();
        assert!(!failures.is_due(seconds(0)) && !failures.is_resting(seconds(0)));
        let mut now = seconds(100);
        for (round, pause) in [300, 600, 1200, 2400, 4800, 4800].into_iter().enumerate() {
            assert_eq!(failures.failed(now), round == 0, "said once");
            let before = now + seconds(pause - 1);
            assert!(failures.is_resting(before) && !failures.is_due(before), "{round}");
            now += seconds(pause);
            assert!(!failures.is_resting(now) && failures.is_due(now), "{round}");
        }
        assert!(failures.end() && !failures.end());
        assert!(failures.failed(now), "anew");
    }

    #[test]
    fn a_load_that_nobody_waits_for_is_given_up() {
        let is_abandoned = Arc::new(AtomicBool::new(false));
        let (_answer, done) = channel();
        let growth = Growth {
            state: State::Loading {
                sizes: Sizes::default(),
                since: Instant::now(),
                load: Load { done, is_abandoned: Arc::clone(&is_abandoned) },
            },
            ..Growth::default()
        };
        assert!(!is_abandoned.load(Relaxed));
        drop(growth);
        assert!(is_abandoned.load(Relaxed));
    }
}
