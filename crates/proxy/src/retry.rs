//! Retries that a route asks for: on which answers, how often, and whether there is budget left.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use policy::RetryBudget;
use tokio::time::Instant;

use crate::breaker::{Breaker, Limited, Permit};

/// The retries of a route.
pub(crate) struct Retry {
    codes: Box<[u16]>,
    pub(crate) attempts: u32,
    backoff: Duration,
    epoch: Instant,
    budgets: Box<[Shard]>,
}

/// One thread's budget, on a cache line of its own; only that thread writes it.
#[repr(align(128))]
struct Shard {
    milli: AtomicU64,
    filled_at_ms: AtomicU64,
}

/// A retry that may follow a try.
#[derive(Clone, Copy)]
pub(crate) struct Chance<'r> {
    retry: &'r Retry,
    place: &'r Place<'r>,
    shard: usize,
    /// How long to wait first.
    pub(crate) wait: Duration,
    deadline: Option<Instant>,
}

/// A request's place among the retries that its backend allows at once: taken with the first retry, kept until the request ends.
pub(crate) struct Place<'b> {
    breaker: Option<&'b Arc<Breaker>>,
    permit: RefCell<Option<Permit>>,
}

impl<'b> Place<'b> {
    /// Without a breaker there is room for all.
    pub(crate) fn new(breaker: Option<&'b Arc<Breaker>>) -> Self {
        Self { breaker, permit: RefCell::default() }
    }

    /// Whether the request has one now.
    fn take(&self) -> bool {
        let mut permit = self.permit.borrow_mut();
        if let (Some(breaker), None) = (self.breaker, &*permit) {
            *permit = breaker.admit(Limited::Retry).ok();
            return permit.is_some();
        }
        true
    }
}

impl Retry {
    pub(crate) fn new(said: &model::Retry, threads: usize) -> Self {
        let first = RetryBudget::new(0);
        let shard = |_| Shard {
            milli: AtomicU64::new(first.milli),
            filled_at_ms: AtomicU64::new(first.filled_at_ms),
        };
        Self {
            codes: said.codes.as_slice().into(),
            attempts: said.attempts,
            backoff: said.backoff,
            epoch: Instant::now(),
            budgets: (0..threads).map(shard).collect(),
        }
    }

    /// Counts a request that came.
    pub(crate) fn count(&self, shard: usize) {
        self.set(shard, self.budget(shard).with_request(self.now_ms()));
    }

    /// The `number`th retry, from 1, if there may be so many.
    pub(crate) fn chance<'r>(
        &'r self,
        place: &'r Place<'r>,
        shard: usize,
        number: u32,
        random: u64,
        deadline: Option<Instant>,
    ) -> Option<Chance<'r>> {
        let wait = policy::retry_backoff(self.backoff, number, random);
        (number <= self.attempts).then_some(Chance { retry: self, place, shard, wait, deadline })
    }

    fn budget(&self, shard: usize) -> RetryBudget {
        let shard = &self.budgets[shard];
        RetryBudget { milli: shard.milli.load(Relaxed), filled_at_ms: shard.filled_at_ms.load(Relaxed) }
    }

    fn set(&self, shard: usize, budget: RetryBudget) {
        self.budgets[shard].milli.store(budget.milli, Relaxed);
        self.budgets[shard].filled_at_ms.store(budget.filled_at_ms, Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Chance<'_> {
    /// Whether an answer with this status is to be had again; what that costs is spent.
    pub(crate) fn takes_status(&self, status: u16) -> bool {
        self.retry.codes.contains(&status) && self.takes()
    }

    /// Whether there are time, budget and a place for it; what it costs is spent. Asked where an answer is there: one that is thrown
    /// away must be had again.
    pub(crate) fn takes(&self) -> bool {
        if self.deadline.is_some_and(|at| at <= Instant::now() + self.wait) {
            return false;
        }
        match self.retry.budget(self.shard).spend(self.retry.now_ms()) {
            Some(left) if self.place.take() => {
                self.retry.set(self.shard, left);
                true
            }
            _ => false,
        }
    }
}
