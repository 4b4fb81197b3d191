//! Limits of what is under way to a backend, over all threads.
//!
//! These are the only counters that threads share on the path of a request, and only for backends that ask for limits: a
//! limit that each thread had a part of would refuse requests where another thread has room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use model::CircuitLimits;
use tokio::sync::Notify;

/// What an HTTP client is told.
pub(crate) type Refusal = (u16, &'static str);

/// No connection was free for as long as connecting may take.
pub(crate) const NO_CONNECTION: Refusal = (503, "backend has no connection free");

/// The limits of a backend, and what is under way.
pub(crate) struct Breaker {
    pub(crate) limits: CircuitLimits,
    requests: AtomicU32,
    pending: AtomicU32,
    retries: AtomicU32,
    connections: AtomicU32,
    /// Connections of each thread.
    own: Box<[AtomicU32]>,
    /// A connection may be had that could not be before.
    freed: Notify,
}

/// What counts against a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    Request,
    /// A request that waits for a connection.
    Pending,
    Retry,
    /// A connection of this thread, idle or not.
    Connection(usize),
}

/// Counts against a limit while it lives.
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    of: Limited,
}

impl Breaker {
    pub(crate) fn new(limits: CircuitLimits, threads: usize) -> Self {
        Self {
            limits,
            requests: AtomicU32::new(0),
            pending: AtomicU32::new(0),
            retries: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            own: (0..threads).map(|_| AtomicU32::new(0)).collect(),
            freed: Notify::new(),
        }
    }

    /// Counts one more, if the limit allows it.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) fn admit(self: &Arc<Self>, of: Limited) -> Result<Permit, Refusal> {
        let (count, most, reason) = self.counter(of);
        let before = count.fetch_add(1, Relaxed);
        let is_first = match of {
            // Threads do not lend each other connections: one that had none could never send anything.
            Limited::Connection(thread) => self.own[thread].fetch_add(1, Relaxed) == 0,
            _ => false,
        };
        if most.is_some_and(|most| before >= most) && !is_first {
            // Nobody is told: nothing was had that somebody could wait for.
            self.uncount(of);
            return Err((503, reason));
        }
        Ok(Permit { breaker: self.clone(), of })
    }

    /// Whether one more would be admitted now.
    pub(crate) fn has_room(&self, of: Limited) -> bool {
        let (count, most, _) = self.counter(of);
        most.is_none_or(|most| count.load(Relaxed) < most)
    }

    /// Counts a connection of this thread, as soon as it may be opened; or gives what `other` finds in the meantime.
    pub(crate) async fn connection<T>(
        self: &Arc<Self>,
        thread: usize,
        mut other: impl FnMut() -> Option<T>,
    ) -> Result<Permit, T> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Before looking: what is freed in between must not be missed.
            freed.as_mut().enable();
            if let Some(found) = other() {
                return Err(found);
            }
            if let Ok(permit) = self.admit(Limited::Connection(thread)) {
                return Ok(permit);
            }
            freed.await;
        }
    }

    fn uncount(&self, of: Limited) {
        self.counter(of).0.fetch_sub(1, Relaxed);
        if let Limited::Connection(thread) = of {
            self.own[thread].fetch_sub(1, Relaxed);
        }
    }

    fn counter(&self, of: Limited) -> (&AtomicU32, Option<u32>, &'static str) {
        let limits = &self.limits;
        match of {
            Limited::Request => (&self.requests, limits.requests, "backend has too many requests under way"),
            Limited::Pending => (&self.pending, limits.pending, "backend has too many requests waiting"),
            Limited::Retry => (&self.retries, limits.retries, "backend has too many retries under way"),
            Limited::Connection(_) => {
                (&self.connections, limits.connections, "backend has too many connections")
            }
        }
    }
}

impl Permit {
    /// Says that a connection which stays can carry another request.
    pub(crate) fn freed(&self) {
        self.breaker.freed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.uncount(self.of);
        if let Limited::Connection(_) = self.of {
            self.freed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(connections: u32, requests: u32) -> Arc<Breaker> {
        let limits =
            CircuitLimits { connections: Some(connections), requests: Some(requests), ..Default::default() };
        Arc::new(Breaker::new(limits, 2))
    }

    #[test]
    fn what_is_admitted_counts_until_it_goes() {
        let breaker = breaker(1, 2);
        let (first, _second) = (breaker.admit(Limited::Request), breaker.admit(Limited::Request));
        assert_eq!(breaker.admit(Limited::Request).err().map(|refusal| refusal.0), Some(503));
        assert!(!breaker.has_room(Limited::Request));
        drop(first);
        assert!(breaker.admit(Limited::Request).is_ok());
        assert!((0..100).all(|_| breaker.admit(Limited::Pending).is_ok()), "there is no limit");
    }

    #[test]
    fn a_thread_without_a_connection_may_always_open_one() {
        let breaker = breaker(1, 1);
        let _first = breaker.admit(Limited::Connection(0)).unwrap_or_else(|_| panic!("the first"));
        assert!(breaker.admit(Limited::Connection(0)).is_err());
        let second = breaker.admit(Limited::Connection(1));
        assert!(second.is_ok());
        drop(second);
        assert!(breaker.admit(Limited::Connection(0)).is_err());
    }
}
