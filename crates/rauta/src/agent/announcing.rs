//! The thread that announces addresses of the pool: the network learns from it which node has which.
//!
//! ```text
//!  what is listened on ──> wanted ──┐
//!  Leases of all nodes ──> Election ┴──> Announcer ──> addresses of an interface, frames to the neighbours
//!        ^                                  │
//!        └──────────── what is held ────────┘
//! ```
//!
//! A thread of its own: a long translation must not make this node look dead. Decisions: docs/adr/0026-addresses-of-gateways.md.

mod standing;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc as blocking;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use addresses::{Announced, Election, Peer, Pool, Recent};
use announce::{AnnounceError, Announcer, HoldError};
use anyhow::{Context, ensure};
use kubernetes::{Connection, NodeLeases};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::settings::parse::show_duration;
use crate::settings::{AddressSettings, AnnounceOn, Settings};

use standing::Standing;

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(100);
/// How often an interface that cannot be announced on is tried.
const OPEN_EVERY: Duration = Duration::from_secs(1);
/// How long other nodes may take to announce what this one hands over.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);
/// How long an address may be announced by nobody before a Gateway is said to wait for it: a take-over is done in two seconds.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long the agent waits for the thread.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Addresses of the pool, as far as they are this node's to announce.
pub(super) struct Announcing {
    pool: Pool,
    wanted: watch::Sender<Option<BTreeSet<IpAddr>>>,
    commands: mpsc::UnboundedSender<Command>,
    announced: watch::Receiver<Announced>,
    /// One word for each command that is done.
    done: blocking::Receiver<()>,
    thread: JoinHandle<()>,
}

/// What the agent wants of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// Other nodes are to have the addresses, if there are others: this one is about to serve no more.
    HandOver,
    /// They are to be nobody's, if they are still this node's. The last command.
    GiveUp,
    /// The agent that has taken over announces them already. The last command.
    Leave,
}

impl Announcing {
    /// Begins to take part; none: there is no pool, or others bring the addresses here.
    ///
    /// # Errors
    /// The credentials cannot be used, or there can be no thread.
    pub(super) fn start(settings: &Settings, connection: &Connection) -> anyhow::Result<Option<Self>> {
        let said = &settings.addresses;
        if said.pool.is_empty() || said.announce_on == AnnounceOn::Nothing {
            return Ok(None);
        }
        ensure!(
            said.heartbeat_timeout >= said.heartbeat * 2,
            "addresses.heartbeatTimeout ({}) is less than twice addresses.heartbeat ({}), so nodes that live would count as dead: make it \
             three times as long",
            show_duration(said.heartbeat_timeout),
            show_duration(said.heartbeat),
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let node = node_name();
        let leases = {
            let _inside = runtime.enter();
            let namespace = std::env::var("POD_NAMESPACE").ok();
            NodeLeases::new(connection, namespace, node.clone(), said.heartbeat_timeout)
                .context("cannot take part in announcing addresses")?
        };
        let (wanted, wishes) = watch::channel(None);
        let (commands, orders) = mpsc::unbounded_channel();
        let (answer, done) = blocking::channel();
        let (tells, announced) = watch::channel(Announced::default());
        let task = Task::new(said, node, leases, tells);
        let thread = std::thread::Builder::new().name("rauta-announce".to_owned()).spawn(move || {
            super::limits::confine_to_network();
            runtime.block_on(task.run(wishes, orders, answer));
        });
        let thread = thread.context("cannot start the thread that announces addresses")?;
        let pool = said.pool.iter().copied().collect();
        Ok(Some(Self { pool, wanted, commands, announced, done, thread }))
    }

    /// What is listened on: of that, the addresses of the pool are to be announced by some node.
    pub(super) fn want(&self, listening: &[SocketAddr]) {
        let addresses = listening.iter().map(SocketAddr::ip).filter(|address| self.pool.contains(*address));
        let addresses = Some(addresses.collect());
        self.wanted.send_if_modified(|wanted| {
            let is_new = *wanted != addresses;
            *wanted = addresses;
            is_new
        });
    }

    /// What any node announces.
    pub(super) fn announced(&self) -> watch::Receiver<Announced> {
        self.announced.clone()
    }

    /// Waits until other nodes announce what this one did, if there are others. Until then connections come here.
    pub(super) fn hand_over(&self) {
        self.order(Command::HandOver);
    }

    /// Ends it: `is_succeeded` if another agent of this node goes on with it.
    pub(super) fn end(self, is_succeeded: bool) {
        if self.order(if is_succeeded { Command::Leave } else { Command::GiveUp }) {
            // It panicked, which it said.
            let _ = self.thread.join();
        }
    }

    /// Whether it is done.
    fn order(&self, command: Command) -> bool {
        let is_done = self.commands.send(command).is_ok() && self.done.recv_timeout(ANSWER_MAX).is_ok();
        if !is_done {
            warn!("addresses are not given up in time: other nodes take them over by themselves");
        }
        is_done
    }
}

/// This node among all that announce.
fn node_name() -> String {
    super::node_name().unwrap_or_else(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().to_ascii_lowercase()
    })
}

