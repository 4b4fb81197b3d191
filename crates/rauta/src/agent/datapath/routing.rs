//! The kernel's routing tables: compiled from the snapshot and the machine, and written where they differ.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use kernel::{Compiler, Facts, Map, RoutePlacement, Sizes, Tables, Update, Why, diff};
use loader::{Answered, Datapath, Enforcers, Limits, Prefix, Write};
use model::{RouteId, Snapshot, Tier};
use tracing::{debug, info, warn};

use super::super::us;
use super::answered::Ledger;
use super::facts::{Machine, segment_sizes};
use super::growth::sizes_of;
use crate::settings::{DataplaneSettings, Policy, Settings};
use crate::view::flow;

/// Ticks (seconds) between two looks at all connections, at who enforces network policy, and at legs that nobody has.
const COLLECT: u64 = 5;
const LOOK: u64 = 10;
const FORGET: u64 = 60;

/// How long a leg without a connection is answered for: longer than an endpoint repeats itself.
const LEG_MEMORY: Duration = Duration::from_secs(120);

/// Legs in a row that do not open before an endpoint is left out, and for how long.
const EJECT_AFTER: u32 = 3;
const EJECT_FOR: Duration = Duration::from_secs(10);

/// A connection without a request outstanding that says nothing for as long may end when the agent stops.
const SILENT: Duration = Duration::from_millis(50);

/// Between two signs of life in work that takes long, at most, and writes in a row without a look whether one is due.
const PULSE: Duration = Duration::from_secs(1);
const WRITES: usize = 4096;

/// Every map that the compiler fills.
const MAPS: [Map; 13] = [
    Map::Vips,
    Map::Hosts,
    Map::Routes,
    Map::PrefixRoutes,
    Map::Candidates,
    Map::HeaderConditions,
    Map::HeaderNames,
    Map::RouteActions,
    Map::Copies,
    Map::Backends,
    Map::MaglevTables,
    Map::Endpoints,
    Map::BackendMembers,
];

/// Signs of life in work that takes long.
struct Pulse {
    every: Duration,
    last: Option<Instant>,
}

impl Pulse {
    /// For programs that wait so long for one.
    fn new(timeout: Duration) -> Self {
        Self { every: PULSE.min(timeout / 4), last: None }
    }

    fn is_due(&mut self) -> bool {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= self.every);
        if is_due {
            self.last = Some(Instant::now());
        }
        is_due
    }

    fn beat(&mut self, datapath: &mut Datapath) {
        if self.is_due()
            && let Err(error) = datapath.heartbeat()
        {
            // The next second says it.
            debug!(%error, "no sign of life");
        }
    }
}

/// What the kernel routes by.
pub(super) struct Routing {
    settings: DataplaneSettings,
    /// Why the settings leave nothing to the kernel.
    userspace: Option<Why>,
    compiler: Compiler,
    machine: Machine,
    /// Whether the programs look for header names.
    captures: bool,
    /// Whether this kernel lets us wait for programs that run.
    waits: bool,
    /// Whether the maps may hold something else than what the compiler wants.
    is_unsure: bool,
    table_writes: u64,
    /// What it was compiled from.
    compiled_from: Option<(Arc<Snapshot>, Facts)>,
    /// For people: looked for when one asks, since that takes a look at every route.
    placements: OnceCell<Vec<RoutePlacement>>,
    /// The address and port of each index of listeners.
    listeners: BTreeMap<u32, (Option<IpAddr>, u16)>,
    /// What was answered by each route and by each endpoint.
    answered: [Ledger; 2],
    /// When to compile again, on the clock of the programs.
    again: Option<Duration>,
    /// Who may enforce network policy, and whether to look again before the next compilation.
    enforcers: Enforcers,
    looks: bool,
    has_looked: bool,
    /// Who does, as far as it matters: where settings leave it to what is found.
    enforcer: Option<String>,
    /// Why nothing is routed.
    obstacle: Option<String>,
    ticks: u64,
}

