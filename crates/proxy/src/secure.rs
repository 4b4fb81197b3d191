//! Connections whose TLS ends here: the name that the client asks for chooses the listener.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tls::{Hello, alpn};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::connection;
use crate::state::SecuredListener;
use crate::streams;
use crate::worker::{Current, Worker};

/// A handshake takes a few round trips; who needs longer holds a place for nothing.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Handshakes, then serves what the client and the gateway agreed to speak.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: TcpStream, mut client: Client) {
    let limit = worker.config().timeouts.header_read.min(HANDSHAKE_MAX);
    let secured = match tokio::time::timeout(limit, handshake(worker, stream, &mut client)).await {
        Ok(Ok(Some(secured))) => secured,
        Ok(Ok(None)) => return worker.metrics().tls_failed(worker.index, "unknown server name"),
        Ok(Err(error)) => {
            tracing::debug!(peer = %client.peer, %error, "TLS handshake failed");
            return worker.metrics().tls_failed(worker.index, reason(&error));
        }
        Err(_) => return worker.metrics().tls_failed(worker.index, "handshake timed out"),
    };
    let speaks_http2 = secured.get_ref().1.alpn_protocol() == Some(alpn::H2);
    if speaks_http2 {
        streams::serve(worker, secured, client.into()).await;
    } else {
        connection::serve(worker, secured, client.into()).await;
    }
}

/// None: the name that the client asked for is not served on this socket.
async fn handshake(
    worker: &Worker,
    stream: TcpStream,
    client: &mut Client,
) -> io::Result<Option<tls::ServerStream<TcpStream>>> {
    let hello = tls::hello(stream).await?;
    let state: Rc<Current> = worker.state();
    let Some(SecuredListener { id, config }) = listener(&state, client, &hello) else {
        hello.refuse().await;
        return Ok(None);
    };
    client.secured = Some(id.clone());
    let config = config.clone();
    // Whoever handshakes slowly must not keep a whole configuration alive.
    drop(state);
    hello.accept(&config).await.map(Some)
}

fn listener<'s>(
    state: &'s Current,
    client: &Client,
    hello: &Hello<TcpStream>,
) -> Option<SecuredListener<'s>> {
    state.secured(client.local, hello.server_name().unwrap_or_default())
}

/// A few words for the metric.
fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::InvalidData => "handshake failed",
        _ => "client gone in handshake",
    }
}
