//! The handle by which the agent drives the userspace tier.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::Snapshot;
use telemetry::Metrics;
use tokio::sync::{mpsc, oneshot};

use crate::affinity::ClientCache;
use crate::config::Config;
use crate::hand_over::{self, ListeningSocket};
use crate::health::Health;
use crate::lots::Lots;
use crate::session_key::SessionKey;
use crate::shared::Shared;
use crate::sockets::{self, ListenProblem, Opened, Place};
use crate::state::State;
use crate::thread::{self, Command};
use crate::worker::Worker;

/// How long a change waits for a busy thread to let go of a socket.
const UNLISTEN_WAIT: Duration = Duration::from_secs(5);

/// The userspace tier: its threads and listening sockets.
///
/// Dropping it ends all threads and connections at once; [`Gateway::drain`] ends them in order.
pub struct Gateway {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
    health: Health,
    /// The lock makes changes one at a time.
    listening: Mutex<Listening>,
    /// Whether another process has the listening sockets too: what is done to a socket is done to its own.
    is_shared: AtomicBool,
}

#[derive(Default)]
struct Listening {
    /// What is listened on.
    places: BTreeSet<Place>,
    /// What another process listened on, until something is served.
    inherited: BTreeMap<Place, Vec<Opened>>,
}

struct Thread {
    commands: Option<mpsc::UnboundedSender<Command>>,
    handle: Option<JoinHandle<()>>,
}

