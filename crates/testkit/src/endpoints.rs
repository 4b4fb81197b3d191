use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::{Netns, Peer, Recorder, sha256_hex};

/// Endpoints with peculiar but lawful habits, each a [`Recorder`] with a script. All say `X-Endpoint: NAME`.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints;

impl Endpoints {
    /// Answers each request with the SHA-256 of its body, in hexadecimal digits.
    ///
    /// # Errors
    /// The address cannot be bound; so for all of these.
    pub fn digesting(netns: &Netns, address: SocketAddr, name: &'static str) -> Result<Recorder> {
        Recorder::start(netns, address, move |peer| {
            loop {
                let request = peer.request()?;
                let digest = sha256_hex(body_of(&request));
                answer(peer, name, "200 OK", &digest)?;
            }
        })
    }

    /// Answers each request with its path, and closes a connection that was idle for `limit`.
    ///
    /// # Errors
    /// As above.
    pub fn closing_idle(
        netns: &Netns,
        address: SocketAddr,
        name: &'static str,
        limit: Duration,
    ) -> Result<Recorder> {
        Recorder::start(netns, address, move |peer| {
            while peer.waits(limit)? {
                answer_with_path(peer, name)?;
            }
            Ok(())
        })
    }

    /// The same, with a 408 before it closes (as RFC 9110 section 15.5.9 allows).
    ///
    /// # Errors
    /// As above.
    pub fn timing_out(
        netns: &Netns,
        address: SocketAddr,
        name: &'static str,
        limit: Duration,
    ) -> Result<Recorder> {
        Recorder::start(netns, address, move |peer| {
            while peer.waits(limit)? {
                answer_with_path(peer, name)?;
            }
            peer.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        })
    }

    /// Sends 103 (Early Hints), pauses, then answers with the path.
    ///
    /// # Errors
    /// As above.
    pub fn hinting(
        netns: &Netns,
        address: SocketAddr,
        name: &'static str,
        pause: Duration,
    ) -> Result<Recorder> {
        Recorder::start(netns, address, move |peer| {
            loop {
                let request = peer.request()?;
                peer.send("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")?;
                peer.pause(pause);
                answer(peer, name, "200 OK", &path_of(&request))?;
            }
        })
    }

    /// Answers in `chunks` chunks of the path, a pause before each; size line and data come in separate segments.
    ///
    /// # Errors
    /// As above.
    pub fn chunking(
        netns: &Netns,
        address: SocketAddr,
        name: &'static str,
        chunks: usize,
        pause: Duration,
    ) -> Result<Recorder> {
        Recorder::start(netns, address, move |peer| {
            peer.set_nodelay()?;
            loop {
                let path = path_of(&peer.request()?);
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nX-Endpoint: {name}\r\nTransfer-Encoding: chunked\r\n\r\n"
                ))?;
                for _ in 0..chunks {
                    peer.pause(pause);
                    peer.send(format!("{:x}\r\n", path.len()))?;
                    peer.pause(pause);
                    peer.send(format!("{path}\r\n"))?;
                }
                peer.send("0\r\n\r\n")?;
            }
        })
    }

    /// Answers 413 as soon as it has seen the head of a request with a body, and ends its direction; other requests are
    /// answered with their path.
    ///
    /// # Errors
    /// As above.
    pub fn refusing_bodies(netns: &Netns, address: SocketAddr, name: &'static str) -> Result<Recorder> {
        Recorder::start(netns, address, move |peer| {
            loop {
                let head = peer.head()?;
                if String::from_utf8_lossy(&head).to_ascii_lowercase().contains("content-length: ") {
                    peer.send(format!(
                        "HTTP/1.1 413 Content Too Large\r\nX-Endpoint: {name}\r\nContent-Length: 0\r\n\
                         Connection: close\r\n\r\n"
                    ))?;
                    peer.finish()?;
                    // To close with bytes unread would reset, and the reset could overtake the answer.
                    return peer.to_the_end().map(drop);
                }
                answer(peer, name, "200 OK", &path_of(&head))?;
            }
        })
    }
}

fn answer_with_path(peer: &mut Peer, name: &str) -> io::Result<()> {
    let request = peer.request()?;
    answer(peer, name, "200 OK", &path_of(&request))
}

fn answer(peer: &mut Peer, name: &str, status: &str, body: &str) -> io::Result<()> {
    peer.send(format!(
        "HTTP/1.1 {status}\r\nX-Endpoint: {name}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn path_of(request: &[u8]) -> String {
    String::from_utf8_lossy(request).split(' ').nth(1).unwrap_or_default().to_owned()
}

fn body_of(request: &[u8]) -> &[u8] {
    let end = request.windows(4).position(|window| window == b"\r\n\r\n");
    end.and_then(|at| request.get(at + 4..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_body_of_a_request() {
        let request = b"POST /a?b HTTP/1.1\r\nHost: x\r\n\r\nbody\r\n\r\n";
        assert_eq!((path_of(request).as_str(), body_of(request)), ("/a?b", b"body\r\n\r\n".as_slice()));
    }
}
