//! Choosing an endpoint of a backend: its balancer, its endpoints, and which of them to leave out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use balance::{Balancer, EndpointKey, Maglev, Pick, Random, RoundRobin, SlowStart, TwoChoices};
use model::{Backend, Balancing};

use crate::affinity::Holding;
use crate::endpoint::Endpoint;

/// A backend as one kind of balancing sees it.
pub(crate) struct Group {
    chooser: Chooser,
    endpoints: Arc<[Arc<Endpoint>]>,
    /// Beside `endpoints`; 0: it takes no new requests.
    weights: Vec<u16>,
    /// Where some of them are new to a running service.
    slow_start: Option<SlowStart>,
    /// One for each thread.
    turns: Box<[Turn]>,
}

/// How one of the endpoints is chosen.
enum Chooser {
    /// By the request alone.
    Fixed(Box<dyn Balancer>),
    /// By what the endpoints have to do, or by how long they take: see [`Endpoint`] for whose numbers these are.
    LeastRequest(TwoChoices),
    PeakEwma(TwoChoices),
}

/// Counts one thread's picks, on a cache line of its own.
#[repr(align(128))]
struct Turn(AtomicU64);

impl Group {
    /// The endpoints of `backend`, which are beside its own, as are the times since when they are new, balanced so. Threads start apart, so that they do not all begin
    /// with the first endpoint.
    pub(crate) fn new(
        backend: &Backend,
        endpoints: Arc<[Arc<Endpoint>]>,
        warming_since: &[Option<Instant>],
        balancing: Balancing,
        threads: usize,
    ) -> Self {
        let weights = weights(backend);
        let chooser = chooser(backend, &weights, balancing);
        let asked = backend.policy.as_ref().filter(|policy| policy.hash_by.is_none());
        let window = asked.and_then(|policy| policy.slow_start);
        let slow_start = window.and_then(|window| SlowStart::new(window, warming_since, &weights));
        let turns = (0..threads).map(|thread| Turn(AtomicU64::new(thread as u64))).collect();
        Self { chooser, endpoints, weights, slow_start, turns }
    }

    /// An endpoint for a request of this thread that is none of `tried`: the one that the client has; one that refused a
    /// connection lately only if no other is left. One that is new is taken as often as its slow start says, but by a client that keeps
    /// what it gets.
    pub(crate) fn pick(
        &self,
        thread: usize,
        pick: &Pick,
        holding: Option<&Holding>,
        tried: &[SocketAddr],
    ) -> Option<&Arc<Endpoint>> {
        // Further draws keep the balancer's shares; the search below finds what chance did not.
        const DRAWS_MAX: u64 = 8;
        let is_good = |e: &Endpoint| !tried.contains(&e.address) && !e.is_passed_over();
        if let Some(endpoint) = holding.and_then(|holding| self.keep(holding.endpoint()?, tried)) {
            return Some(endpoint);
        }
        let slow_start =
            self.slow_start.as_ref().filter(|_| holding.is_none()).map(|slow| (slow, Instant::now()));
        let mut declined = None;
        for draw in 0..DRAWS_MAX {
            let mut drawn = again(pick, draw);
            if let Some(holding) = holding {
                drawn.hash = holding.hash(draw);
            }
            let index = self.choose(thread, &drawn)?;
            let endpoint = &self.endpoints[index];
            if !is_good(endpoint) {
                continue;
            }
            // Other bits than those that drew it.
            let is_taken =
                |(slow, now): &(&SlowStart, Instant)| slow.takes(index, remix(!pick.random, draw), *now);
            if slow_start.as_ref().is_none_or(is_taken) {
                return Some(endpoint);
            }
            declined = declined.or(Some(endpoint));
        }
        if declined.is_some() {
            return declined;
        }
        let left = || self.members().filter(|e| !tried.contains(&e.address));
        left().find(|e| is_good(e)).or_else(|| left().next())
    }

    /// Whether it wants to know how long endpoints take to answer.
    pub(crate) fn measures(&self) -> bool {
        matches!(self.chooser, Chooser::PeakEwma(_))
    }

    fn choose(&self, thread: usize, pick: &Pick) -> Option<usize> {
        // An endpoint of twice the weight may have twice as much to do.
        let per_weight =
            |of: &dyn Fn(&Endpoint) -> f64, i: usize| of(&self.endpoints[i]) / f64::from(self.weights[i]);
        match &self.chooser {
            Chooser::Fixed(balancer) => balancer.pick(pick),
            Chooser::LeastRequest(two) => {
                two.pick(pick.random, |i| per_weight(&|endpoint| endpoint.active() as f64 + 1.0, i))
            }
            Chooser::PeakEwma(two) => {
                two.pick(pick.random, |i| per_weight(&|endpoint| endpoint.cost(thread), i))
            }
        }
    }

    /// The endpoint with this address, if it takes requests, is none of `tried` and refused no connection lately.
    pub(crate) fn keep(&self, address: SocketAddr, tried: &[SocketAddr]) -> Option<&Arc<Endpoint>> {
        let endpoint = self.members().find(|e| e.address == address)?;
        (!tried.contains(&address) && !endpoint.is_passed_over()).then_some(endpoint)
    }

    /// The number of this pick among the thread's: each group has its own, for routes that take turns with requests
    /// must not split the endpoints between them.
    pub(crate) fn turn(&self, thread: usize) -> u64 {
        self.turns[thread].0.fetch_add(1, Relaxed)
    }

    /// Whether no endpoint takes requests.
    pub(crate) fn is_empty(&self) -> bool {
        self.members().next().is_none()
    }

    fn members(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints
            .iter()
            .zip(&self.weights)
            .filter(|(_, weight)| **weight > 0)
            .map(|(endpoint, _)| endpoint)
    }
}

/// What each endpoint may get of new requests.
fn weights(backend: &Backend) -> Vec<u16> {
    let weight = |e: &model::Endpoint| if e.condition.takes_requests() { e.weight } else { 0 };
    backend.endpoints.iter().map(weight).collect()
}

fn chooser(backend: &Backend, weights: &[u16], balancing: Balancing) -> Chooser {
    Chooser::Fixed(match balancing {
        Balancing::LeastRequest => return Chooser::LeastRequest(TwoChoices::new(weights)),
        Balancing::PeakEwma => return Chooser::PeakEwma(TwoChoices::new(weights)),
        Balancing::RoundRobin => Box::new(RoundRobin::new(weights)),
        Balancing::Random => Box::new(Random::new(weights)),
        Balancing::Maglev { table_size } => {
            let keys: Vec<_> = backend
                .endpoints
                .iter()
                .zip(weights)
                .map(|(endpoint, &weight)| EndpointKey::new(endpoint.address, weight))
                .collect();
            match Maglev::build(&keys, table_size) {
                Ok(table) => Box::new(table),
                Err(error) => {
                    // More endpoints than slots, or a size that validation let through: chance is fair to all.
                    tracing::warn!(backend = %backend.id, %error, "no Maglev table; choosing by chance instead");
                    Box::new(Random::new(weights))
                }
            }
        }
    })
}

/// The `draw`-th choice for the same request; the 0th is `pick` itself.
fn again(pick: &Pick, draw: u64) -> Pick {
    if draw == 0 {
        return *pick;
    }
    Pick {
        hash: remix(pick.hash, draw),
        random: remix(pick.random, draw),
        turn: pick.turn.wrapping_add(draw),
    }
}

/// Another well-mixed number (SplitMix64, Steele et al. 2014).
fn remix(value: u64, draw: u64) -> u64 {
    let mut z = value.wrapping_add(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
