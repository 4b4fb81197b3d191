//! The kernel programs, if this machine and this user may have them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use loader::{Datapath, Hook, ListenerAddress, Options};
use model::{ListenerId, Snapshot};
use telemetry::{DatapathCounters, ListenerCounters, Metrics};
use tracing::{info, warn};

use crate::settings::OnExit;

/// The kernel's part of the data plane.
#[derive(Clone)]
pub(crate) struct Kernel {
    inner: Arc<Mutex<Inner>>,
    on_exit: OnExit,
    /// One line for people.
    pub(crate) summary: Arc<str>,
    /// Interfaces, as `eth0 (tcx)`.
    pub(crate) attachments: Arc<[String]>,
}

struct Inner {
    datapath: Option<Datapath>,
    listeners: BTreeMap<ListenerAddress, Vec<ListenerId>>,
    /// Whether the last update of the maps failed: said once.
    is_failing: bool,
}

impl Kernel {
    /// Loads and attaches the programs. Where that cannot be, says so once: userspace serves alone.
    pub(crate) fn start(options: &Options, on_exit: OnExit) -> Self {
        if options.hook == Hook::Off {
            return Self::without("off by settings; userspace serves everything", on_exit);
        }
        match Datapath::start(options) {
            Ok(datapath) => {
                let attachments: Arc<[String]> = datapath
                    .attachments()
                    .iter()
                    .map(|at| format!("{} ({})", at.interface, at.mechanism))
                    .collect();
                let summary = match attachments.len() {
                    0 => "loaded, but no interface is up".to_owned(),
                    _ => "TC programs count packets; userspace serves every request".to_owned(),
                };
                info!(interfaces = attachments.join(", "), "kernel programs: {summary}");
                let kernel = Self::without(&summary, on_exit);
                kernel.lock().datapath = Some(datapath);
                Self { attachments, ..kernel }
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                // To do without is the usual thing for a user on a laptop, but not for who asked for a hook.
                match options.hook {
                    Hook::Auto | Hook::Off => {
                        info!("kernel programs are off, userspace serves everything: {error:#}");
                    }
                    Hook::Tc | Hook::Xdp => {
                        warn!("kernel programs are off, userspace serves everything: {error:#}");
                    }
                }
                Self::without(&format!("off: {error:#}"), on_exit)
            }
        }
    }

    fn without(summary: &str, on_exit: OnExit) -> Self {
        let inner = Inner { datapath: None, listeners: BTreeMap::new(), is_failing: false };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            on_exit,
            summary: summary.into(),
            attachments: Arc::new([]),
        }
    }

    /// Makes the kernel know the snapshot's listeners.
    pub(crate) fn apply(&self, snapshot: &Snapshot) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(datapath) = &mut inner.datapath else { return };
        let listeners = addresses(snapshot);
        let keys: Vec<ListenerAddress> = listeners.keys().copied().collect();
        match datapath.set_listeners(&keys) {
            Ok(()) => inner.is_failing = false,
            Err(error) if !inner.is_failing => {
                inner.is_failing = true;
                let error = anyhow::Error::from(error);
                warn!(
                    "the kernel's table of listeners is not up to date, its counters may miss some: {error:#}"
                );
            }
            Err(_) => {}
        }
        inner.listeners = listeners;
    }

    /// Lets the metrics read the kernel's counters.
    pub(crate) fn feed(&self, metrics: &Metrics) {
        if self.lock().datapath.is_some() {
            let kernel = self.clone();
            metrics.set_datapath_source(Box::new(move || kernel.counters()));
        }
    }

    /// What the kernel has counted; none without programs.
    pub(crate) fn counters(&self) -> Option<DatapathCounters> {
        let inner = self.lock();
        let datapath = inner.datapath.as_ref()?;
        let total = datapath.metrics().ok()?;
        let counted = datapath.listener_counters().ok()?;
        let listener = |(at, counters): (ListenerAddress, wire::ListenerCounters)| {
            let ids = inner.listeners.get(&at).map(Vec::as_slice).unwrap_or_default();
            ListenerCounters {
                listener: ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                address: match at.address {
                    Some(address) => std::net::SocketAddr::new(address, at.port).to_string(),
                    None => format!("*:{}", at.port),
                },
                packets: counters.packets,
                connections: counters.connections,
            }
        };
        Some(DatapathCounters {
            packets_total: total.packets_total,
            packets_tier1: total.packets_tier1,
            packets_tier2: total.packets_tier2,
            packets_tier3: total.packets_tier3,
            packets_dropped: total.packets_dropped,
            http_parse_errors: total.http_parse_errors,
            listeners: counted.into_iter().map(listener).collect(),
        })
    }

    /// Removes the programs, or leaves them, as settings say. Does nothing the second time.
    pub(crate) fn stop(&self) {
        let Some(datapath) = self.lock().datapath.take() else { return };
        match self.on_exit {
            OnExit::Keep => datapath.keep(),
            OnExit::Detach => {
                if let Err(error) = datapath.detach() {
                    warn!("kernel programs are not all gone: {:#}", anyhow::Error::from(error));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let options = Options { hook: Hook::Xdp, ..Options::default() };
        let kernel = with_default(subscriber, || Kernel::start(&options, OnExit::Detach));
        assert!(warned.load(Relaxed));
        assert!(kernel.summary.starts_with("off: "), "{}", kernel.summary);
        assert_eq!(kernel.counters(), None);
    }
}
