//! Who is at the other end of a connection, and how it came here.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use ::l4::proxy_protocol::Ends;
use http1::RequestHead;
use model::ListenerId;

use crate::worker::Worker;

/// The client of a connection: the same for all requests on it.
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The peer's address without its port, written once for all requests.
    pub(crate) peer_text: Rc<str>,
    pub(crate) local: SocketAddr,
    pub(crate) is_trusted_proxy: bool,
    /// The listener that the name in TLS chose; none: cleartext.
    pub(crate) secured: Option<ListenerId>,
    /// What was agreed on in TLS that ended here.
    pub(crate) tls: Option<AgreedTls>,
    /// The connection's name on this thread.
    pub(crate) connection: u64,
    /// Whether a kernel tier was asked for the lot of its first request.
    pub(crate) has_asked: Cell<bool>,
}

/// TLS as its two ends agreed on it.
pub(crate) struct AgreedTls {
    /// `TLSv1.3`…
    pub(crate) version: Option<&'static str>,
    /// The name that the client asked for; empty: none.
    pub(crate) name: Box<str>,
}

impl Client {
    pub(crate) fn new(worker: &Worker, peer: SocketAddr, local: SocketAddr, connection: u64) -> Self {
        Self {
            is_trusted_proxy: worker.config().trusted_proxies.iter().any(|net| net.contains(&peer.ip())),
            peer,
            peer_text: peer.ip().to_string().into(),
            local,
            secured: None,
            tls: None,
            connection,
            has_asked: Cell::new(false),
        }
    }

    /// The lot of a request, the `number`th of its connection from 1 on. That of the first one may have been drawn before the connection
    /// came here; of requests side by side none was.
    pub(crate) fn lot(&self, worker: &Worker, number: u64) -> u32 {
        let asks = number == 1 && self.secured.is_none() && !self.has_asked.replace(true);
        let drawn = if asks { worker.shared.lots().take(self.peer, self.local) } else { None };
        // The high half, as in the kernel tier.
        drawn.unwrap_or_else(|| (worker.random() >> 32) as u32)
    }

    /// Where a request came from, through trusted proxies; none: one of them does not know.
    pub(crate) fn address(&self, worker: &Worker, head: &RequestHead) -> Option<IpAddr> {
        let is_trusted = |ip| worker.config().trusted_proxies.iter().any(|net| net.contains(&ip));
        policy::client_address(self.peer.ip(), is_trusted, head.values("x-forwarded-for"))
    }

    /// The ends of its connection.
    pub(crate) fn ends(&self) -> Ends {
        Ends { source: self.peer, destination: self.local }
    }

    /// The scheme of its requests.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.secured.is_some() { "https" } else { "http" }
    }
}