impl Routing {
    /// Takes up what an earlier agent left in the maps, and tells the programs the settings.
    pub(super) fn resume(datapath: &mut Datapath, settings: &Settings) -> anyhow::Result<Self> {
        let machine = Machine::new()?;
        let tables = read(datapath)?;
        let proxies = settings.proxy.trusted_proxies.iter();
        let proxies: Vec<Prefix> = proxies
            .map(|network| Prefix { address: network.network(), length: network.prefix_len() })
            .collect();
        datapath.trusted_proxies(&proxies)?;
        // Whoever traced an earlier run is gone with it.
        let settings_before = *datapath.settings();
        const TOLD: u32 = wire::Settings::TRACE | wire::Settings::TRACE_ERRORS;
        if settings_before.flags & TOLD != 0 {
            let flags = settings_before.flags & !TOLD;
            datapath.set_settings(&wire::Settings { flags, ..settings_before })?;
        }
        let routing = Self {
            settings: settings.dataplane.clone(),
            userspace: settings.userspace(),
            captures: tables.captures_headers(),
            compiler: Compiler::resume_with_sizes(tables, sizes_of(datapath)),
            machine,
            waits: loader::can_wait_for_programs(),
            is_unsure: false,
            table_writes: 0,
            compiled_from: None,
            placements: OnceCell::new(),
            listeners: BTreeMap::new(),
            answered: Default::default(),
            again: None,
            enforcers: Enforcers::default(),
            looks: true,
            has_looked: false,
            enforcer: None,
            obstacle: None,
            ticks: 0,
        };
        routing.set(datapath, (0, 0), routing.captures)?;
        Ok(routing)
    }

    /// What was learned of the machine may be wrong now.
    pub(super) fn machine_changed(&mut self) {
        self.machine.changed();
        self.looks = true;
    }

    /// Whether something has rested by now, so that compiling again gives it back, or it is time to look who enforces policy.
    pub(super) fn is_due(&self) -> bool {
        self.has_rested() || self.looks
    }

    fn has_rested(&self) -> bool {
        self.again.is_some_and(|again| again <= now())
    }

    /// Looks who enforces network policy on this host, if settings leave it to that.
    fn look(&mut self, datapath: &Datapath) {
        if !std::mem::take(&mut self.looks) || self.settings.policy != Policy::Auto {
            return;
        }
        let attached = datapath.attachments().iter();
        let devices: Vec<_> = attached.map(|at| (at.index, at.interface.clone())).collect();
        let found = match self.enforcers.look(&devices) {
            Ok(found) => found,
            Err(error) => {
                // What is not known may be enforced: as before, and to be safe the first time.
                self.looks = true;
                if self.enforcer.is_some() || self.has_looked {
                    return;
                }
                warn!(%error, "cannot see who enforces network policy: userspace serves endpoints until it can be seen");
                Some("somebody who cannot be seen".to_owned())
            }
        };
        self.has_looked = true;
        if found == self.enforcer {
            return;
        }
        match &found {
            Some(who) => info!(
                "network policy is enforced here by {who}: userspace serves endpoints, whose connections it sees \
                 (dataplane.policy: ignore, if the gateway is trusted to reach them)"
            ),
            None => info!("nobody is seen to enforce network policy here any more"),
        }
        self.enforcer = found;
    }