/// Why the userspace tier cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No thread to run on was asked for.
    #[error("the userspace tier needs at least one thread; set `threads` to 1 or more")]
    NoThreads,
    /// The system refused a thread or its event queue.
    #[error("cannot start a thread of the userspace tier; is the limit of processes or descriptors reached?")]
    Thread(#[source] io::Error),
    /// What another process handed over is of no use.
    #[error("the listening sockets of the other gateway cannot be used; start without them")]
    Inherited(#[source] io::Error),
    /// There is no key for sessions.
    #[error("cannot make a key for sessions; set `sessionKeyFile` to a file with one")]
    NoRandom(#[source] tls::NoRandomError),
}

impl Gateway {
    /// Starts the threads; they serve nothing until the first snapshot is applied.
    ///
    /// # Errors
    /// [`StartError`] if there is no thread to run on.
    pub fn start(config: Config, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        Self::take_over(config, metrics, Vec::new())
    }

    /// The same with the listening sockets of another process ([`Gateway::sockets`]): nothing is refused and nothing waits while
    /// they change hands. What is not wanted of them is closed by the first [`Gateway::apply`] after [`Gateway::settle`].
    ///
    /// # Errors
    /// [`StartError`], also where they are no such sockets.
    pub fn take_over(
        config: Config,
        metrics: Arc<Metrics>,
        inherited: Vec<ListeningSocket>,
    ) -> Result<Self, StartError> {
        if config.threads == 0 {
            return Err(StartError::NoThreads);
        }
        let count = config.threads;
        let inherited = hand_over::by_place(inherited).map_err(StartError::Inherited)?;
        let session_key = SessionKey::new(config.session_key.clone()).map_err(StartError::NoRandom)?;
        let on_thread = config.on_thread;
        let health = Health::new(metrics.clone(), config.limits, on_thread);
        let shared = Arc::new(Shared::new(config, metrics, session_key));
        shared.metrics.set_routes_max(shared.config.route_metrics);
        let start = |index| Thread::start(index, &shared, on_thread);
        let threads = (0..count).map(start).collect::<io::Result<_>>();
        let threads = threads.map_err(StartError::Thread)?;
        let is_shared = AtomicBool::new(!inherited.is_empty());
        let listening = Mutex::new(Listening { places: BTreeSet::new(), inherited });
        Ok(Self { shared, threads, health, listening, is_shared })
    }

    /// Serves `snapshot` from now on: every request whose head is read after this returns is decided by it, requests
    /// under way finish as they began.
    ///
    /// Opens and closes listening sockets as needed. What cannot be opened is returned and the rest is served; calling
    /// again with the same snapshot tries those again. Callable from any thread, one change at a time.
    pub fn apply(&self, snapshot: Arc<Snapshot>) -> Vec<ListenProblem> {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.shared.state();
        if !Arc::ptr_eq(&before.snapshot, &snapshot) {
            let Shared { metrics, session_key, .. } = &*self.shared;
            let (threads, board) = (self.threads.len(), self.health.board());
            let state = State::build(snapshot.clone(), &before, threads, metrics, session_key, board);
            if let Err(error) = self.health.watch(&state.probed) {
                tracing::error!(%error, "no thread for health checks: endpoints count as healthy; is the limit of processes reached?");
            }
            self.shared.publish(Arc::new(state));
        }
        let wanted = sockets::wanted(&snapshot);
        let floating = &self.shared.config.floating;
        let mut problems = Vec::new();
        let came_with = !listening.inherited.is_empty();
        for (place, mut opened) in std::mem::take(&mut listening.inherited) {
            if let Some(listeners) = wanted.get(&place)
                && let Err(error) = hand_over::top_up(place, &mut opened, self.threads.len(), floating)
            {
                let (transport, address) = place;
                problems.push(ListenProblem { transport, address, listeners: listeners.clone(), error });
            }
            self.listen(place, opened);
            listening.places.insert(place);
        }
        let listening = &mut listening.places;
        if came_with {
            // The other gateway may have to go on with what this one does not want.
            return problems;
        }
        let gone: Vec<_> = listening.iter().filter(|place| !wanted.contains_key(place)).copied().collect();
        listening.retain(|place| wanted.contains_key(place));
        if !gone.is_empty() {
            self.unlisten(&gone);
        }
        for (place, listeners) in wanted {
            if listening.contains(&place) || self.shared.is_draining() {
                continue;
            }
            let (transport, address) = place;
            let is_same = |open: &Place| (open.0, open.1.port()) == (transport, address.port());
            let is_ours = listening.iter().any(is_same);
            match sockets::open(place, self.threads.len(), is_ours, floating) {
                Ok(opened) => {
                    self.listen(place, opened);
                    listening.insert(place);
                }
                Err(error) => problems.push(ListenProblem { transport, address, listeners, error }),
            }
        }
        problems
    }

    /// The snapshot with what health checks know of its endpoints: what is to be applied, here and in a kernel tier. Itself if
    /// all are healthy.
    pub fn with_health(&self, snapshot: &Arc<Snapshot>) -> Arc<Snapshot> {
        self.health.overlay(snapshot)
    }

    /// Waits until [`Gateway::with_health`] may give something else. For one waiter.
    pub async fn health_changed(&self) {
        self.health.changed().await;
    }

    /// What is served at the moment.
    pub fn state(&self) -> Arc<State> {
        self.shared.state()
    }

    /// What is done about paths that more than one spelling has.
    pub fn path_rules(&self) -> policy::PathRules {
        self.shared.config.paths
    }

    /// The addresses that are listened on.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .places
            .iter()
            .map(|(_, address)| *address)
            .collect()
    }

    /// Other descriptors of all listening sockets, for a process that takes over ([`Gateway::take_over`]). Until
    /// [`Gateway::settle`] they are treated as that one's own.
    ///
    /// # Errors
    /// The system has no more descriptors, or a thread does not answer.
    pub fn sockets(&self) -> io::Result<Vec<ListeningSocket>> {
        let _unchanged = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_shared.store(true, Relaxed);
        let deadline = Instant::now() + UNLISTEN_WAIT;
        let asked: Vec<_> = self.threads.iter().map(|thread| thread.ask(Command::Lend)).collect();
        let mut sockets = Vec::new();
        for answer in asked {
            let answer = answer.and_then(|wait| wait_until(wait, deadline));
            sockets
                .extend(answer.ok_or_else(|| io::Error::other("a thread of the gateway does not answer"))??);
        }
        Ok(sockets)
    }

    /// The listening sockets are this process's alone: the other one has left them, or did not take over.
    pub fn settle(&self) {
        self.is_shared.store(false, Relaxed);
    }

    /// Leaves all listening sockets, which are shared ([`Gateway::sockets`]), to the process that has taken over:
    /// [`Gateway::drain`] does the rest.
    pub fn release(&self) {
        self.shared.start_draining();
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        let places: Vec<_> = std::mem::take(&mut listening.places).into_iter().collect();
        self.unlisten(&places);
    }

    /// Client connections at the moment.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Says `Connection: close` in every `requests`th response of a client connection; 0: never. Where a kernel tier gives
    /// connections to this gateway and cannot take them back, this is how clients come back to it.
    pub fn set_close_after(&self, requests: u64) {
        self.shared.set_close_after(requests);
    }

    /// Remembers in `clients` which endpoint each client has, instead of in a memory of its own: where a kernel tier has one.
    pub fn set_client_cache(&self, clients: Box<dyn ClientCache>) {
        self.shared.set_clients(clients);
    }

    /// Asks `lots` for what a kernel tier has drawn for the requests that it gives to this gateway.
    pub fn set_lots(&self, lots: Box<dyn Lots>) {
        self.shared.set_lots(lots);
    }

    /// Stops accepting, lets requests under way finish and says `Connection: close` in their responses; idle
    /// connections are closed after [`crate::TimeoutConfig::drain_idle`]. Blocks until all is done or
    /// [`crate::TimeoutConfig::drain`] is over; the answer is the number of connections that were left then.
    pub fn drain(&self) -> usize {
        if self.is_shared.load(Relaxed) {
            self.release();
        }
        self.shared.start_draining();
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).places.clear();
        let deadline = Instant::now() + self.shared.config.timeouts.drain;
        let waits: Vec<_> = self.threads.iter().map(|thread| thread.ask(Command::Drain)).collect();
        for wait in waits.into_iter().flatten() {
            wait_until(wait, deadline);
        }
        self.shared.connections()
    }

    /// Gives each thread its sockets.
    fn listen(&self, (_, address): Place, opened: Vec<Opened>) {
        for (thread, socket) in self.threads.iter().cycle().zip(opened) {
            thread.send(match socket {
                Opened::Tcp(socket) => Command::Listen(address, socket),
                Opened::Udp(socket) => Command::Receive(address, socket),
            });
        }
    }

    /// Closes the sockets of these places, all at once: each waits for handshakes under way.
    fn unlisten(&self, places: &[Place]) {
        let deadline = Instant::now() + UNLISTEN_WAIT;
        let shared = self.is_shared.load(Relaxed);
        let ask =
            |thread: &Thread| thread.ask(|done| Command::Unlisten { places: places.to_vec(), shared, done });
        let waits: Vec<_> = self.threads.iter().map(ask).collect();
        for wait in waits.into_iter().flatten() {
            wait_until(wait, deadline);
        }
    }
}