struct Task {
    interface: Option<String>,
    heartbeat: Duration,
    leases: NodeLeases,
    node: String,
    election: Election,
    /// None: it could not be opened, or need not be yet.
    announcer: Option<Announcer>,
    /// When it was tried to open it last.
    tried: Option<Instant>,
    wanted: BTreeSet<IpAddr>,
    standing: Standing,
    /// Whether this one has left.
    has_left: bool,
    /// What is announced, or should be.
    own: BTreeSet<IpAddr>,
    /// Which of that another node announces as well.
    contested: BTreeSet<IpAddr>,
    /// What any node announces, once this one has looked.
    recent: Recent,
    tells: watch::Sender<Announced>,
    has_looked: bool,
    /// What went wrong last, to say it once.
    said: String,
    said_of_leases: String,
}

impl Task {
    fn new(
        settings: &AddressSettings,
        node: String,
        leases: NodeLeases,
        tells: watch::Sender<Announced>,
    ) -> Self {
        let interface = match &settings.announce_on {
            AnnounceOn::Interface(name) => Some(name.clone()),
            AnnounceOn::DefaultRoute | AnnounceOn::Nothing => None,
        };
        Self {
            interface,
            heartbeat: settings.heartbeat,
            leases,
            election: Election::new(&node, settings.heartbeat_timeout),
            node,
            announcer: None,
            tried: None,
            wanted: BTreeSet::new(),
            standing: Standing::default(),
            has_left: false,
            own: BTreeSet::new(),
            contested: BTreeSet::new(),
            recent: Recent::new(SILENCE_MAX),
            tells,
            has_looked: false,
            said: String::new(),
            said_of_leases: String::new(),
        }
    }

