//! X-Forwarded-For and X-Forwarded-Proto: what endpoints learn about the client.
//!
//! They are inserted right behind the request line, in every tier alike. Forwarding headers that a request brings are
//! passed on unchanged from peers in `trustedProxies` and removed from others, who could write anything there.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::client::Client;
use crate::ids::IdLines;

/// Headers by which a client could claim to be another.
const FORWARDING: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// What to insert into and remove from a request's head.
#[derive(Clone)]
pub(crate) struct Forwarded {
    /// The client's address, as text.
    address: Rc<str>,
    scheme: &'static str,
    inserts: bool,
    removes: bool,
    /// For a request that names no host.
    host: Option<String>,
}

impl Forwarded {
    /// `brings`: the request has forwarding headers of its own. `is_on`: neither listener nor route turned them off.
    pub(crate) fn new(client: &Client, brings: bool, is_on: bool) -> Self {
        Self {
            address: client.peer_text.clone(),
            scheme: client.scheme(),
            inserts: is_on && !(brings && client.is_trusted_proxy),
            removes: brings && !client.is_trusted_proxy,
            host: None,
        }
    }

    /// Names the address that the client dialled as Host of an HTTP/1.0 request without one: many endpoints refuse an
    /// empty Host.
    #[must_use]
    pub(crate) fn with_host_where_none(mut self, authority: &str, dialled: SocketAddr) -> Self {
        self.host = authority.is_empty().then(|| dialled.to_string());
        self
    }

    /// `ids`: what else the gateway writes behind the request line.
    pub(crate) fn with_edits<T>(&self, ids: &IdLines<'_>, apply: impl FnOnce(&http1::Edits<'_>) -> T) -> T {
        let own =
            [("X-Forwarded-For", self.address.as_bytes()), ("X-Forwarded-Proto", self.scheme.as_bytes())];
        let own = if self.inserts { &own[..] } else { &[] };
        let others = if self.removes { FORWARDING } else { &[] };
        let mut insert: [(&str, &[u8]); 4] = [("", b""); 4];
        let mut remove = [""; 9];
        let inserted = fill(&mut insert, own.iter().chain(ids.insert.iter().flatten()));
        let removed = fill(&mut remove, others.iter().chain(ids.remove.iter().flatten()));
        apply(&http1::Edits {
            insert: inserted,
            remove: removed,
            host: self.host.as_deref(),
            ..Default::default()
        })
    }
}

/// Writes `items` into `room`: that part of it.
fn fill<'r, T: Copy + 'r>(room: &'r mut [T], items: impl Iterator<Item = &'r T>) -> &'r [T] {
    let mut count = 0;
    for (place, item) in room.iter_mut().zip(items) {
        *place = *item;
        count += 1;
    }
    room.get(..count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (trusted, brings, on) -> (inserts, removes)
    #[test]
    fn forged_headers_never_pass_and_trusted_ones_are_left_alone() {
        let none = IdLines { insert: [None; 2], remove: [None; 3] };
        for (trusted, brings, on, expected) in [
            (false, false, true, (true, false)),
            (false, true, true, (true, true)),
            (true, true, true, (false, false)),
            (true, false, true, (true, false)),
            (false, true, false, (false, true)),
            (false, false, false, (false, false)),
        ] {
            let peer = "10.0.0.9:1234".parse().unwrap();
            let client = Client {
                peer,
                peer_text: "10.0.0.9".into(),
                local: peer,
                is_trusted_proxy: trusted,
                secured: None,
                tls: None,
                connection: 0,
                has_asked: std::cell::Cell::default(),
            };
            let edits = Forwarded::new(&client, brings, on)
                .with_edits(&none, |edits| (!edits.insert.is_empty(), !edits.remove.is_empty()));
            assert_eq!(edits, expected, "trusted {trusted} brings {brings} on {on}");
        }
    }
}
