//! Choosing an endpoint for a connection or a session, and another one where it does not take it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use balance::Pick;
use model::{ListenerId, ProxyProtocol};
use telemetry::ConnectResult;

use crate::affinity::Holding;
use crate::endpoint::Endpoint;
use crate::forward::{connect_result, is_own_lack};
use crate::state::L4Target;
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
    open: impl AsyncFn(SocketAddr) -> io::Result<T>,
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
    let clients = kept.map(|_| worker.shared.clients());
    let mut holding = match (*kept, &clients) {
        (Some(kept), Some(clients)) => Some(Holding::of(client.ip(), kept, clients.as_ref().as_ref())),
        _ => None,
    };
    let pick = Pick {
        hash: balance::hash_flow(client, local, 0),
        random: worker.random(),
        turn: group.turn(worker.index),
    };
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut refusal = "no endpoint is ready";
    while let Some(endpoint) = group.pick(&pick, holding.as_ref(), &tried) {
        match open(endpoint.address).await {
            Ok(opened) => {
                endpoint.connected(worker.index);
                worker.metrics().upstream_connected(worker.index, ConnectResult::Ok);
                if let (Some(holding), Some(clients)) = (&mut holding, &clients) {
                    holding.keep(endpoint.address, clients.as_ref().as_ref());
                }
                let (endpoint, proxy_protocol) = (Arc::clone(endpoint), *proxy_protocol);
                return Ok(Chosen { opened, endpoint, proxy_protocol });
            }
            Err(error) => refusal = failed(worker, endpoint, &ConnectError::Tcp(error))?,
        }
        tried.push(endpoint.address);
        if tried.len() >= worker.config().tries_max as usize {
            break;
        }
        worker.metrics().upstream_retries.add(worker.index, 1);
    }
    Err(refusal)
}

/// Notes that an endpoint did not take a connection; why, if no other one would.
///
/// # Errors
/// It is this host that lacks something: no other endpoint helps.
fn failed(worker: &Worker, endpoint: &Endpoint, error: &ConnectError) -> Result<&'static str, &'static str> {
    let result = connect_result(error);
    worker.metrics().upstream_connected(worker.index, result);
    if is_own_lack(error) {
        tracing::warn!(endpoint = %endpoint.address, %error, "no descriptor, port or memory for a connection to an endpoint; raise LimitNOFILE (ulimit -n) or net.ipv4.ip_local_port_range");
        return Err("gateway is out of sockets");
    }
    endpoint.connect_failed(worker.index, worker.config().timeouts.endpoint_retry);
    tracing::warn!(endpoint = %endpoint.address, %error, "cannot connect to an endpoint; passing it over for a while");
    Ok(match result {
        ConnectResult::Timeout => "endpoint did not accept the connection in time",
        ConnectResult::Refused => "endpoint refused the connection",
        _ => "endpoint cannot be reached",
    })
}
