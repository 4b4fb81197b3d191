//! The agent: objects in, gateway and kernel counters out, and the ways to look at it.
//!
//! ```text
//!  main thread            objects -> gateway.apply, datapath.set_listeners; signals; every second: what failed is retried
//!  files or kubernetes    reads objects, and follows them
//!  rauta-control thread   control socket, status page, metrics
//!  rauta-trace thread     events of the kernel, while somebody traces
//!  rauta-announce thread  addresses of the pool that are this node's
//!  rauta-upgrade thread   waits for an agent that takes over
//!  rauta-proxy-N threads  the traffic
//! ```

mod access;
mod announcing;
mod control;
mod datapath;
mod differences;
mod limits;
mod memory;
mod network;
pub(crate) mod page;
mod privileged;
mod session_key;
mod source;
mod state;
mod upgrade;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use proxy::Gateway;
use telemetry::Metrics;
use telemetry::log::Limiter;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};
use translate::Loaded;

use crate::settings::Settings;
use announcing::Announcing;
use differences::Differences;
use memory::Memory;
use network::Network;
use source::Watched;
use state::{Agent, Phase};
use upgrade::{Giver, Inherited, Predecessor, TakeError};

pub(crate) use datapath::Kernel;
pub(crate) use source::Source;

/// The Pod that this process runs in, as its manifest says by the downward API.
pub(crate) fn pod_name() -> Option<String> {
    said("POD_NAME")
}

/// The node that it runs on, in the same way.
pub(crate) fn node_name() -> Option<String> {
    said("NODE_NAME")
}

fn said(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|name| !name.is_empty())
}

/// How often listeners that could not be bound are tried again.
const RETRY: Duration = Duration::from_secs(3);

/// How often an agent that ends is asked whether it is gone.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How often small housekeeping is done.
const TICK: Duration = Duration::from_secs(1);

/// How an agent starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With sockets of its own.
    Alone,
    /// With those of the agent at work, which ends; by itself if there is none.
    Upgrade,
}

/// Why an agent has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Stopped,
    /// Another agent has taken over, and nobody has told this one to end.
    TakenOver,
}

/// Runs until SIGTERM or SIGINT, or until another agent takes over, then drains.
///
/// # Errors
/// What keeps the agent from starting: its control socket, its admin or metrics address, its threads.
pub(crate) fn run(
    settings: &Settings,
    source: Source,
    start: Start,
    limiter: &Limiter,
) -> anyhow::Result<End> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(run_async(settings, source, start, limiter))
}

