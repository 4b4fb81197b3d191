//! A connection to an endpoint for one request: kept, or new, as its backend's limits allow.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use telemetry::ConnectResult;
use tokio::time::Instant;

use crate::breaker::{self, Breaker, Limited};
use crate::connect_failure::{self, ConnectFailure};
use crate::connector::{Connector, Way};
use crate::downstream::Downstream;
use crate::endpoint::Endpoint;
use crate::forward::Forward;
use crate::reply::Refusal;
use crate::transport::Transport;
use crate::upstream::{self, ConnectError, Open, Upstream};
use crate::worker::Worker;

/// Why there is no connection to an endpoint.
pub(crate) enum NoConnection {
    /// It is the endpoint, or this host.
    Failed(ConnectFailure),
    /// There may be no more of them.
    Limited(Refusal),
}

impl Forward<'_> {
    /// A kept connection, or a new one.
    pub(crate) async fn connection<S: Transport>(
        &self,
        endpoint: &Arc<Endpoint>,
        connector: &Connector,
        breaker: Option<&Arc<Breaker>>,
        wants_fresh: bool,
        down: &mut Downstream<S>,
    ) -> Result<Upstream, NoConnection> {
        let worker = self.worker;
        let way = connector.way(endpoint.addresses, &down.client);
        let kept = || {
            let kept = worker.pool.borrow_mut().take(connector, &way, wants_fresh)?;
            worker.metrics().upstream_reuses.add(worker.index, 1);
            Some(kept)
        };
        if let Some(upstream) = kept() {
            return Ok(upstream);
        }
        let begun = Instant::now();
        let most = self.action.timeouts.connect.unwrap_or(worker.config().timeouts.connect);
        let limit = self.deadline().map_or(most, |at| at.saturating_duration_since(begun).min(most));
        let mut permit = None;
        let _pending = match breaker {
            None => None,
            Some(breaker) => {
                let pending = breaker.admit(Limited::Pending).map_err(NoConnection::Limited)?;
                let mut watchdog = down.take_watchdog();
                let evict = || worker.pool.borrow_mut().evict(breaker);
                let opened = breaker.connection(worker.index, way, kept, evict);
                let waited = watchdog.timeout(limit, opened).await;
                down.return_watchdog(watchdog);
                match waited {
                    Ok(Ok(may)) => permit = Some(may),
                    Ok(Err(upstream)) => return Ok(upstream),
                    Err(_) => return Err(NoConnection::Limited(breaker::NO_CONNECTION)),
                }
                Some(pending)
            }
        };
        let admitted = Instant::now();
        let limit = limit.saturating_sub(admitted.duration_since(begun));
        let connected = connect(worker, endpoint, (connector, way), limit, down).await;
        down.story.connect = Some(admitted.elapsed());
        let mut upstream = connected
            .map_err(|error| NoConnection::Failed(connect_failure::note(worker, endpoint, &error)))?;
        if let Some(permit) = permit {
            upstream.hold(permit);
        }
        Ok(upstream)
    }
}

async fn connect<S: Transport>(
    worker: &Worker,
    endpoint: &Endpoint,
    reached: (&Connector, Way),
    limit: Duration,
    down: &mut Downstream<S>,
) -> Result<Upstream, ConnectError> {
    let mut watchdog = down.take_watchdog();
    // On the heap, as few requests open one: handshakes have no part in the memory that every connection of a client holds.
    let asked = Cell::new(None);
    let ends = Instant::now() + limit;
    let opened = Box::pin(upstream::connect(worker, endpoint, reached, down.client.ends(), (limit, &asked)));
    let connected = watchdog.timeout(limit, opened).await;
    down.return_watchdog(watchdog);
    let mut upstream = connected.unwrap_or_else(|_| {
        let given = asked.get().map(|asked| ends.saturating_duration_since(asked));
        Err(ConnectError::Late { given })
    })?;
    if upstream.is_reused {
        worker.metrics().upstream_reuses.add(worker.index, 1);
    } else {
        endpoint.connected(worker.index);
        worker.metrics().upstream_connected(worker.index, ConnectResult::Ok);
        upstream.count(Open::new(worker));
    }
    Ok(upstream)
}
