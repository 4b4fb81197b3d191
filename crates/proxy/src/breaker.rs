//! Limits of what is under way to a backend, over all threads.
//!
//! These are the only counters that threads share on the path of a request, and only for backends that ask for limits: a
//! limit that each thread had a part of would refuse requests where another thread has room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::CircuitLimits;
use tokio::sync::Notify;

use crate::connector::Way;
use crate::reply::Refusal;

/// No connection was free for as long as connecting may take.
pub(crate) const NO_CONNECTION: Refusal = (503, "backend has no connection free");

/// The limits of a backend, and what is under way.
pub(crate) struct Breaker {
    pub(crate) limits: CircuitLimits,
    requests: AtomicU32,
    pending: AtomicU32,
    retries: AtomicU32,
    connections: AtomicU32,
    /// Connections of each thread, by way. Only that thread asks, and only when it opens or closes one.
    own: Box<[Mutex<HashMap<Way, u32>>]>,
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
    Connection(usize, Way),
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
            own: (0..threads).map(|_| Mutex::default()).collect(),
            freed: Notify::new(),
        }
    }

    /// Counts one more, if the limit allows it.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) fn admit(self: &Arc<Self>, of: Limited) -> Result<Permit, Refusal> {
        let (count, most, reason) = self.counter(of);
        if count.fetch_add(1, Relaxed) >= most.unwrap_or(u32::MAX) {
            // Nobody is told: nothing was had that somebody could wait for.
            count.fetch_sub(1, Relaxed);
            return Err((503, reason));
        }
        Ok(self.permit(of))
    }

    /// Counts a connection of this thread, as soon as it may be opened; or gives what `other` finds in the meantime. `evict`
    /// closes a connection of this thread that counts here and is idle, if there is one: the next endpoint's turn must not
    /// wait for one that nothing uses.
    pub(crate) async fn connection<T>(
        self: &Arc<Self>,
        thread: usize,
        way: Way,
        mut other: impl FnMut() -> Option<T>,
        mut evict: impl FnMut() -> bool,
    ) -> Result<Permit, T> {
        let of = Limited::Connection(thread, way);
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Before looking: what is freed in between must not be missed.
            freed.as_mut().enable();
            if let Some(found) = other() {
                return Err(found);
            }
            if let Ok(permit) = self.admit(of) {
                return Ok(permit);
            }
            if evict() {
                continue;
            }
            // Threads do not lend each other connections, and each goes to one endpoint: who has none to it would wait for
            // what may never be freed. (Envoy, too, lets each host have one, whatever the limit.)
            if !self.own(thread).contains_key(&way.untold()) {
                self.connections.fetch_add(1, Relaxed);
                return Ok(self.permit(of));
            }
            freed.await;
        }
    }

    /// For what is counted.
    fn permit(self: &Arc<Self>, of: Limited) -> Permit {
        if let Limited::Connection(thread, way) = of {
            *self.own(thread).entry(way.untold()).or_default() += 1;
        }
        Permit { breaker: self.clone(), of }
    }

    fn uncount(&self, of: Limited) {
        self.counter(of).0.fetch_sub(1, Relaxed);
        let Limited::Connection(thread, way) = of else { return };
        let (mut own, way) = (self.own(thread), way.untold());
        if let Some(count) = own.get_mut(&way) {
            *count -= 1;
            if *count == 0 {
                own.remove(&way);
            }
        }
    }

    fn own(&self, thread: usize) -> MutexGuard<'_, HashMap<Way, u32>> {
        self.own[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, of: Limited) -> (&AtomicU32, Option<u32>, &'static str) {
        let limits = &self.limits;
        match of {
            Limited::Request => (&self.requests, limits.requests, "backend has too many requests under way"),
            Limited::Pending => (&self.pending, limits.pending, "backend has too many requests waiting"),
            Limited::Retry => (&self.retries, limits.retries, "backend has too many retries under way"),
            Limited::Connection(..) => {
                (&self.connections, limits.connections, "backend has too many connections")
            }
        }
    }
}

impl Permit {
    /// Whether it counts there.
    pub(crate) fn is_of(&self, breaker: &Arc<Breaker>) -> bool {
        Arc::ptr_eq(&self.breaker, breaker)
    }

    /// Says that a connection which stays can carry another request.
    pub(crate) fn freed(&self) {
        self.breaker.freed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.uncount(self.of);
        if let Limited::Connection(..) = self.of {
            self.freed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::connector::Connector;

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
        drop(first);
        assert!(breaker.admit(Limited::Request).is_ok());
        assert!((0..100).all(|_| breaker.admit(Limited::Pending).is_ok()), "there is no limit");
    }

    /// A connection to this port, without another to be had, if none need be waited for.
    fn open(breaker: &Arc<Breaker>, thread: usize, port: u16, evict: impl FnMut() -> bool) -> Option<Permit> {
        let addresses = std::net::SocketAddr::from(([10, 0, 0, 1], port)).into();
        let way = Way { addresses, connector: Connector::http1().id, told: None };
        let opened = pin!(breaker.connection(thread, way, || None::<()>, evict));
        match opened.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(permit)) => Some(permit),
            _ => None,
        }
    }

    #[test]
    fn a_thread_without_a_connection_to_an_endpoint_may_always_open_one() {
        let breaker = breaker(1, 1);
        let first = open(&breaker, 0, 80, || false).unwrap_or_else(|| panic!("the first"));
        assert!(open(&breaker, 0, 80, || false).is_none());
        let (of_another_thread, to_another) =
            (open(&breaker, 1, 80, || false), open(&breaker, 0, 81, || false));
        assert!(of_another_thread.is_some() && to_another.is_some());
        drop((first, of_another_thread));
        assert!(open(&breaker, 0, 81, || false).is_none(), "one is left, which is as many as may be");
        drop(to_another);
        assert!(open(&breaker, 0, 81, || false).is_some());
    }

    #[test]
    fn what_is_idle_makes_room_for_another_endpoint() {
        let breaker = breaker(2, 1);
        let mut idle: Vec<_> = [80, 81].into_iter().map(|port| open(&breaker, 0, port, || false)).collect();
        assert!(idle.iter().all(Option::is_some));
        let third = open(&breaker, 0, 82, || idle.pop().is_some());
        assert!(third.is_some());
        assert_eq!(
            (idle.len(), breaker.connections.load(Relaxed)),
            (1, 2),
            "one went, and no more than may be are left"
        );
    }
}
