//! What all threads share. On the path of a request they only read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use telemetry::Metrics;

use crate::affinity::{ClientCache, LocalCache};
use crate::auth::Checks;
use crate::config::Config;
use crate::lots::{Lots, NoLots};
use crate::rate::Rates;
use crate::session_key::SessionKey;
use crate::state::State;

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) session_key: SessionKey,
    /// The buckets of rate limits.
    pub(crate) rates: Rates,
    /// How passwords are checked.
    pub(crate) checks: Checks,
    state: ArcSwap<State>,
    /// Grows with each state, so that a thread sees a change by one load of a line that is otherwise quiet.
    generation: AtomicU64,
    draining: AtomicBool,
    /// Requests after which a client connection is closed; 0: never.
    close_after: AtomicU64,
    connections: AtomicUsize,
    /// Which endpoint each client has, on routes that want it.
    clients: ArcSwap<Box<dyn ClientCache>>,
    /// What is drawn for requests before they come here.
    lots: ArcSwap<Box<dyn Lots>>,
}

impl Shared {
    pub(crate) fn new(config: Config, metrics: Arc<Metrics>, session_key: SessionKey) -> Self {
        let clients: Box<dyn ClientCache> = Box::new(LocalCache::new(config.affinity_entries));
        let lots: Box<dyn Lots> = Box::new(NoLots);
        Self {
            clients: ArcSwap::from_pointee(clients),
            lots: ArcSwap::from_pointee(lots),
            checks: Checks::new(config.threads),
            config,
            metrics,
            session_key,
            rates: Rates::new(),
            state: ArcSwap::from_pointee(State::empty()),
            generation: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            close_after: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        }
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Every request whose head is read after this returns is decided by `state`.
    pub(crate) fn publish(&self, state: Arc<State>) {
        self.state.store(state);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_close_after(&self, requests: u64) {
        self.close_after.store(requests, Ordering::Relaxed);
    }

    /// Whether a client connection has had so many requests that it should end.
    pub(crate) fn has_had_enough(&self, requests: u64) -> bool {
        let most = self.close_after.load(Ordering::Relaxed);
        most != 0 && requests >= most
    }

    pub(crate) fn clients(&self) -> Arc<Box<dyn ClientCache>> {
        self.clients.load_full()
    }

    pub(crate) fn set_clients(&self, clients: Box<dyn ClientCache>) {
        self.clients.store(Arc::new(clients));
    }

    pub(crate) fn lots(&self) -> Arc<Box<dyn Lots>> {
        self.lots.load_full()
    }

    pub(crate) fn set_lots(&self, lots: Box<dyn Lots>) {
        self.lots.store(Arc::new(lots));
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection in; none when there are as many as there may be.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Admission> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.config.connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Admission(self.clone()))
    }
}

/// A connection that counts against the limit while this lives.
pub(crate) struct Admission(Arc<Shared>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
