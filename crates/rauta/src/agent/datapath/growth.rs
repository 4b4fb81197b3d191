//! The kernel's tables of routes grow when something finds no room in them: see `docs/adr/0037`.
//!
//! Larger maps are made and the programs loaded with them in a thread of its own, which takes seconds; what finds no room is userspace's until
//! then. The rest is done between two changes of the tables.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kernel::{Facts, Map, Sizes};
use loader::{Datapath, Grown, StartError};
use model::Snapshot;
use tracing::{info, warn};

use super::routing::Routing;
use crate::settings::rooms::TableSettings;

/// When growth is tried again that has failed.
const AGAIN: Duration = Duration::from_secs(300);

/// What becomes of tables without room.
#[derive(Default)]
pub(super) struct Growth {
    state: State,
    /// What was looked at last.
    looked_at: Option<(Arc<Snapshot>, Facts)>,
    /// What was said of limits.
    said: Option<String>,
}

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    /// Larger maps are made.
    Loading { sizes: Sizes, since: Instant, done: Receiver<Result<Grown, StartError>> },
    /// It did not work.
    Failed { since: Instant },
}

impl Growth {
    /// Every second. Whether there is more room now. `pins` is held by whoever needs the pins to stay.
    pub(super) fn tick(
        &mut self,
        datapath: &mut Datapath,
        routing: &mut Routing,
        pins: &Arc<Mutex<()>>,
    ) -> bool {
        match &self.state {
            State::Loading { sizes, since, done } => {
                let grown = match done.try_recv() {
                    Err(TryRecvError::Empty) => return false,
                    Ok(grown) => grown.map_err(anyhow::Error::from),
                    Err(TryRecvError::Disconnected) => Err(anyhow::anyhow!("the thread that loads is gone")),
                };
                let (before, sizes, since) = (routing.sizes(), *sizes, *since);
                let done = grown.and_then(|grown| Ok(datapath.grow(grown)?));
                self.settle(datapath, routing, (before, sizes, since), done)
            }
            State::Failed { since } if since.elapsed() < AGAIN => false,
            State::Failed { .. } | State::Waiting => {
                self.look(datapath, routing, pins);
                false
            }
        }
    }

    /// Looks whether something finds no room, and has larger maps made then.
    fn look(&mut self, datapath: &Datapath, routing: &Routing, pins: &Arc<Mutex<()>>) {
        let Some(from) = routing.compiled_from() else { return };
        if !routing.lacks_room() {
            if self.said.take().is_some() {
                info!("kernel tables have room for all routes again");
            }
            return;
        }
        let failed_before = matches!(self.state, State::Failed { .. });
        let is_same = |before: &(Arc<Snapshot>, Facts)| Arc::ptr_eq(&before.0, &from.0) && before.1 == from.1;
        if self.looked_at.as_ref().is_some_and(is_same) && !failed_before {
            return;
        }
        self.looked_at = Some(from.clone());
        let (needed, now, most) = (kernel::needed(&from.0, &from.1), routing.sizes(), routing.sizes_max());
        self.say_limits(&beyond(&needed, &most));
        let sizes = wanted(&needed, &now, &most);
        if sizes == now {
            return;
        }
        match load(datapath, sizes, pins) {
            Ok(done) => self.state = State::Loading { sizes, since: Instant::now(), done },
            Err(error) => self.failed(&error.into()),
        }
    }

    fn settle(
        &mut self,
        datapath: &Datapath,
        routing: &mut Routing,
        (before, sizes, since): (Sizes, Sizes, Instant),
        done: anyhow::Result<()>,
    ) -> bool {
        if let Err(error) = done {
            self.failed(&error);
            return false;
        }
        self.state = State::Waiting;
        self.looked_at = None;
        routing.resize(sizes_of(datapath));
        let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(took_ms, "kernel tables are larger: {}", text(&before, &sizes));
        true
    }

    fn failed(&mut self, error: &anyhow::Error) {
        if !matches!(self.state, State::Failed { .. }) {
            warn!("kernel tables stay as small as they are, userspace serves what finds no room: {error:#}");
        }
        self.state = State::Failed { since: Instant::now() };
    }

    /// Says once what is larger than the settings allow.
    fn say_limits(&mut self, beyond: &[(Map, u32, u32)]) {
        let one = |(table, needed, most): &(Map, u32, u32)| {
            format!("dataplane.tables.{} would have to be {needed}, not {most}", TableSettings::key(*table))
        };
        let text = beyond.iter().map(one).collect::<Vec<_>>().join(", ");
        if !text.is_empty() && self.said.as_ref() != Some(&text) {
            warn!("kernel tables are at their limits, userspace serves what finds no room: {text}");
            self.said = Some(text);
        }
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

fn load(
    datapath: &Datapath,
    sizes: Sizes,
    pins: &Arc<Mutex<()>>,
) -> io::Result<Receiver<Result<Grown, StartError>>> {
    let tables: BTreeMap<_, _> =
        Sizes::TABLES.into_iter().filter_map(|table| Some((table.name(), sizes.of(table)?))).collect();
    let plan = datapath.plan_growth(&tables);
    let (answer, done) = channel();
    let pins = Arc::clone(pins);
    let work = move || {
        let _stay = pins.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody may wait for it any more.
        let _ = answer.send(Grown::load(&plan));
    };
    thread::Builder::new().name("rauta-growth".to_owned()).spawn(work)?;
    Ok(done)
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
    }
}
