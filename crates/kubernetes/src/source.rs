use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use addresses::Announced;
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;
use translate::{Loaded, Options, Steps};

use crate::addressing::AddressMode;
use crate::client::client;
use crate::event::Event;
use crate::follow::follow;
use crate::gather::gather;
use crate::hold::Hold;
use crate::mirror::{Amount, Mirror};
use crate::pace::Pace;
use crate::recorder::{Saying, record};
use crate::scope::Scope;
use crate::writer::{Write, write};
use crate::{ClientError, Connection};
use crate::{clock, lease};

/// A change comes no sooner than this after the one before it: of a stream of events, those between are one. The first after a
/// rest waits for nothing.
const APART: Duration = Duration::from_millis(1);
/// Events that may wait to be taken in, before the API server has to.
const EVENTS_MAX: usize = 1024;

/// The Lease of all agents of a cluster.
const LEASE: &str = "rauta-status";

/// Why an API server cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The connection's certificates or credentials cannot be used.
    #[error("cannot use the certificates or credentials for the API server at {url}")]
    Client {
        /// The API server.
        url: String,
        /// What is wrong.
        #[source]
        source: Box<ClientError>,
    },
    /// No thread can be started.
    #[error("cannot start the thread that watches the API server")]
    Thread(#[source] std::io::Error),
}

/// What the API server's objects amount to, at last; none: not everything has been read yet.
pub type Followed = watch::Receiver<Option<Arc<Loaded>>>;

/// Keeps the API server watched; dropping it ends that.
#[derive(Debug)]
pub struct WatchHandle {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is written, and where the Lease is that decides who writes.
#[derive(Clone, Debug)]
pub struct Writing {
    /// Where Gateways can be reached.
    pub addresses: AddressMode,
    /// Where Ingresses can be reached.
    pub ingresses: IngressReach,
    /// What nodes announce of a pool; none: they do not, and a Gateway with an address is waited for no longer.
    pub announced: Option<watch::Receiver<Announced>>,
    /// The namespace of the Lease; none: that of the Pod, else that of the kubeconfig.
    pub namespace: Option<String>,
    /// This agent's name among all that read from the same API server.
    pub identity: String,
}

/// Where Ingresses can be reached, as their status says it.
#[derive(Clone, Debug, Default)]
pub struct IngressReach {
    /// There, addresses and DNS names, whatever else is known.
    pub published: Vec<String>,
    /// Without that: the addresses of the default listener; none: those that Gateways have together, which name none. Where Gateways
    /// serve Ingresses, theirs are added.
    pub listener: Vec<IpAddr>,
    /// The same of the default listener for HTTPS.
    pub https: Vec<IpAddr>,
}

/// Reads the objects of an API server, and follows them; while this agent holds the Lease, writes their status.
///
/// `on_thread` is what the thread that watches does before anything else.
/// The receiver has nothing until every kind has been read or has turned out to be unreadable; a later [`Loaded`] comes only
/// if it serves differently or says something else. Where nothing has been read yet and something is wrong, that is logged.
///
/// # Errors
/// [`StartError`]: nothing is watched.
pub fn watch(
    connection: Connection,
    options: Options,
    writing: Writing,
    on_thread: fn(),
) -> Result<(Followed, WatchHandle), StartError> {
    let (sender, receiver) = watch::channel(None);
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let url = connection.url();
    let namespace = writing.namespace.unwrap_or_else(|| connection.config.default_namespace.clone());
    let client = {
        let _inside = runtime.enter();
        let failed = |source| StartError::Client { url: url.clone(), source: Box::new(source) };
        client(&connection.config).map_err(failed)?
    };
    let ingress_controller = options.ingress_controller_name.clone();
    let thread = thread::Builder::new()
        .name("kubernetes".to_owned())
        .spawn(move || {
            on_thread();
            runtime.block_on(async move {
                let (leads, is_leader) = watch::channel(false);
                let lease = (namespace.clone(), LEASE);
                let part =
                    tokio::spawn(lease::take_part(client.clone(), lease, writing.identity.clone(), leads));
                let last = client.clone();
                let mirror = Mirror::new(url, options, writing.addresses, writing.ingresses);
                let (sayings, said) = watch::channel(Arc::default());
                let reporter = (ingress_controller, writing.identity.clone());
                let recording = tokio::spawn(record(client.clone(), reporter, said));
                let source = Source::new(client, mirror, sender, sayings);
                tokio::select! {
                    () = source.run(is_leader, writing.announced) => {}
                    _ = stopped => {}
                }
                part.abort();
                recording.abort();
                lease::release(&last, (&namespace, LEASE), &writing.identity).await;
            });
            // Nobody waits for answers any more.
            runtime.shutdown_background();
        })
        .map_err(StartError::Thread)?;
    Ok((receiver, WatchHandle { stop: Some(stop), thread: Some(thread) }))
}

struct Source {
    client: Client,
    mirror: Mirror,
    sender: watch::Sender<Option<Arc<Loaded>>>,
    inbox: mpsc::Receiver<Event>,
    events: mpsc::Sender<Event>,
    /// What is watched.
    tasks: BTreeMap<Scope, AbortHandle>,
    plans: watch::Sender<Vec<Arc<Write>>>,
    sayings: watch::Sender<Arc<Vec<Saying>>>,
    /// Whether this agent writes, and follows what only that takes.
    leads: bool,
    pace: Pace,
    /// Of what was taken in and not built yet: when it was first heard of.
    heard: Option<Instant>,
    /// When the last change was built.
    built: Option<Instant>,
    hold: Hold,
    /// What was logged while there was nothing to serve yet.
    waiting: String,
}

impl Source {
    fn new(
        client: Client,
        mirror: Mirror,
        sender: watch::Sender<Option<Arc<Loaded>>>,
        sayings: watch::Sender<Arc<Vec<Saying>>>,
    ) -> Self {
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let (plans, receiver) = watch::channel(Vec::new());
        tokio::spawn(write(client.clone(), receiver, events.clone()));
        let (tasks, waiting) = (BTreeMap::new(), String::new());
        let (pace, hold) = (Pace::default(), Hold::default());
        Self {
            client,
            mirror,
            sender,
            inbox,
            events,
            tasks,
            plans,
            sayings,
            leads: false,
            pace,
            heard: None,
            built: None,
            hold,
            waiting,
        }
    }

