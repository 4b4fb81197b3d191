//! Connections that begin with TLS: the name that the client asks for chooses the listener, which ends it or passes it on.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::{Listener, Protocol};
use tls::{Hello, alpn};
use tokio::net::TcpStream;

use crate::client::{AgreedTls, Client};
use crate::connection;
use crate::state::SecuredListener;
use crate::worker::{Current, Worker};
use crate::{l4, streams};

/// A handshake takes a few round trips; who needs longer holds a place for nothing.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What a ClientHello led to.
#[expect(clippy::large_enum_variant, reason = "moved once a connection; a box would cost more")]
enum Begun {
    /// TLS ended here.
    Ended(Arc<Listener>, String, tls::ServerStream<TcpStream>),
    /// TLS passes through: the connection, and what was read of it.
    Passing(Arc<Listener>, String, TcpStream, Vec<u8>),
    /// The name that the client asked for is not served on this socket; it has been told so.
    Unknown,
}

/// Handshakes, then serves what the client and the gateway agreed to speak; or passes TLS on.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: TcpStream, mut client: Client) {
    let limit = worker.config().timeouts.header_read.min(HANDSHAKE_MAX);
    // On the heap, for as long as the handshake lasts.
    let begun = Box::pin(tokio::time::timeout(limit, begin(worker, stream, &client)));
    match begun.await {
        Ok(Ok(Begun::Ended(listener, name, secured))) if listener.protocol == Protocol::Tls => {
            l4::ended_tls(worker, secured, &client, &listener, &name).await;
        }
        Ok(Ok(Begun::Ended(listener, name, secured))) => {
            client.tls = Some(AgreedTls { version: tls::version_name(&secured), name: name.into() });
            client.secured = Some(listener.id.clone());
            let speaks_http2 = secured.get_ref().1.alpn_protocol() == Some(alpn::H2);
            if speaks_http2 {
                streams::serve(worker, secured, client.into()).await;
            } else {
                connection::serve(worker, secured, client.into()).await;
            }
        }
        Ok(Ok(Begun::Passing(listener, name, stream, first))) => {
            l4::passing(worker, stream, &client, &listener, &name, first).await;
        }
        Ok(Ok(Begun::Unknown)) => worker.metrics().tls_failed(worker.index, "unknown server name"),
        Ok(Err(error)) => {
            tracing::debug!(peer = %client.peer, %error, "TLS handshake failed");
            worker.metrics().tls_failed(worker.index, reason(&error));
        }
        Err(_) => worker.metrics().tls_failed(worker.index, "handshake timed out"),
    }
}

async fn begin(worker: &Worker, stream: TcpStream, client: &Client) -> io::Result<Begun> {
    let hello = tls::hello(stream).await?;
    let state: Rc<Current> = worker.state();
    let name = hello.server_name().unwrap_or_default().to_owned();
    let Some(SecuredListener { listener, config }) = chosen(&state, client, &hello) else {
        // Where connections are passed on the Gateway API has them end without a word; a browser is told why.
        if state.serves_http(client.local) {
            hello.refuse().await;
        }
        return Ok(Begun::Unknown);
    };
    let (listener, config) = (listener.clone(), config.cloned());
    // Whoever handshakes slowly must not keep a whole configuration alive.
    drop(state);
    match config {
        Some(config) => Ok(Begun::Ended(listener, name, hello.accept(&config).await?)),
        None => {
            let (stream, first) = hello.into_parts();
            Ok(Begun::Passing(listener, name, stream, first))
        }
    }
}

/// The listener of the client's name; of those that are not HTTP only one with a route for it.
fn chosen<'s>(state: &'s Current, client: &Client, hello: &Hello<TcpStream>) -> Option<SecuredListener<'s>> {
    let name = hello.server_name().unwrap_or_default();
    let secured = state.secured(client.local, name)?;
    let is_served =
        secured.listener.protocol.is_http() || state.l4.lookup(&secured.listener.id, name).is_some();
    is_served.then_some(secured)
}

/// A few words for the metric.
fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::InvalidData => "handshake failed",
        _ => "client gone in handshake",
    }
}
