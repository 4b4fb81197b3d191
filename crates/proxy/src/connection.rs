//! A client's connection: which protocol it speaks, and one request after the other.

use std::net::SocketAddr;
use std::rc::Rc;

use http1::{HeadError, RequestError, RequestHead, ResponseHead};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::downstream::{Downstream, Fate, Next};
use crate::reply::{self, Reply};
use crate::sockets::canonical;
use crate::state::Begin;
use crate::transport::{Rewound, Transport};
use crate::worker::{OpenConnection, Worker};
use crate::{l4, request, secure, streams};

/// Serves a connection that was just accepted.
pub(crate) async fn accepted(open: OpenConnection, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    let local = canonical(local);
    // A connection without it works, only slower.
    let _ = stream.set_nodelay(true);
    let worker = open.worker.clone();
    let mut client = Client::new(&worker, peer, local, open.id);
    let (begin, has_proxy_header) = worker.state().begin(local);
    let Some(_admission) = worker.shared.admit() else {
        worker.metrics().connections_rejected.add(worker.index, 1);
        if begin == Begin::Http {
            let mut down = Downstream::new(&worker, stream, client.into());
            reply::send(&worker, &mut down, &Reply::OVERLOADED).await;
            down.linger().await;
        }
        return;
    };
    let mut stream = stream;
    if has_proxy_header && client.is_trusted_proxy {
        match proxied(&worker, &mut stream, &client).await {
            Ok(Some(told)) => client = told,
            Ok(None) => {}
            Err(reason) => return worker.metrics().refused(worker.index, reason),
        }
    }
    match begin {
        // On the heap: what TLS needs has no part in connections without it.
        Begin::Tls => Box::pin(secure::serve(&worker, stream, client)).await,
        Begin::Http => serve(&worker, stream, client.into()).await,
        Begin::Bytes => l4::tcp(&worker, stream, &client).await,
    }
}

/// Who the client is, as a trusted proxy says; none: the proxy itself.
async fn proxied(
    worker: &Worker,
    stream: &mut TcpStream,
    client: &Client,
) -> Result<Option<Client>, &'static str> {
    let reading = ::l4::proxy_protocol::read(stream);
    match tokio::time::timeout(worker.config().timeouts.header_read, reading).await {
        Ok(Ok(ends)) => {
            let told = |ends: ::l4::proxy_protocol::Ends| {
                Client::new(worker, canonical(ends.source), client.local, client.connection)
            };
            Ok(ends.map(told))
        }
        Ok(Err(error)) => {
            tracing::debug!(peer = %client.peer, %error, "a trusted proxy's connection is refused");
            Err("no PROXY header")
        }
        Err(_) => Err("PROXY header timed out"),
    }
}

/// Serves HTTP/1, or HTTP/2 where the client begins with its preface (RFC 9113 section 3.3).
pub(crate) async fn serve<S: Transport>(worker: &Rc<Worker>, stream: S, client: Rc<Client>) {
    let mut down = Downstream::new(worker, stream, client);
    if serve_http1(worker, &mut down).await == Speaks::Http2 {
        let Downstream { stream, client, read, .. } = down;
        return streams::serve(worker, Rewound::new(stream, read), client).await;
    }
    worker.return_buffer(down.read);
}

/// What a connection turned out to speak.
#[derive(PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
}

async fn serve_http1<S: Transport>(worker: &Rc<Worker>, down: &mut Downstream<S>) -> Speaks {
    let mut head = RequestHead::default();
    let mut response = ResponseHead::default();
    loop {
        let fate = match down.next_request(worker, &mut head).await {
            Next::Closed => Fate::Close,
            Next::Http2 => return Speaks::Http2,
            Next::Request => {
                down.requests += 1;
                request::handle(worker, down, &mut head, &mut response).await
            }
            Next::Refused(error) if down.requests == 0 && speaks_something_else(error, &down.read) => {
                worker.metrics().refused(worker.index, "not HTTP");
                tracing::debug!(peer = %down.client.peer, "a connection that does not speak HTTP");
                Fate::Close
            }
            Next::Refused(error) => {
                reply::refuse(worker, down, error).await;
                Fate::Linger
            }
            Next::TimedOut => {
                worker.metrics().refused(worker.index, "request head timed out");
                reply::send(worker, down, &Reply::HEADER_TIMEOUT).await;
                Fate::Linger
            }
        };
        match fate {
            Fate::Keep => {}
            Fate::Close => {
                down.close().await;
                return Speaks::Http1;
            }
            Fate::Linger => {
                down.linger().await;
                return Speaks::Http1;
            }
        }
    }
}

/// Whether a first line has neither a target nor a version of HTTP: no mistaken request, but a broken preface of HTTP/2 or
/// another protocol, to which an answer of HTTP/1 says nothing. RFC 9113 section 3.4: "A GOAWAY frame MAY be omitted in
/// this case, since an invalid preface indicates that the peer is not using HTTP/2."
fn speaks_something_else(error: RequestError, read: &[u8]) -> bool {
    let target = read.split(|&b| matches!(b, b' ' | b'\r' | b'\n')).nth(1).unwrap_or_default();
    let is_of_http = target.starts_with(b"/") || target == b"*" || target.windows(3).any(|w| w == b"://");
    error == RequestError::Head(HeadError::BadVersion) && !is_of_http
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a future of three arguments holds.
    fn size<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// Each connection holds its future for as long as it lives, and most of the time it is idle. A future has room for all that may ever be
    /// waited for in it, as many times as it is handed on: what is rare belongs on the heap.
    #[test]
    fn a_connection_holds_no_room_for_what_is_rare() {
        let (any, secured) = (size(accepted), size(secure::serve));
        assert!(any <= 6 << 10, "{any} bytes a connection");
        assert!(secured <= 12 << 10, "{secured} bytes more with TLS");
    }

    #[test]
    fn a_first_line_is_of_http_by_its_target_or_its_version() {
        let bad = RequestError::Head(HeadError::BadVersion);
        assert!(speaks_something_else(bad, b"INVALID CONNECTION PREFACE\r\n\r\n"));
        assert!(speaks_something_else(bad, b"EHLO a.test\r\n\r\n"));
        for mistaken in
            ["GET /\r\n\r\n", "GET / HTTQ/1.1\r\n\r\n", "GET http://a/ x\r\n\r\n", "OPTIONS *\r\n\r\n"]
        {
            assert!(!speaks_something_else(bad, mistaken.as_bytes()), "{mistaken}");
        }
        assert!(!speaks_something_else(RequestError::NoHost, b"INVALID CONNECTION PREFACE\r\n"));
    }
}