impl Thread {
    fn start(index: usize, shared: &Arc<Shared>, on_thread: fn()) -> io::Result<Self> {
        let (commands, received) = mpsc::unbounded_channel();
        let shared = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = std::thread::Builder::new().name(format!("rauta-proxy-{index}")).spawn(move || {
            on_thread();
            let worker = Rc::new(Worker::new(index, shared));
            tokio::task::LocalSet::new().block_on(&runtime, thread::run(worker, received));
        })?;
        Ok(Self { commands: Some(commands), handle: Some(handle) })
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // A thread that is gone has nothing left to do.
            let _ = commands.send(command);
        }
    }

    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<oneshot::Receiver<T>> {
        let (done, wait) = oneshot::channel();
        self.commands.as_ref()?.send(command(done)).ok()?;
        Some(wait)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(handle) = self.handle.take() {
            // A panic there has already been printed.
            let _ = handle.join();
        }
    }
}

/// Blocks this thread; it may be one of a runtime, where `blocking_recv` would panic. None: no answer in time.
fn wait_until<T>(mut wait: oneshot::Receiver<T>, deadline: Instant) -> Option<T> {
    const PAUSE: Duration = Duration::from_millis(1);
    loop {
        match wait.try_recv() {
            Ok(answer) => return Some(answer),
            Err(oneshot::error::TryRecvError::Empty) if Instant::now() < deadline => {
                std::thread::sleep(PAUSE)
            }
            Err(_) => return None,
        }
    }
}