    /// Compiles `snapshot` for the machine as it is, without the sockets that are `closed`, and writes what is new.
    pub(super) fn apply(
        &mut self,
        datapath: &mut Datapath,
        snapshot: &Arc<Snapshot>,
        closed: &BTreeSet<(Option<IpAddr>, u16)>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let hooked: BTreeSet<u32> = datapath.attachments().iter().map(|at| at.index).collect();
        self.look(datapath);
        let is_policed = self.settings.policy == Policy::Respect || self.enforcer.is_some();
        let (facts, ways, obstacle) = self.machine.facts(snapshot, &self.settings, &hooked, is_policed)?;
        let closed = closed.clone();
        let facts = Facts { userspace: self.userspace, names_at_once: self.waits, closed, ..facts };
        self.obstacle = obstacle;
        let is_same =
            |(before, known): &(Arc<Snapshot>, Facts)| Arc::ptr_eq(before, snapshot) && *known == facts;
        if self.compiled_from.as_ref().is_some_and(is_same) && !self.has_rested() && !self.is_unsure {
            return Ok(());
        }
        let from = (Arc::clone(snapshot), facts);
        self.take_up(datapath);
        let asked = Instant::now();
        let mut pulse = Pulse::new(self.settings.heartbeat_timeout);
        let mut alive = || pulse.beat(datapath);
        let Update { mut writes, again } = self.compiler.update_alive(snapshot, &from.1, now(), &mut alive);
        let compiled = Instant::now();
        self.compiled_from = Some(from);
        self.placements.take();
        if self.is_unsure {
            writes = diff(&read(datapath)?, &self.compiler.tables());
        }
        let compared = Instant::now();
        self.again = again;
        self.listeners = self.compiler.listeners();
        self.take_up(datapath);
        let sizes = segment_sizes(&ways);
        self.write(datapath, sizes, &writes)?;
        let (done, count) = (compared.elapsed(), writes.len());
        debug!(
            facts_us = us(asked.duration_since(started)),
            compiled_us = us(compiled.duration_since(asked)),
            compared_us = us(compared.duration_since(compiled)),
            written_us = us(done),
            writes = count,
            "kernel tables are up to date"
        );
        // The records of endpoints say whose their indices are.
        self.take_up(datapath);
        if writes.iter().any(|write| write.map == Map::Endpoints) {
            self.collect(datapath)?;
        }
        Ok(())
    }

    /// Makes the writes. What fails is found by reading the maps the next time.
    fn write(
        &mut self,
        datapath: &mut Datapath,
        sizes: (u16, u16),
        writes: &[kernel::Write],
    ) -> anyhow::Result<()> {
        // What failed the last time may have been the wait.
        let was_unsure = std::mem::replace(&mut self.is_unsure, true);
        // Names are looked for before the first route needs it, and until no route does.
        let captures = self.compiler.captures_headers();
        self.set(datapath, sizes, self.captures || captures)?;
        let (names, rest) = writes.split_at(kernel::behind_names(writes));
        datapath.apply(names.iter().map(as_write))?;
        if self.waits && (was_unsure || !names.is_empty()) {
            loader::wait_for_programs()
                .context("cannot wait for programs that do not know a new name of a header")?;
        }
        let mut pulse = Pulse::new(self.settings.heartbeat_timeout);
        for part in rest.chunks(WRITES) {
            pulse.beat(datapath);
            datapath.apply(part.iter().map(as_write))?;
        }
        self.set(datapath, sizes, captures)?;
        (self.captures, self.is_unsure) = (captures, false);
        self.table_writes += writes.len() as u64;
        Ok(())
    }

    /// What the tables were compiled from.
    pub(super) fn compiled_from(&self) -> Option<&(Arc<Snapshot>, Facts)> {
        self.compiled_from.as_ref()
    }

    /// Whether something is userspace's because a table has no room for it.
    pub(super) fn lacks_room(&self) -> bool {
        self.compiler.lacks_room()
    }

    /// How much of it, by the table.
    pub(super) fn lacking(&self) -> BTreeMap<Map, u32> {
        self.compiler.lacking()
    }

    /// Whether sockets are the host's because there are too many.
    pub(super) fn lacks_sockets(&self) -> bool {
        self.compiler.lacks_sockets()
    }

    /// How large the tables are.
    pub(super) fn sizes(&self) -> Sizes {
        self.compiler.sizes()
    }

    /// How large they may become.
    pub(super) fn sizes_max(&self) -> Sizes {
        self.settings.tables.most()
    }

    /// How many entries of them are taken.
    pub(super) fn in_use(&self) -> Sizes {
        self.compiler.in_use()
    }

    /// The tables are as large as this from now on: what is compiled next uses it.
    pub(super) fn resize(&mut self, sizes: Sizes) {
        self.compiler.resize(sizes);
        self.compiled_from = None;
    }