async fn run_async(
    settings: &Settings,
    source: Source,
    start: Start,
    limiter: &Limiter,
) -> anyhow::Result<End> {
    // Before anything slow: a signal during the start must not kill what has been pinned or bound.
    let mut signals = Signals::new().context("cannot watch for signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot watch for signals")?;
    limits::raise_descriptors();
    let Some(found) = predecessor(settings, start, &mut signals).await? else { return Ok(End::Stopped) };
    let (predecessor, inherited) = found.unzip();
    let (traffic, inherited) = inherited.map(|Inherited { traffic, control }| (traffic, control)).unzip();
    let mut bound = control::bind(settings, inherited)?;
    let took_over = predecessor.is_some();
    let metrics = Metrics::new(settings.proxy.threads);
    let session_key = settings.session_key_file.as_deref().map(session_key::read).transpose()?;
    let (access_log, writer) = access::start(settings, &metrics)?;
    let kernel_log = access::for_kernel(settings, access_log.as_ref());
    let (spans, exporting) = access::start_spans(settings, &metrics)?;
    let on_thread = limits::confine;
    let config = proxy::Config { session_key, access_log, spans, on_thread, ..settings.proxy_config() };
    let gateway = Gateway::take_over(config, Arc::clone(&metrics), traffic.unwrap_or_default())?;
    let sources = source.names();
    let announcing = match &source {
        Source::Cluster(connection) => Announcing::start(settings, connection)?,
        Source::Files(_) => None,
    };
    let mut watched = Watched::start(source, settings, announcing.as_ref().map(Announcing::announced))?;
    let mut first = watched.latest();
    if let Some(predecessor) = predecessor {
        // The one at work serves until there is something to serve.
        let ready = match first {
            Some(ready) => ready,
            None => tokio::select! {
                name = signals.stop() => {
                    info!("{name}: ended before anything was read");
                    return Ok(End::Stopped);
                }
                next = watched.next() => next.context("cannot read what to serve")?,
            },
        };
        // Userspace serves, so that the other one may let go of the kernel's programs.
        for problem in gateway.apply(Arc::clone(&ready.snapshot)) {
            warn!("{problem}");
        }
        let left = predecessor.serving()?;
        bound = bound.claim(left, settings)?;
        gateway.settle();
        first = Some(ready);
    }
    let kernel = if took_over { Kernel::take_over(settings) } else { Kernel::start(settings) };
    kernel.feed(&metrics);
    if let Some((lines, one_in)) = kernel_log {
        kernel.log(lines, one_in);
    }
    if kernel.can_route() {
        gateway.set_close_after(u64::try_from(settings.dataplane.close_after).unwrap_or(0));
    }
    if let Some(clients) = kernel.clients() {
        gateway.set_client_cache(clients);
    }
    if let Some(lots) = kernel.lots() {
        gateway.set_lots(lots);
    }
    let network = Network::listen(&kernel).context("cannot listen for changes of the network")?;
    let agent = Arc::new(Agent::new(settings, gateway, Arc::clone(&metrics), kernel, sources));
    let shared = bound.share().context("cannot share the control socket")?;
    let (giver, mut successors) =
        Giver::start(settings, &agent, shared).context("cannot listen for an agent that takes over")?;
    let control = control::Control::start(bound, &agent)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        threads = settings.proxy.threads,
        socket = %settings.socket.display(),
        "started"
    );

    let (mut differences, mut memory) = (Differences::default(), Memory::default());
    if let Some(first) = first {
        apply(&agent, &mut differences, first);
    }
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tried = Instant::now();
    let successor = loop {
        if agent.phase() == Phase::Serving
            && let Some(announcing) = &announcing
        {
            announcing.want(&agent.gateway.listening());
        }
        tokio::select! {
            biased;
            name = signals.stop() => {
                info!("{name}: draining; a second signal ends at once");
                // One that already serves needs to hear that all is its own.
                break successors.try_recv().ok();
            }
            Some(successor) = successors.recv() => break Some(successor),
            next = watched.next() => {
                let Some(latest) = next else {
                    error!("objects are no longer watched: what is served stays as it is; restart the agent");
                    // Nothing can arrive any more but the end.
                    tokio::select! {
                        _ = signals.stop() => break successors.try_recv().ok(),
                        Some(successor) = successors.recv() => break Some(successor),
                    }
                };
                apply(&agent, &mut differences, latest);
            }
            () = agent.gateway.health_changed() => agent.again(&mut differences),
            () = network.changed() => agent.kernel.follow(),
            _ = hang_up.recv() => match &writer {
                Some(writer) => writer.reopen(),
                None => info!("SIGHUP: nothing to do, objects are watched"),
            },
            _ = tick.tick() => {
                limiter.report();
                agent.kernel.tick();
                memory.tick();
                if agent.has_problems() && tried.elapsed() >= RETRY {
                    tried = Instant::now();
                    agent.again(&mut differences);
                }
            }
        }
    };

    // An agent that asks from here on waits until this one is gone, however long it takes to give up what it has of the cluster.
    let successor = successor.or_else(|| {
        agent.set_phase(Phase::Draining);
        successors.try_recv().ok()
    });
    // From here on nothing of the cluster is written any more either.
    drop(watched);
    let (end, giver) = match successor {
        None => {
            if let Some(announcing) = &announcing {
                announcing.hand_over();
            }
            drain(&agent, &mut signals, settings, Signalled::Once).await;
            if let Some(announcing) = announcing {
                announcing.end(false);
            }
            control.stop();
            (End::Stopped, Some(giver))
        }
        Some(successor) => {
            info!(pid = successor.pid, version = successor.version, "another agent has taken over: draining");
            agent.gateway.release();
            if successor.adopts {
                agent.kernel.leave();
            } else {
                agent.kernel.remove();
            }
            giver.leave();
            successor.released();
            control.leave();
            if let Some(announcing) = announcing {
                announcing.end(true);
            }
            match drain(&agent, &mut signals, settings, Signalled::Never).await {
                Signalled::Never => (End::TakenOver, None),
                Signalled::Once => (End::Stopped, None),
            }
        }
    };
    agent.kernel.stop();
    // Whoever waits for this agent to be gone may start: nothing of the machine is held any more.
    drop(giver);
    if let Some(writer) = writer {
        writer.stop(access::STOP_MAX);
    }
    if let Some(exporting) = exporting {
        exporting.stop(access::STOP_MAX);
    }
    limiter.report();
    info!("stopped");
    match end {
        End::TakenOver if signals.end_process().await? => Ok(End::Stopped),
        end => Ok(end),
    }
}

