//! The kernel programs, if this machine and this user may have them.

mod answered;
mod clients;
mod counters;
mod dry_run;
mod facts;
mod growth;
mod host;
mod logged;
mod lots;
mod pressure;
mod questions;
mod room;
mod routing;
mod trace;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use kernel::RoutePlacement;
use loader::machine::Changes;
use loader::{Attachment, Datapath, Hook, ListenerAddress, MapError, Options};
use model::{ListenerId, RouteId, Snapshot, Transport};
use proxy::ListenProblem;
use telemetry::Metrics;
use tracing::{info, warn};

use super::privileged::Privileged;
use crate::settings::{OnExit, Settings};
use growth::Growth;
use pressure::Pressure;
use routing::Routing;
use trace::Streams;

/// How long connections in the kernel may take to fall silent when the agent stops, and how often they are looked at.
const DRAIN: Duration = Duration::from_secs(4);
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// The kernel's part of the data plane.
#[derive(Clone)]
pub(crate) struct Kernel {
    inner: Arc<Mutex<Inner>>,
    /// Held by whoever needs the pins without the rest. Taken before `inner`.
    pins: Arc<Mutex<()>>,
    /// Loads programs where a thread asks for it that may not.
    privileged: Option<Privileged>,
    on_exit: OnExit,
}

struct Inner {
    datapath: Option<Datapath>,
    /// None where the programs only count.
    routing: Option<Routing>,
    growth: Growth,
    pressure: Pressure,
    /// What the programs do not do and why; empty when they route.
    lack: String,
    snapshot: Option<Arc<Snapshot>>,
    /// Sockets of it that could not be had.
    closed: BTreeSet<(Option<IpAddr>, u16)>,
    listeners: BTreeMap<ListenerAddress, Vec<ListenerId>>,
    /// Who is told of requests.
    streams: Streams,
    /// What programs had counted when the agent started.
    before: counters::Baseline,
    /// What failed last: said once.
    failing: Option<&'static str>,
    /// What was said last of what the programs do.
    said: String,
    /// Whether it may be something else by now, and that since the tick before.
    is_unsaid: bool,
    is_fresh: bool,
}

impl Kernel {
    /// Loads and attaches the programs. Where that cannot be, says so once: userspace serves alone.
    pub(crate) fn start(settings: &Settings) -> Self {
        let options = settings.loader_options();
        let on_exit = settings.dataplane.on_exit;
        if options.hook == Hook::Off {
            return Self::without("off by settings; userspace serves everything", on_exit);
        }
        match Datapath::start(&options) {
            Ok(datapath) => Self::with(datapath, settings),
            Err(error) => {
                let error = anyhow::Error::from(error);
                // To do without is the usual thing for a user on a laptop, but not for who asked for a hook.
                said(&options, &format!("kernel programs are off, userspace serves everything: {error:#}"));
                Self::without(&format!("off: {error:#}"), on_exit)
            }
        }
    }

    /// The same where another agent has left its programs: what cannot be taken over is removed, or it would go on routing by
    /// what that agent knew.
    pub(crate) fn take_over(settings: &Settings) -> Self {
        let options = settings.loader_options();
        if options.hook == Hook::Off {
            return Self::start(settings);
        }
        match Datapath::start(&options) {
            Ok(datapath) => Self::with(datapath, settings),
            Err(error) => {
                let error = anyhow::Error::from(error);
                warn!("the other agent's kernel programs cannot be taken over, and are removed: {error:#}");
                if let Err(error) = loader::detach_all(&options.pin_root) {
                    warn!(
                        "kernel programs are not all gone (`rauta detach`): {:#}",
                        anyhow::Error::from(error)
                    );
                }
                Self::start(settings)
            }
        }
    }

    fn with(mut datapath: Datapath, settings: &Settings) -> Self {
        let lack = match datapath.kernel_routing() {
            Ok(()) => None,
            Err(error) => Some(loader::chain(error)),
        };
        let routing = match lack {
            Some(lack) => Err(lack),
            None => Routing::resume(&mut datapath, settings).map_err(|error| format!("{error:#}")),
        };
        let (routing, lack) = match routing {
            Ok(routing) => (Some(routing), String::new()),
            Err(lack) => {
                said(&settings.loader_options(), &format!("kernel programs only count packets: {lack}"));
                (None, lack)
            }
        };
        let mut kernel = Self::without(&lack, settings.dataplane.on_exit);
        kernel.privileged = Privileged::start()
            .inspect_err(|error| warn!(%error, "`rauta explain flow` of new connections will not work"))
            .ok();
        let mut inner = kernel.lock();
        inner.before = counters::Baseline::of(&datapath);
        (inner.datapath, inner.routing) = (Some(datapath), routing);
        inner.said = inner.summary();
        info!(interfaces = inner.attachments().join(", "), "kernel programs: {}", inner.said);
        drop(inner);
        kernel
    }