    /// The sign of life, and what is done now and then.
    pub(super) fn tick(&mut self, datapath: &mut Datapath) -> anyhow::Result<()> {
        datapath.heartbeat()?;
        self.ticks += 1;
        // What was left a moment ago: a program may just be writing it.
        let before = now().saturating_sub(Duration::from_millis(100)).as_nanos();
        datapath.reset_left_legs(u64::try_from(before).unwrap_or(u64::MAX))?;
        datapath.reset_waiting_legs(self.settings.pool_idle)?;
        if datapath.has_orphans() || self.ticks.is_multiple_of(COLLECT) {
            self.collect(datapath)?;
        }
        self.looks |= self.ticks.is_multiple_of(LOOK);
        if self.ticks.is_multiple_of(FORGET) {
            let before = now().saturating_sub(LEG_MEMORY).as_nanos();
            datapath.forget_legs(u64::try_from(before).unwrap_or(u64::MAX))?;
        }
        Ok(())
    }

    /// Lets new connections pass to the host and ends those that are silent; how many are left.
    pub(super) fn drain(&mut self, datapath: &mut Datapath) -> anyhow::Result<usize> {
        let settings = *datapath.settings();
        if settings.flags & wire::Settings::PASSIVE == 0 {
            let flags = settings.flags | wire::Settings::PASSIVE;
            datapath.set_settings(&wire::Settings { flags, pool_idle: 0, ..settings })?;
        }
        datapath.collect(&Limits { idle: SILENT, ..self.settings.ends })?;
        datapath.reset_waiting_legs(Duration::ZERO)?;
        let mut left = 0;
        // Clients that were told to go are nobody's to wait for.
        datapath.each_flow(|flow| left += usize::from(flow.state != dataplane::flow::state::ENDING))?;
        Ok(left)
    }

    /// Adds to what was answered what the kernel has counted since.
    fn take_up(&mut self, datapath: &Datapath) {
        let (routes, endpoints) = (self.settings.route_metrics, self.settings.endpoint_metrics);
        let read = |of: fn(u32) -> Answered, bound: u32| {
            move |index: u32| (index <= bound).then(|| datapath.responses(of(index)).ok().flatten()).flatten()
        };
        if routes > 0 {
            let used = (0..=routes).filter(|index| self.compiler.route(*index).is_some());
            let names: Vec<_> = used.map(|index| (index, self.route_name(index))).collect();
            self.answered[0].take_up(names, read(Answered::ByRoute, routes));
        }
        if endpoints > 0 {
            let used = (0..=endpoints).filter(|index| self.compiler.endpoint(*index).is_some());
            let names: Vec<_> = used.map(|index| (index, self.endpoint_name(index))).collect();
            self.answered[1].take_up(names, read(Answered::ByEndpoint, endpoints));
        }
    }

    /// What was answered by each route and by each endpoint that is counted by itself.
    pub(super) fn answered(&mut self, datapath: &Datapath) -> &[Ledger; 2] {
        self.take_up(datapath);
        &self.answered
    }

    /// Entries of tables that were written or removed since the start.
    pub(super) fn table_writes(&self) -> u64 {
        self.table_writes
    }

    /// The tier of each route.
    pub(super) fn placements(&self) -> &[RoutePlacement] {
        let look = |(snapshot, facts): &(Arc<Snapshot>, Facts)| self.compiler.placements(snapshot, facts);
        self.placements.get_or_init(|| self.compiled_from.as_ref().map(look).unwrap_or_default())
    }

    /// The route of an index that programs tell of; empty when it is gone.
    pub(super) fn route_name(&self, index: u32) -> String {
        let route = self.route(index);
        route.map(|route| format!("{} rule {}", route.object, route.rule)).unwrap_or_default()
    }

    /// The same.
    pub(super) fn route(&self, index: u32) -> Option<&RouteId> {
        self.compiler.route(index)
    }

    /// The endpoint of an index that programs tell of; empty when it is gone.
    pub(super) fn endpoint_name(&self, index: u32) -> String {
        self.endpoint(index).map(|name| name.to_string()).unwrap_or_default()
    }

    /// The same.
    pub(super) fn endpoint(&self, index: u32) -> Option<SocketAddr> {
        let known = || self.compiler.endpoint(index).map(|at| flow::socket(at.address, at.port));
        self.compiler.endpoint_name(index).or_else(known)
    }

    /// The address of each index of listeners.
    pub(super) fn listeners(&self) -> &BTreeMap<u32, (Option<IpAddr>, u16)> {
        &self.listeners
    }