    async fn run(
        mut self,
        mut leads: watch::Receiver<bool>,
        mut announced: Option<watch::Receiver<Announced>>,
    ) {
        for scope in self.mirror.standing() {
            self.follow(scope);
        }
        if let Some(announced) = &mut announced {
            self.mirror.take_announced(announced.borrow_and_update().clone());
        }
        loop {
            let leads_now = *leads.borrow_and_update();
            if leads_now != self.leads {
                self.lead(leads_now);
            }
            let plans = self.leads && self.may_plan();
            let planned = plans.then(|| self.pace.next(Instant::now()));
            tokio::select! {
                () = at(self.hold.ends()) => self.rebuild(Instant::now()),
                heard = self.hear() => match heard {
                    Some(noticed) => self.rebuild(noticed),
                    None => return,
                },
                changed = leads.changed() => if changed.is_err() {
                    return;
                },
                () = at(planned) => {}
                seen = next(&mut announced) => self.mirror.take_announced(seen),
            }
            if !*leads.borrow() {
                self.yield_writing();
            } else if self.leads {
                self.plan();
            }
        }
    }

    /// Begins to write, with all that takes to be read first, or leaves it to another agent: of a thousand agents one watches nodes.
    fn lead(&mut self, leads: bool) {
        self.leads = leads;
        let scopes = self.mirror.leading();
        if leads {
            self.mirror.touch_all();
            return scopes.into_iter().for_each(|scope| self.follow(scope));
        }
        for scope in scopes {
            self.unfollow(&scope);
        }
    }

    /// Lets what was heard of first at `noticed` be in force, unless it has to wait for what it names.
    fn rebuild(&mut self, noticed: Instant) {
        let started = Instant::now();
        let amount = self.mirror.build();
        let built = Instant::now();
        self.built = Some(built);
        let translated = built - started;
        self.follow_wanted(&amount);
        let is_ready = self.may_serve() || self.sender.borrow().is_none();
        if let Some(noticed) = self.hold.release(is_ready, noticed, started) {
            let waited = started.duration_since(noticed);
            self.publish(amount, noticed, Steps { waited, read: Duration::ZERO, translated });
        }
    }

    /// Whether everything has been read that can be.
    fn is_known(&self) -> bool {
        self.tasks.keys().all(|scope| self.mirror.is_settled(scope))
    }

    /// Whether everything has been read that can be of what is served.
    fn may_serve(&self) -> bool {
        self.tasks.keys().filter(|scope| scope.is_served()).all(|scope| self.mirror.is_settled(scope))
    }

    /// Another agent writes.
    fn yield_writing(&mut self) {
        self.mirror.yield_writing();
        self.plans.send_if_modified(|plan| !std::mem::take(plan).is_empty());
        self.sayings.send_if_modified(|plan| !std::mem::take(plan).is_empty());
    }