    async fn run(
        mut self,
        mut wishes: watch::Receiver<Option<BTreeSet<IpAddr>>>,
        mut orders: mpsc::UnboundedReceiver<Command>,
        answer: blocking::Sender<()>,
    ) {
        let (says, said) = watch::channel(None);
        let (seen, mut rounds) = mpsc::channel(1);
        let mut beating: Option<AbortHandle> = None;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => {
                    let is_last = self.obey(order.unwrap_or(Command::Leave), beating.as_ref()).await;
                    // Who no longer waits needs no answer.
                    let _ = answer.send(());
                    if is_last {
                        return;
                    }
                }
                Ok(()) = wishes.changed() => {
                    self.wanted = wishes.borrow_and_update().clone().unwrap_or_default();
                    // Who listens on nothing yet can take nothing over.
                    beating.get_or_insert_with(|| {
                        let beat = beat(self.leases.clone(), self.heartbeat, said.clone(), seen.clone());
                        tokio::spawn(beat).abort_handle()
                    });
                }
                Some(round) = rounds.recv() => self.take_in(round),
                _ = tick.tick() => {}
            }
            if beating.is_some() && !self.has_left {
                self.decide();
            }
            says.send_if_modified(|last| {
                let now = self.standing.announces(self.held());
                let is_new = *last != now;
                *last = now;
                is_new
            });
            self.tell();
        }
    }

    /// Says what any node announces. Who has left or looks at nothing says what was the case.
    fn tell(&mut self) {
        if !self.has_looked || self.has_left {
            return;
        }
        let held = self.standing.announces(self.held()).unwrap_or_default();
        let now = Instant::now();
        self.recent.see(self.election.announced(&held), now);
        let announced = self.recent.announced(now);
        self.tells.send_if_modified(|last| {
            let is_new = *last != announced;
            *last = announced;
            is_new
        });
    }

    /// Does what the agent wants; whether it was the last that it wants.
    async fn obey(&mut self, command: Command, beating: Option<&AbortHandle>) -> bool {
        let is_last = command != Command::HandOver;
        if command == Command::Leave || self.has_left || (!is_last && self.election.is_alone()) {
            return is_last;
        }
        self.has_left = true;
        if let Some(beating) = beating {
            beating.abort();
        }
        if let Err(error) = self.leases.leave().await {
            warn!("other nodes wait before they announce this one's addresses: {error}");
        }
        let start = Instant::now();
        let is_held_by_none =
            |task: &Self| task.own.iter().any(|address| task.election.others(*address).next().is_none());
        while !self.election.is_alone() && is_held_by_none(self) && start.elapsed() < HAND_OVER_MAX {
            sleep(TICK).await;
            if let Ok(peers) = self.leases.look().await {
                self.election.observe(peers, Instant::now());
            }
        }
        if let Some(announcer) = &mut self.announcer {
            for error in announcer.hold(&BTreeSet::new(), Instant::now()) {
                warn!("{error}");
            }
        }
        info!(addresses = self.own.len(), took_ms = start.elapsed().as_millis(), "addresses are given up");
        is_last
    }

    /// What a round has shown.
    fn take_in(&mut self, round: Result<Vec<Peer>, String>) {
        match round {
            Ok(peers) => {
                let before = peers.iter().find(|peer| peer.node == self.node && !peer.has_left);
                let mut announced = before.map(|peer| peer.announces.clone()).unwrap_or_default();
                self.election.observe(peers, Instant::now());
                self.has_looked = true;
                announced.retain(|address| self.election.others(*address).next().is_none());
                self.standing.look(announced);
                self.said_of_leases.clear();
            }
            Err(error) if error != self.said_of_leases => {
                warn!("addresses stay where they are: {error}");
                self.said_of_leases = error;
            }
            Err(_) => {}
        }
    }

    /// Announces what is this node's, and does what is due.
    fn decide(&mut self) {
        let now = Instant::now();
        self.open(now);
        if !self.standing.may_decide() {
            return;
        }
        let held = self.standing.announces(self.held()).unwrap_or_default();
        let own = self.election.own(&self.wanted, &held);
        let is_first = self.standing.decide();
        let Some(announcer) = &mut self.announcer else { return };
        let mut errors = announcer.tick(now);
        if is_first || own != self.own {
            // At first, too: what an agent before this one has left is not to stay.
            errors = announcer.hold(&own, now);
            let interface = announcer.interface().to_owned();
            for address in own.difference(&self.own) {
                info!(%address, interface, "announced by this node");
            }
            for address in self.own.difference(&own) {
                info!(%address, interface, "no longer announced by this node");
            }
            self.own = own;
        }
        let is_contested = |address: &&IpAddr| self.election.others(**address).next().is_some();
        let contested: BTreeSet<_> = self.own.iter().filter(is_contested).copied().collect();
        if let Some(announcer) = &mut self.announcer {
            for address in self.contested.difference(&contested) {
                announcer.tell_again(*address, now);
            }
        }
        self.contested = contested;
        if errors.iter().any(HoldError::is_of_lost_interface) {
            self.announcer = None;
            self.own.clear();
            self.standing.set_able(false);
        }
        if !errors.is_empty() {
            let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
            self.say(texts.join("; "));
        }
    }

    /// Sees to it that this node can announce, if it can. Until then other nodes are not to count on it.
    fn open(&mut self, now: Instant) {
        if self.announcer.is_some() || self.tried.is_some_and(|tried| now.duration_since(tried) < OPEN_EVERY)
        {
            return;
        }
        self.tried = Some(now);
        match Announcer::open(self.interface.as_deref()) {
            Ok(opened) => self.announcer = Some(opened),
            Err(error) => return self.say(cannot(&error)),
        }
        self.said.clear();
        self.standing.set_able(true);
    }

    fn held(&self) -> BTreeSet<IpAddr> {
        self.announcer.as_ref().map(Announcer::held).unwrap_or_default()
    }

    fn say(&mut self, text: String) {
        if text != self.said {
            warn!("{text}");
            self.said = text;
        }
    }
}

fn cannot(error: &AnnounceError) -> String {
    format!("this node announces no addresses: {error}")
}

/// Looks at the Leases once, then renews and looks again and again.
async fn beat(
    leases: NodeLeases,
    heartbeat: Duration,
    says: watch::Receiver<Option<BTreeSet<IpAddr>>>,
    seen: mpsc::Sender<Result<Vec<Peer>, String>>,
) {
    let mut beat = interval(heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_known = false;
    loop {
        beat.tick().await;
        let round = match is_known {
            true => {
                let says = says.borrow().clone();
                leases.round(says.as_ref()).await
            }
            // What this node's own Lease said before must not be lost.
            false => leases.look().await,
        };
        is_known |= round.is_ok();
        if seen.send(round.map_err(|error| error.to_string())).await.is_err() {
            return;
        }
        // There is room again when it was taken in: the next round says what follows from it.
        if seen.reserve().await.is_err() {
            return;
        }
    }
}