    /// One line: how much the kernel routes, and what keeps it from the rest.
    pub(super) fn summary(&self) -> String {
        if let Some(obstacle) = &self.obstacle {
            return format!("TC programs count packets; userspace serves every request: {obstacle}");
        }
        if self.compiled_from.is_none() {
            return "TC programs are ready to route".to_owned();
        }
        let placements = self.placements();
        let in_kernel = placements.iter().filter(|placed| placed.tier != Tier::Userspace).count();
        let mut summary = format!("TC routes {in_kernel} of {} routes", placements.len());
        let first = placements.iter().find(|placed| placed.tier == Tier::Userspace);
        if let Some((route, why)) = first.and_then(|placed| Some((&placed.route, placed.reason?))) {
            summary.push_str(&format!("; userspace serves {route} since {why}"));
            let rest = placements.len() - in_kernel - 1;
            if rest > 0 {
                summary.push_str(&format!(", and {rest} more"));
            }
            if let Some(who) = &self.enforcer {
                summary.push_str(&format!("; network policy is enforced by {who}"));
            }
        }
        summary
    }

    fn collect(&self, datapath: &mut Datapath) -> anyhow::Result<()> {
        let collected = datapath.collect(&self.settings.ends)?;
        if collected.orphans > 0 {
            info!(connections = collected.orphans, "ended with their endpoints");
        }
        Ok(())
    }

    fn set(&self, datapath: &mut Datapath, sizes: (u16, u16), captures_headers: bool) -> anyhow::Result<()> {
        let ports = self.settings.snat_ports;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let settings = wire::Settings {
            heartbeat_timeout: nanoseconds(self.settings.heartbeat_timeout),
            flags: if captures_headers { wire::Settings::CAPTURES_HEADERS } else { 0 }
                | (datapath.settings().flags & (wire::Settings::TRACE | wire::Settings::TRACE_ERRORS)),
            mss_v4: sizes.0,
            mss_v6: sizes.1,
            port_first: ports.first,
            port_count: ports.last - ports.first + 1,
            // A leg of the pool costs no handshake.
            redraw_after: if self.settings.pool_idle.is_zero() { self.settings.redraw_after } else { 1 },
            eject_after: EJECT_AFTER,
            eject_for: nanoseconds(EJECT_FOR),
            trace_every: datapath.settings().trace_every,
            pool_idle: nanoseconds(self.settings.pool_idle),
            pool_legs: self.settings.pool_legs,
            ..wire::Settings::default()
        };
        // What is drawn and the sign of life are the data plane's.
        let wire::Settings { cookie_key, heartbeat, note_owner, .. } = *datapath.settings();
        let settings = wire::Settings { cookie_key, heartbeat, note_owner, ..settings };
        if settings == *datapath.settings() && settings.cookie_key != [0; 2] {
            return Ok(());
        }
        Ok(datapath.set_settings(&settings)?)
    }
}

fn as_write(write: &kernel::Write) -> Write<'_> {
    Write { map: write.map.name(), key: &write.key, value: write.value.as_deref() }
}

/// The time of the programs.
pub(super) fn now() -> Duration {
    Duration::from_nanos(loader::now())
}

/// What the maps hold.
fn read(datapath: &Datapath) -> anyhow::Result<Tables> {
    let mut tables = Tables::default();
    for map in MAPS {
        let is_array =
            !matches!(map, Map::Vips | Map::Hosts | Map::Routes | Map::PrefixRoutes | Map::HeaderNames);
        for (key, value) in datapath.dump(map.name()).context("cannot read what an earlier run left")? {
            // An array has every index; those that nobody wrote are zero.
            if is_array && value.iter().all(|byte| *byte == 0) {
                continue;
            }
            tables.apply(&kernel::Write { map, key, value: Some(value) });
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_come_at_once_and_four_times_as_often_as_they_are_waited_for() {
        assert_eq!(Pulse::new(Duration::from_secs(30)).every, PULSE);
        let mut pulse = Pulse::new(Duration::from_secs(2));
        assert_eq!(pulse.every, Duration::from_millis(500));
        assert!(pulse.is_due() && !pulse.is_due());
        pulse.every = Duration::ZERO;
        assert!(pulse.is_due() && pulse.is_due());
    }
}