    /// Whether there is something to plan. What was taken in and not built would be said of as if nothing were wrong with it.
    fn may_plan(&self) -> bool {
        self.heard.is_none() && self.mirror.is_stale() && self.is_known()
    }

    /// Has written what should be others than it is, once its turn has come.
    fn plan(&mut self) {
        let started = Instant::now();
        if !self.may_plan() || !self.pace.is_due(started) {
            return;
        }
        let planned = self.mirror.plan(&clock::seconds());
        self.plans.send_if_modified(|plan| {
            let are_same = |(a, b): (&Arc<Write>, &Arc<Write>)| Arc::ptr_eq(a, b) || a == b;
            let is_new = plan.len() != planned.len() || !plan.iter().zip(&planned).all(are_same);
            *plan = planned;
            is_new
        });
        let sayings = self.mirror.sayings();
        self.sayings.send_if_modified(|plan| {
            let is_new = **plan != sayings;
            *plan = Arc::new(sayings);
            is_new
        });
        self.pace.took(started, started.elapsed());
    }

    /// Takes in what comes until a change may be built; when the first of it was heard of. Goes on where it was if it is dropped.
    async fn hear(&mut self) -> Option<Instant> {
        let Self { inbox, mirror, tasks, heard, built, .. } = self;
        let mut take = |event: Event| {
            // What the task of a forgotten scope said last is no longer of interest.
            if tasks.contains_key(&event.scope) {
                mirror.take(event);
            }
        };
        if heard.is_none() {
            let first = inbox.recv().await?;
            *heard = Some(first.heard);
            take(first);
        }
        gather(inbox, built.map(|built| built + APART), take).await?;
        heard.take()
    }

    fn follow(&mut self, scope: Scope) {
        let task = tokio::spawn(follow(self.client.clone(), scope.clone(), self.events.clone()));
        self.tasks.insert(scope, task.abort_handle());
    }

    fn unfollow(&mut self, scope: &Scope) {
        if let Some(task) = self.tasks.remove(scope) {
            task.abort();
        }
        self.mirror.forget(scope);
    }

    /// Watches the single objects that are referred to, and no others.
    fn follow_wanted(&mut self, amount: &Amount) {
        let is_gone = |scope: &Scope| matches!(scope, Scope::One(key) if !amount.wanted.contains(key));
        let gone: Vec<_> = self.tasks.keys().filter(|scope| is_gone(scope)).cloned().collect();
        for scope in gone {
            self.unfollow(&scope);
        }
        for key in &amount.wanted {
            let scope = Scope::One(key.clone());
            if !self.tasks.contains_key(&scope) {
                self.follow(scope);
            }
        }
    }

    fn publish(&mut self, amount: Amount, noticed: Instant, steps: Steps) {
        let started = noticed + steps.waited;
        let is_first = self.sender.borrow().is_none();
        if is_first && !self.may_serve() {
            return self.log_waiting(&amount);
        }
        let Amount { snapshot, diagnostics, objects, .. } = amount;
        let (changed_at, files) = (SystemTime::now(), 0);
        let mut loaded = Loaded { snapshot, diagnostics, files, objects, changed_at, noticed, steps };
        self.sender.send_if_modified(|last| {
            let is_new = last.as_ref().is_none_or(|last| loaded.differs_from(last));
            if is_new {
                // Who takes one keeps it until the next: this one has not been taken, and what it was about waits since then.
                if let Some(passed_over) = last.as_ref().filter(|last| Arc::strong_count(last) == 1) {
                    loaded.noticed = passed_over.noticed;
                    loaded.steps.waited = started - passed_over.noticed;
                }
                *last = Some(Arc::new(loaded));
            }
            is_new
        });
    }

    /// Says what is waited for, once.
    fn log_waiting(&mut self, amount: &Amount) {
        let is_waited_for = |scope: &&Scope| scope.is_served() && !self.mirror.is_settled(scope);
        let trouble = self.mirror.worst();
        let text = trouble.map(|found| found.to_string()).unwrap_or_default();
        if !text.is_empty() && text != self.waiting {
            let waiting = self.tasks.keys().filter(is_waited_for).count();
            tracing::warn!(kinds = waiting, objects = amount.objects, "nothing is served yet: {text}");
            self.waiting = text;
        }
    }
}

/// Waits for what nodes announce to be something else, or for ever.
async fn next(announced: &mut Option<watch::Receiver<Announced>>) -> Announced {
    if let Some(receiver) = announced
        && receiver.changed().await.is_ok()
    {
        return receiver.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// Waits for a moment, or for ever.
pub(crate) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