    fn without(lack: &str, on_exit: OnExit) -> Self {
        let inner = Inner {
            datapath: None,
            routing: None,
            growth: Growth::default(),
            pressure: Pressure::default(),
            lack: lack.to_owned(),
            snapshot: None,
            closed: BTreeSet::new(),
            listeners: BTreeMap::new(),
            streams: Streams::default(),
            before: counters::Baseline::default(),
            failing: None,
            said: String::new(),
            is_unsaid: false,
            is_fresh: false,
        };
        Self { inner: Arc::new(Mutex::new(inner)), pins: Arc::default(), privileged: None, on_exit }
    }

    /// One line for people: what the kernel does.
    pub(crate) fn summary(&self) -> String {
        self.lock().summary()
    }

    /// Interfaces, as `eth0 (tcx)`.
    pub(crate) fn attachments(&self) -> Vec<String> {
        self.lock().attachments()
    }

    /// The tier of each route of the latest snapshot; none where the kernel does not route.
    pub(crate) fn placements(&self) -> HashMap<RouteId, RoutePlacement> {
        let inner = self.lock();
        let placements = inner.routing.iter().flat_map(Routing::placements);
        placements.map(|placed| (placed.route.clone(), placed.clone())).collect()
    }

    /// News of the machine's network, to be followed by [`Kernel::follow`]; none without programs.
    ///
    /// # Errors
    /// What the kernel answers to listening for them.
    pub(crate) fn changes(&self) -> io::Result<Option<Changes>> {
        if self.lock().datapath.is_none() {
            return Ok(None);
        }
        let changes = Changes::listen()?;
        // What changed since the start was not heard.
        self.follow();
        Ok(Some(changes))
    }

    /// Makes the kernel know the snapshot, and which of its sockets another program has.
    pub(crate) fn apply(&self, snapshot: &Arc<Snapshot>, problems: &[ListenProblem]) {
        let mut inner = self.lock();
        inner.snapshot = Some(Arc::clone(snapshot));
        inner.closed = problems.iter().filter_map(closed).collect();
        inner.count(snapshot);
        inner.route();
    }

    /// Follows the machine: attaches to new interfaces, takes new addresses and ways into the tables.
    pub(crate) fn follow(&self) {
        let mut inner = self.lock();
        let Some(datapath) = &mut inner.datapath else { return };
        let followed = datapath.follow_interfaces().map_err(anyhow::Error::from);
        inner.warned("interfaces are not followed", followed);
        if let Some(routing) = &mut inner.routing {
            routing.machine_changed();
        }
        inner.route();
    }

    /// Every second: the sign of life, connections that are over, tables that have rested.
    pub(crate) fn tick(&self) {
        let mut inner = self.lock();
        let Inner { datapath: Some(datapath), routing: Some(routing), .. } = &mut *inner else { return };
        let is_due = routing.is_due();
        let ticked = routing.tick(datapath);
        let told = datapath.follow_devices();
        inner.warned("connections in the kernel are not looked after", ticked);
        inner.warned("XDP does not know where frames may go", told.map_err(anyhow::Error::from));
        let has_grown = inner.grow(&self.pins);
        if is_due || has_grown {
            if has_grown {
                // The exchange took its time, and so does what is compiled now.
                inner.beat();
            }
            inner.route();
        }
        inner.say();
    }

    /// Lets new connections pass to the host, and those in the kernel end as they fall silent; waits a few seconds for it.
    /// An agent that leaves its programs behind leaves them at work.
    pub(crate) fn drain(&self) {
        if self.on_exit == OnExit::Keep {
            return;
        }
        let start = Instant::now();
        while start.elapsed() < DRAIN {
            let mut inner = self.lock();
            let Inner { datapath: Some(datapath), routing: Some(routing), .. } = &mut *inner else { return };
            match routing.drain(datapath) {
                Ok(0) => return,
                drained => inner.warned("connections in the kernel are not drained", drained),
            }
            drop(inner);
            std::thread::sleep(DRAIN_STEP);
        }
    }