/// The agent to take over from, with its sockets, if this one does not start by itself. One that ends is waited for, since a new
/// Pod comes while the one before it, deleted by hand, drains. None: this one was told to end meanwhile.
async fn predecessor(
    settings: &Settings,
    start: Start,
    signals: &mut Signals,
) -> anyhow::Result<Option<Option<(Predecessor, Inherited)>>> {
    if start == Start::Alone {
        return Ok(Some(None));
    }
    let mut is_waiting = false;
    let found = loop {
        match upgrade::ask(settings) {
            Err(TakeError::Ending) => {}
            // It was asked in its last moment.
            Err(TakeError::Broken { .. } | TakeError::Io { .. }) if is_waiting => {}
            found => break found?,
        }
        if !std::mem::replace(&mut is_waiting, true) {
            info!("the agent at work is stopping: waiting until it is gone");
        }
        tokio::select! {
            name = signals.stop() => {
                info!("{name}: ended before the agent at work was gone");
                return Ok(None);
            }
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
    };
    match &found {
        Some((_, inherited)) => {
            info!(sockets = inherited.traffic.len(), "taking over from the agent at work")
        }
        None => info!("no agent at work to take over from: starting as usual"),
    }
    Ok(Some(found))
}

/// Serves what was loaded, and says what changed.
fn apply(agent: &Agent, differences: &mut Differences, loaded: Arc<Loaded>) {
    let started = Instant::now();
    differences.log_diagnostics(&loaded.diagnostics);
    let (steps, noticed) = (loaded.steps, loaded.noticed);
    let is_first = agent.phase() == Phase::Starting;
    let done = agent.apply(loaded, differences);
    let total = done.in_kernel.duration_since(noticed);
    if done.is_new && !is_first {
        agent.metrics.config_propagated(total);
    }
    debug!(
        waited_us = us(steps.waited),
        read_us = us(steps.read),
        translated_us = us(steps.translated),
        swapped_us = us(done.swapped.duration_since(started)),
        serving_us = us(done.swapped.duration_since(noticed)),
        kernel_us = us(done.in_kernel.duration_since(done.swapped)),
        total_us = us(total),
        "a change is in force"
    );
    let snapshot = &agent.gateway.state().snapshot;
    if done.is_new {
        info!(
            version = snapshot.version,
            listeners = snapshot.listeners.len(),
            routes = snapshot.routes.len(),
            backends = snapshot.backends.len(),
            took_us = us(started.elapsed()),
            "applied"
        );
    }
}

/// Whole microseconds.
fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whether an agent was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signalled {
    Never,
    Once,
}

/// Lets requests finish; whether a signal came by then. A second signal ends the process at once.
async fn drain(
    agent: &Arc<Agent>,
    signals: &mut Signals,
    settings: &Settings,
    mut signalled: Signalled,
) -> Signalled {
    agent.set_phase(Phase::Draining);
    let draining = Arc::clone(agent);
    let drained = tokio::task::spawn_blocking(move || {
        draining.kernel.drain();
        draining.gateway.drain()
    });
    let mut drained = std::pin::pin!(tokio::time::timeout(settings.stop_grace(), drained));
    loop {
        tokio::select! {
            left = &mut drained => {
                match left {
                    Ok(Ok(0)) => info!("drained"),
                    Ok(Ok(left)) => warn!(left, "the time to drain is over: closing connections that are still open"),
                    _ => warn!("draining did not end in time: closing what is still open"),
                }
                return signalled;
            }
            name = signals.stop() => match signalled {
                Signalled::Never => {
                    info!("{name}: draining already; a second signal ends at once");
                    signalled = Signalled::Once;
                }
                Signalled::Once => {
                    warn!("{name} again: ending at once");
                    agent.kernel.end();
                    std::process::exit(1);
                }
            },
        }
    }
}

/// The signals that stop an agent.
struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// From now on a signal to stop ends the process at once, as success. True: one came before.
    async fn end_process(&mut self) -> anyhow::Result<bool> {
        limits::end_on_signals().context("cannot set what signals do")?;
        // What had come by then is in the streams once the runtime has looked.
        Ok(tokio::time::timeout(Duration::from_millis(10), self.stop()).await.is_ok())
    }

    /// Waits for a signal to stop; which one it was.
    async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
