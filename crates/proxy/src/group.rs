//! Choosing an endpoint of a backend: its balancer, its endpoints, and which of them to leave out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

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

/// Which endpoints may not be chosen.
#[derive(Clone, Copy)]
pub(crate) struct LeftOut<'t> {
    /// Those that were asked already.
    pub(crate) tried: &'t [SocketAddr],
    /// How long the request would wait for a connection: some are passed over by the impatient only.
    pub(crate) patience: Duration,
}

impl LeftOut<'_> {
    fn has_tried(&self, endpoint: &Endpoint) -> bool {
        self.tried.contains(&endpoint.address)
    }

    fn spares(&self, endpoint: &Endpoint) -> bool {
        !self.has_tried(endpoint) && !endpoint.is_passed_over(self.patience)
    }
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

    /// An endpoint for a request of this thread that has not been tried: the one that the client has; one that refused a
    /// connection lately only if no other is left. One that is new is taken as often as its slow start says, but by a client that keeps
    /// what it gets.
    pub(crate) fn pick(
        &self,
        thread: usize,
        pick: &Pick,
        holding: Option<&Holding>,
        left_out: LeftOut<'_>,
    ) -> Option<&Arc<Endpoint>> {
        let slow_start = self.slow_start.as_ref().filter(|_| holding.is_none());
        let now = slow_start.map(|_| Instant::now());
        // Other bits than those that draw; of these each endpoint has its own, so that it is held back in all draws of a pick or in
        // none: more draws would be more chances, and who has nothing to do yet looks best in each.
        let is_held = |index: usize| match (slow_start, now) {
            (Some(slow), Some(now)) => !slow.takes(index, remix(!pick.random, index as u64), now),
            _ => false,
        };
        self.pick_but(is_held, thread, pick, holding, left_out)
    }

    /// The same for a connection or a session that is no HTTP's: slow start is not for these, for the same client comes to the same
    /// endpoint from every gateway.
    pub(crate) fn pick_for_flow(
        &self,
        thread: usize,
        pick: &Pick,
        holding: Option<&Holding>,
        left_out: LeftOut<'_>,
    ) -> Option<&Arc<Endpoint>> {
        self.pick_but(|_| false, thread, pick, holding, left_out)
    }

    /// One that `is_held` does not hold back, unless no other is good.
    fn pick_but(
        &self,
        is_held: impl Fn(usize) -> bool,
        thread: usize,
        pick: &Pick,
        holding: Option<&Holding>,
        left_out: LeftOut<'_>,
    ) -> Option<&Arc<Endpoint>> {
        // Further draws keep the balancer's shares; the search below finds what chance did not.
        const DRAWS_MAX: u64 = 8;
        let is_good = |e: &Endpoint| left_out.spares(e);
        if let Some(endpoint) = holding.and_then(|holding| self.keep(holding.endpoint()?, left_out)) {
            return Some(endpoint);
        }
        let mut declined = None;
        for draw in 0..DRAWS_MAX {
            let mut drawn = again(pick, draw);
            if let Some(holding) = holding {
                drawn.hash = holding.hash(draw);
            }
            if declined.is_some() {
                // Whoever is next in turn would get all that the new one does not.
                drawn.turn = drawn.random;
            }
            let index = self.choose(thread, &drawn, &is_held)?;
            let endpoint = &self.endpoints[index];
            if !is_good(endpoint) {
                continue;
            }
            if !is_held(index) {
                return Some(endpoint);
            }
            declined = declined.or(Some(endpoint));
        }
        if declined.is_some() {
            // From a place by chance, for the first of them would get more than the others.
            let count = self.endpoints.len();
            let from = usize::try_from(remix(pick.random, DRAWS_MAX) % count.max(1) as u64).unwrap_or(0);
            let found = (from..count)
                .chain(0..from)
                .find(|&index| self.weights[index] > 0 && is_good(&self.endpoints[index]) && !is_held(index));
            return found.map(|index| &self.endpoints[index]).or(declined);
        }
        let left = || self.members().filter(|e| !left_out.has_tried(e));
        left().find(|e| is_good(e)).or_else(|| left().next())
    }

    /// Whether it wants to know how long endpoints take to answer.
    pub(crate) fn measures(&self) -> bool {
        matches!(self.chooser, Chooser::PeakEwma(_))
    }

    /// The balancer's choice; of two that it compares one that is not held back.
    fn choose(&self, thread: usize, pick: &Pick, is_held: impl Fn(usize) -> bool) -> Option<usize> {
        let cost = |of: &dyn Fn(&Endpoint) -> f64, i: usize| {
            if is_held(i) {
                return f64::INFINITY;
            }
            // An endpoint of twice the weight may have twice as much to do.
            of(&self.endpoints[i]) / f64::from(self.weights[i])
        };
        match &self.chooser {
            Chooser::Fixed(balancer) => balancer.pick(pick),
            Chooser::LeastRequest(two) => {
                two.pick(pick.random, |i| cost(&|endpoint| endpoint.active() as f64 + 1.0, i))
            }
            Chooser::PeakEwma(two) => two.pick(pick.random, |i| cost(&|endpoint| endpoint.cost(thread), i)),
        }
    }

    /// The endpoint with this address, which a kernel tier may know it by, if it takes requests, has not been tried and refused no connection lately.
    pub(crate) fn keep(&self, address: SocketAddr, left_out: LeftOut<'_>) -> Option<&Arc<Endpoint>> {
        let endpoint = self.members().find(|e| e.addresses.contains(address))?;
        left_out.spares(endpoint).then_some(endpoint)
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
    balance::mix(value.wrapping_add(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

#[cfg(test)]
mod tests {
    use model::{BackendId, BackendPolicy, EndpointCondition};

    use super::*;

    #[test]
    fn where_most_are_held_back_the_others_share_what_these_do_not_get() {
        const PICKS: u64 = 20_000;
        let addresses: Vec<SocketAddr> = (0..31).map(|last| ([10, 0, 0, last], 80).into()).collect();
        let endpoint = |&address: &SocketAddr| model::Endpoint {
            address,
            other: None,
            weight: 1,
            condition: EndpointCondition::Ready,
        };
        let slow_start = Some(Duration::from_secs(3600));
        let backend = Backend {
            id: BackendId::service("a", "b", 80),
            protocol: Default::default(),
            security: Default::default(),
            proxy_protocol: None,
            endpoints: addresses.iter().map(endpoint).collect(),
            affinity: None,
            policy: Some(Arc::new(BackendPolicy { slow_start, ..Default::default() })),
        };
        // All but one in the middle are new.
        let mut since = vec![Some(Instant::now()); addresses.len()];
        since[15] = None;
        for balancing in [Balancing::RoundRobin, Balancing::Random, Balancing::LeastRequest] {
            let endpoints = addresses
                .iter()
                .map(|&address| Arc::new(Endpoint::new(address.into(), 1, Arc::default())))
                .collect();
            let group = Group::new(&backend, endpoints, &since, balancing, 1);
            let mut counts = vec![0_u64; addresses.len()];
            for turn in 0..PICKS {
                let pick = Pick { hash: 0, random: remix(1, turn), turn };
                let left_out = LeftOut { tried: &[], patience: Duration::ZERO };
                let address = group.pick(0, &pick, None, left_out).unwrap().address;
                counts[addresses.iter().position(|one| *one == address).unwrap()] += 1;
            }
            let old = counts.remove(15);
            // Of itself and a tenth of the others, which are 1 to 31: (1 - 0.9^31) / 3.1.
            assert!((PICKS * 28 / 100..PICKS * 34 / 100).contains(&old), "{balancing:?}: {old}");
            assert!(
                counts.iter().all(|count| (1..PICKS * 4 / 100).contains(count)),
                "{balancing:?}: {counts:?}"
            );
        }
    }
}