    /// Whether the kernel routes requests here.
    pub(crate) fn can_route(&self) -> bool {
        self.lock().routing.is_some()
    }

    /// The clients that keep their endpoint, as the kernel knows them; none where it does not route.
    pub(crate) fn clients(&self) -> Option<Box<dyn proxy::ClientCache>> {
        let lack = "userspace remembers clients' endpoints by itself: a client may have one in each tier";
        Some(Box::new(clients::KernelClients(self.handle(Datapath::clients, lack)?)))
    }

    /// What the kernel has drawn for the requests that it gives to userspace; none where it does not route.
    pub(crate) fn lots(&self) -> Option<Box<dyn proxy::Lots>> {
        let lack = "userspace draws by itself which requests are copied: mirrors get more than their share";
        Some(Box::new(lots::KernelLots(self.handle(Datapath::lots, lack)?)))
    }

    /// A handle on maps that both tiers use, for other threads; none where the kernel does not route, or with a warning of what `lack`s.
    fn handle<T>(&self, open: impl FnOnce(&Datapath) -> Result<T, MapError>, lack: &str) -> Option<T> {
        let inner = self.lock();
        let datapath = inner.datapath.as_ref().filter(|_| inner.routing.is_some())?;
        open(datapath).inspect_err(|error| warn!(%error, "{lack}")).ok()
    }

    /// Lets the metrics read the kernel's counters.
    pub(crate) fn feed(&self, metrics: &Metrics) {
        if self.lock().datapath.is_some() {
            let kernel = self.clone();
            metrics.set_datapath_source(Box::new(move || kernel.counters()));
        }
    }

    /// Removes the programs whatever settings say, for an agent takes over that cannot use them.
    pub(crate) fn remove(&self) {
        let detaches = Self { on_exit: OnExit::Detach, ..self.clone() };
        detaches.drain();
        detaches.stop();
    }

    /// Leaves the programs at work, for the agent that takes over.
    pub(crate) fn leave(&self) {
        self.give_up_growth();
        let _alone = self.alone();
        let mut inner = self.lock();
        inner.finish_log();
        drop(inner.routing.take());
        if let Some(datapath) = inner.datapath.take() {
            datapath.keep();
        }
        inner.lack = "left to the agent that has taken over".to_owned();
    }

    /// Removes the programs, or leaves them, as settings say. Does nothing the second time.
    pub(crate) fn stop(&self) {
        self.give_up_growth();
        let _alone = self.alone();
        self.end();
    }

