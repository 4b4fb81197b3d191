//! The connections of a thread that can carry more requests.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use model::AppProtocol;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::multiplexed::{Connection, Connections};
use super::{Upstream, Wire};
use crate::breaker::Breaker;
use crate::connector::{Connector, Way};

/// Idle connections by endpoint, the youngest taken first; and shared ones.
pub(crate) struct Pool {
    idle: HashMap<Way, Vec<Upstream>>,
    idle_max: usize,
    shared: Connections,
    /// The ways of connections whose endpoints were told of a client's: they are of no use without that.
    told: HashMap<u64, Vec<Way>>,
}

impl Pool {
    /// Keeps at most `idle_max` connections for each endpoint.
    pub(crate) fn new(idle_max: usize) -> Self {
        Self { idle: HashMap::new(), idle_max, shared: Connections::default(), told: HashMap::new() }
    }

    /// A connection that is still good: a stream on a shared one, or, unless it `wants_fresh`, an idle one. A shared one that
    /// broke is none of them any more.
    pub(crate) fn take(&mut self, connector: &Connector, way: &Way, wants_fresh: bool) -> Option<Upstream> {
        let shared = if connector.may_share() { self.stream(way) } else { None };
        let takes_idle = !wants_fresh && connector.protocol != AppProtocol::Http2;
        if shared.is_none() && takes_idle { self.idle(way) } else { shared }
    }

    /// An idle connection that is still good.
    pub(super) fn idle(&mut self, way: &Way) -> Option<Upstream> {
        let idle = self.idle.get_mut(way)?;
        while let Some(mut upstream) = idle.pop() {
            if upstream.is_quiet() {
                upstream.is_reused = true;
                return Some(upstream);
            }
        }
        None
    }

    /// A stream on a shared connection that has room for it.
    pub(super) fn stream(&mut self, way: &Way) -> Option<Upstream> {
        let (stream, is_reused) = self.shared.stream(way)?;
        let wire = Wire::Http2(Box::new(stream));
        Some(Upstream { is_reused, ..Upstream::new((wire, 0), *way) })
    }

    /// Whoever holds it may open a shared connection.
    pub(super) fn opening(&mut self, way: &Way) -> Rc<Mutex<()>> {
        self.shared.opening(way)
    }

    /// Lets others share a connection.
    pub(super) fn share(&mut self, way: Way, connection: Rc<Connection>) {
        self.note_told(way);
        self.shared.put(way, connection);
    }

    /// Keeps a connection whose exchange has ended. A stream has ended with it.
    pub(crate) fn put(&mut self, mut upstream: Upstream) {
        if matches!(upstream.stream, Wire::Http2(_)) {
            return;
        }
        let idle = self.idle.entry(upstream.way).or_default();
        if idle.len() < self.idle_max && upstream.read.is_empty() {
            upstream.idle_since = Instant::now();
            // An idle connection holds no buffer: ten thousand of them must not hold ten thousand buffers. It was given back.
            upstream.read = BytesMut::new();
            if let Some(permit) = &upstream.permit {
                permit.freed();
            }
            let way = upstream.way;
            idle.push(upstream);
            self.note_told(way);
        }
    }

    fn note_told(&mut self, way: Way) {
        let Some(client) = way.told else { return };
        let ways = self.told.entry(client).or_default();
        if !ways.contains(&way) {
            ways.push(way);
        }
    }

    /// Closes what endpoints were told is this client's connection's, which is gone.
    pub(crate) fn leave(&mut self, client: u64) {
        for way in self.told.remove(&client).into_iter().flatten() {
            self.idle.remove(&way);
            self.shared.leave(&way);
        }
    }

    /// After an endpoint left a request unanswered: idle connections are likely as stale as one that had served, and a shared one
    /// that refuses streams is to be left.
    pub(crate) fn forget(&mut self, broken: &Upstream) {
        match &broken.stream {
            Wire::Http2(stream) => stream.leave_if_refused(),
            Wire::Tcp(_) | Wire::Tls(_) if broken.is_reused => drop(self.idle.remove(&broken.way)),
            Wire::Tcp(_) | Wire::Tls(_) => {}
        }
    }

    /// Closes what counts there and has been idle longest; whether there was something.
    pub(crate) fn evict(&mut self, breaker: &Arc<Breaker>) -> bool {
        // The youngest are last.
        let oldest = |idle: &Vec<Upstream>| {
            let at = idle.iter().position(|u| u.permit.as_ref().is_some_and(|p| p.is_of(breaker)))?;
            Some((idle[at].idle_since, at))
        };
        let lanes = self.idle.values_mut().filter_map(|idle| oldest(idle).map(|found| (found, idle)));
        match lanes.min_by_key(|(found, _)| *found) {
            Some(((_, at), idle)) => {
                idle.remove(at);
                true
            }
            None => self.shared.evict(breaker),
        }
    }

    /// Closes what is idle since before `oldest`, what the endpoint closed, and what `keep` does not know any more.
    pub(crate) fn sweep(&mut self, oldest: Instant, keep: impl Fn(&Way) -> bool) {
        self.shared.sweep(oldest, &keep);
        self.idle.retain(|way, idle| {
            if !keep(way) {
                return false;
            }
            idle.retain_mut(|upstream| upstream.idle_since >= oldest && upstream.is_quiet());
            !idle.is_empty()
        });
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }
}
