//! Choosing an endpoint for a connection or a session, and another one where it does not take it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use balance::Pick;
use model::{ListenerId, ProxyProtocol};
use telemetry::ConnectResult;

use super::L4Target;
use crate::affinity::Keeping;
use crate::connect_failure::{self, Fault};
use crate::endpoint::Endpoint;
use crate::group::LeftOut;
use crate::upstream::ConnectError;
use crate::worker::Worker;

/// What was chosen, and opened.
pub(crate) struct Chosen<T> {
    pub(crate) opened: T,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

/// Where something is to go, and what it is.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) client: SocketAddr,
    /// The address that the client dialled.
    pub(crate) local: SocketAddr,
    pub(crate) listener: &'a ListenerId,
    /// The name in TLS; empty: none.
    pub(crate) name: &'a str,
    /// It came over TLS that ended here.
    pub(crate) ended_tls: bool,
}

/// Opens something to an endpoint of the route that takes it: by `open`, tried with one endpoint after another.
///
/// # Errors
/// Why none can be had, for the metric.
pub(crate) async fn choose<T>(
    worker: &Worker,
    Asked { client, local, listener, name, ended_tls }: Asked<'_>,
    open: impl AsyncFn(&Endpoint) -> io::Result<T>,
) -> Result<Chosen<T>, &'static str> {
    let state = worker.state();
    let route = state.l4.lookup(listener, name).and_then(|at| state.l4_action(at)).ok_or("no route")?;
    let drawn = route.choice.pick(worker.random()).ok_or("no backend has weight")?;
    let target = route.targets.get(drawn).and_then(Option::as_ref);
    let L4Target { group, kept, proxy_protocol, wants_tls } =
        target.ok_or("backend reference cannot be resolved")?;
    if ended_tls && *wants_tls {
        return Err("backend is to be spoken to over TLS");
    }
    let mut keeping = kept.map(|kept| Keeping::of(worker, client.ip(), kept));
    let pick = Pick {
        hash: balance::hash_flow(client, local, 0),
        random: worker.random(),
        turn: group.turn(worker.index),
    };
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut refusal = "no endpoint is ready";
    let next = |keeping: &Option<Keeping>, tried: &[SocketAddr]| {
        let left_out = LeftOut { tried, patience: worker.config().timeouts.connect };
        group.pick_for_flow(worker.index, &pick, keeping.as_ref().map(Keeping::holding), left_out)
    };
    while let Some(endpoint) = next(&keeping, &tried) {
        match open(endpoint).await {
            Ok(opened) => {
                endpoint.connected(worker.index);
                worker.metrics().upstream_connected(worker.index, ConnectResult::Ok);
                if let Some(keeping) = &mut keeping {
                    keeping.keep(endpoint.address);
                }
                let (endpoint, proxy_protocol) = (Arc::clone(endpoint), *proxy_protocol);
                return Ok(Chosen { opened, endpoint, proxy_protocol });
            }
            Err(error) => {
                let failure = connect_failure::note(worker, endpoint, &ConnectError::Tcp(error));
                if failure.fault == Fault::Host {
                    return Err(failure.reason);
                }
                refusal = failure.reason;
            }
        }
        tried.push(endpoint.address);
        if tried.len() >= worker.config().tries_max as usize {
            break;
        }
        worker.metrics().upstream_retries.add(worker.index, 1);
    }
    Err(refusal)
}