    /// The same without waiting for whoever needs the pins.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.growth = Growth::default();
        inner.finish_log();
        if self.on_exit == OnExit::Keep {
            inner.fall_silent();
        }
        let (Some(mut datapath), routing) = (inner.datapath.take(), inner.routing.take()) else { return };
        match self.on_exit {
            OnExit::Keep => datapath.keep(),
            OnExit::Detach => {
                // Ends of connections hear of it while there is somebody to tell them.
                if let (Some(_), Err(error)) = (routing, datapath.collect(&loader::Limits::NONE)) {
                    warn!("connections in the kernel end without a word: {:#}", anyhow::Error::from(error));
                }
                if let Err(error) = datapath.detach() {
                    warn!("kernel programs are not all gone: {:#}", anyhow::Error::from(error));
                }
            }
        }
    }

    /// Has the thread end that loads programs for larger tables, which holds the pins. What it has made goes with it.
    fn give_up_growth(&self) {
        self.lock().growth = Growth::default();
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same unless somebody else has it.
    fn try_lock(&self) -> Option<MutexGuard<'_, Inner>> {
        match self.inner.try_lock() {
            Ok(inner) => Some(inner),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Inner {
    /// Lets the programs count at the snapshot's listeners.
    fn count(&mut self, snapshot: &Snapshot) {
        let Some(datapath) = &mut self.datapath else { return };
        let listeners = addresses(snapshot);
        let keys: Vec<ListenerAddress> = listeners.keys().copied().collect();
        let counted = datapath.set_listeners(&keys).map_err(anyhow::Error::from);
        self.listeners = listeners;
        self.warned("the kernel's table of listeners is not up to date, its counters may miss some", counted);
    }

    /// Lets the programs route the latest snapshot.
    fn route(&mut self) {
        let Self {
            datapath: Some(datapath), routing: Some(routing), snapshot: Some(snapshot), closed, ..
        } = self
        else {
            return;
        };
        let applied = routing.apply(datapath, snapshot, closed);
        (self.is_unsaid, self.is_fresh) = (true, true);
        self.warned("the kernel's routing tables are not up to date", applied);
    }

    fn beat(&mut self) {
        let Some(datapath) = &mut self.datapath else { return };
        let beaten = datapath.heartbeat().map_err(anyhow::Error::from);
        self.warned("the kernel programs see no sign of life", beaten);
    }

    /// Has tables grow that are too small. Whether they have.
    fn grow(&mut self, pins: &Arc<Mutex<()>>) -> bool {
        let Self { datapath: Some(datapath), routing: Some(routing), growth, pressure, .. } = self else {
            return false;
        };
        pressure.tick(datapath);
        growth.tick(datapath, routing, pins)
    }

    /// Says what the programs do if that is something else. Not while changes come: it takes a look at every route.
    fn say(&mut self) {
        if std::mem::take(&mut self.is_fresh) || !std::mem::take(&mut self.is_unsaid) {
            return;
        }
        let summary = self.summary();
        if summary != self.said {
            info!("kernel programs: {summary}");
            self.said = summary;
        }
    }

    /// Warns of what fails, once until something succeeds or something else fails.
    fn warned<T>(&mut self, what: &'static str, result: anyhow::Result<T>) {
        match result {
            Ok(_) if self.failing == Some(what) => self.failing = None,
            Ok(_) => {}
            Err(_) if self.failing == Some(what) => {}
            Err(error) => {
                self.failing = Some(what);
                warn!("{what}: {error:#}");
            }
        }
    }

    fn summary(&self) -> String {
        match (&self.datapath, &self.routing) {
            (None, _) => self.lack.clone(),
            (Some(datapath), _) if datapath.attachments().is_empty() => {
                "loaded, but no interface is up".to_owned()
            }
            (Some(_), Some(routing)) => routing.summary(),
            (Some(_), None) => {
                format!("TC programs count packets; userspace serves every request: {}", self.lack)
            }
        }
    }

    fn attachments(&self) -> Vec<String> {
        let attached = self.datapath.iter().flat_map(Datapath::attachments);
        let by = |at: &Attachment| match at.xdp {
            Some(mode) => format!("{} ({mode} XDP, {})", at.interface, at.mechanism),
            None => format!("{} ({})", at.interface, at.mechanism),
        };
        attached.map(by).collect()
    }
}

/// A warning for who asked for a hook by name.
fn said(options: &Options, text: &str) {
    match options.hook {
        Hook::Auto | Hook::Off => info!("{text}"),
        Hook::Tc | Hook::Xdp => warn!("{text}"),
    }
}

/// What of the programs' business could not be listened on: an address, none: all, and a port.
fn closed(problem: &ListenProblem) -> Option<(Option<IpAddr>, u16)> {
    let (ip, port) = (problem.address.ip(), problem.address.port());
    (problem.transport == Transport::Tcp).then(|| (Some(ip).filter(|ip| !ip.is_unspecified()), port))
}

/// The addresses of a snapshot's listeners, each with the listeners that share it.
fn addresses(snapshot: &Snapshot) -> BTreeMap<ListenerAddress, Vec<ListenerId>> {
    let mut found: BTreeMap<ListenerAddress, Vec<ListenerId>> = BTreeMap::new();
    for listener in snapshot.listeners.values() {
        let all = if listener.addresses.is_empty() {
            vec![None]
        } else {
            listener.addresses.iter().copied().map(Some).collect()
        };
        for address in all {
            let at = ListenerAddress { address, port: listener.port };
            found.entry(at).or_default().push(listener.id.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use tracing::{Event, Level, Subscriber, subscriber::with_default};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    struct Warned(Arc<AtomicBool>);

    impl<S: Subscriber> Layer<S> for Warned {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_or(*event.metadata().level() == Level::WARN, Relaxed);
        }
    }

    #[test]
    fn a_hook_that_was_asked_for_and_cannot_be_had_is_worth_a_warning() {
        let warned = Arc::new(AtomicBool::new(false));
        let subscriber = tracing_subscriber::registry().with(Warned(Arc::clone(&warned)));
        let mut settings = Settings::default();
        settings.dataplane.hook = Hook::Xdp;
        settings.dataplane.xdp_mode = loader::XdpMode::Hw;
        let kernel = with_default(subscriber, || Kernel::start(&settings));
        assert!(warned.load(Relaxed));
        assert!(kernel.summary().starts_with("off: "), "{}", kernel.summary());
        assert_eq!(kernel.counters(), None);
    }
}
