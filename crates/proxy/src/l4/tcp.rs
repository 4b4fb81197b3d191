//! Connections that are passed on: plain ones, TLS that passes through, and what TLS carried where it ends here.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use ::l4::proxy_protocol::Ends;
use ::l4::{Activity, End};
use model::Listener;
use telemetry::L4Metrics;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::endpoint::{Asked, Chosen, choose};
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::told;
use crate::upstream::Open;
use crate::worker::Worker;

/// Serves a connection to a TCP listener.
pub(crate) async fn tcp(worker: &Rc<Worker>, stream: TcpStream, client: &Client) {
    let listener = worker.state().tcp_listener(client.local).cloned();
    match listener {
        Some(listener) => passing(worker, stream, client, &listener, "", Vec::new()).await,
        // The listener went between the connection and now.
        None => ::l4::reset(stream).await,
    }
}

/// Passes on what TLS carries that ended here.
pub(crate) async fn ended_tls(
    worker: &Rc<Worker>,
    mut stream: tls::ServerStream<TcpStream>,
    client: &Client,
    listener: &Listener,
    name: &str,
) {
    let asked = asked(client, listener, name, true);
    let Some(mut opened) = open(worker, asked, Vec::new()).await else {
        return ::l4::reset(stream.into_inner().0).await;
    };
    let activity = Activity::new(opened.meter(worker.index));
    let idle = worker.config().timeouts.l4_idle;
    let end = ::l4::relay(&mut stream, &mut opened.stream, &activity, idle).await;
    opened.finish(worker, end, stream.into_inner().0).await;
}

/// Passes a connection on of which `first` was read, with the `name` that its ClientHello asks for; both empty: nothing was.
pub(crate) async fn passing(
    worker: &Rc<Worker>,
    stream: TcpStream,
    client: &Client,
    listener: &Listener,
    name: &str,
    first: Vec<u8>,
) {
    let Some(opened) = open(worker, asked(client, listener, name, false), first).await else {
        return ::l4::reset(stream).await;
    };
    let activity = Activity::new(opened.meter(worker.index));
    let idle = worker.config().timeouts.l4_idle;
    let end = ::l4::splice(&stream, &opened.stream, &worker.pipes, &activity, idle).await;
    opened.finish(worker, end, stream).await;
}

fn asked<'a>(client: &Client, listener: &'a Listener, name: &'a str, ended_tls: bool) -> Asked<'a> {
    Asked { client: client.peer, local: client.local, listener: &listener.id, name, ended_tls }
}

/// A connection to an endpoint that has heard who the client is and what it said so far.
struct Opened {
    stream: TcpStream,
    endpoint: Arc<Endpoint>,
    metrics: Option<Arc<L4Metrics>>,
    _open: Open,
}

/// None: no endpoint can be had; that has been counted.
async fn open(worker: &Rc<Worker>, asked: Asked<'_>, first: Vec<u8>) -> Option<Opened> {
    let metrics = worker.state().l4_metrics(asked.listener).cloned();
    if let Some(metrics) = &metrics {
        metrics.opened(worker.index);
    }
    let limit = worker.config().timeouts.connect;
    let connect = async |endpoint: &Endpoint| {
        let connecting = tokio::time::timeout(limit, endpoint.dial(limit).tcp()).await;
        connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    let chosen = choose(worker, asked, connect).await;
    let refusal = match chosen {
        Ok(Chosen { opened: mut stream, endpoint, proxy_protocol }) => {
            let ends = Ends { source: asked.client, destination: asked.local };
            let mut said =
                proxy_protocol.map(|version| told::header(version, Some(ends))).unwrap_or_default();
            said.extend_from_slice(&first);
            let written = tokio::time::timeout(limit, stream.write_all(&said)).await;
            if matches!(written, Ok(Ok(()))) {
                if let Some(metrics) = &metrics {
                    metrics.moved(worker.index, true, first.len() as u64);
                }
                return Some(Opened { stream, endpoint, metrics, _open: Open::new(worker) });
            }
            endpoint.failed(worker.index);
            "endpoint closed the connection at once"
        }
        Err(refusal) => refusal,
    };
    if let Some(metrics) = &metrics {
        metrics.closed(worker.index);
    }
    worker.metrics().l4_refused(worker.index, refusal);
    let Asked { client, listener, name, .. } = asked;
    tracing::debug!(peer = %client, %listener, name, refusal, "a connection is refused");
    None
}

impl Opened {
    /// Counts bytes as they move.
    fn meter(&self, thread: usize) -> impl Fn(bool, u64) + use<> {
        let metrics = self.metrics.clone();
        move |from_client, bytes| {
            if let Some(metrics) = &metrics {
                metrics.moved(thread, from_client, bytes);
            }
        }
    }

    /// Ends both connections as the relay ended.
    async fn finish(self, worker: &Worker, end: End, client: TcpStream) {
        match end {
            End::Closed | End::Idle => {}
            End::ClientGone => ::l4::reset(self.stream).await,
            End::EndpointGone => {
                self.endpoint.failed(worker.index);
                ::l4::reset(client).await;
            }
        }
        if let Some(metrics) = &self.metrics {
            metrics.closed(worker.index);
        }
    }
}
