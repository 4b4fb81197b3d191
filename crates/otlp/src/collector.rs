use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use bytes::BytesMut;
use http1::{Body, Framing, Limits, ResponseHead};
use thiserror::Error;

/// The port of OTLP over HTTP, and where traces go.
const PORT: u16 = 4318;
const PATH: &str = "/v1/traces";
/// Connecting, and each read and write.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// As in a URL, an IPv6 address in brackets.
    host: String,
    port: u16,
    path: String,
}

/// Why text names no collector.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CollectorError {
    /// It cannot be spoken to over TLS.
    #[error(
        "should be http://HOST:PORT or off; for https run a collector beside the agent that passes spans on"
    )]
    Https,
    /// It is no such URL.
    #[error("should be http://HOST:PORT, such as http://127.0.0.1:4318, or off")]
    NoUrl,
}

impl FromStr for Collector {
    type Err = CollectorError;

    fn from_str(text: &str) -> Result<Self, CollectorError> {
        if text.starts_with("https://") {
            return Err(CollectorError::Https);
        }
        let rest = text.strip_prefix("http://").ok_or(CollectorError::NoUrl)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if matches!(path, "" | "/") { PATH } else { path };
        let name_end = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority.get(name_end..).and_then(|rest| rest.rfind(':')) {
            Some(colon) => {
                let (host, port) = authority.split_at(name_end + colon);
                (host, port.get(1..).and_then(|p| p.parse().ok()).ok_or(CollectorError::NoUrl)?)
            }
            None => (authority, PORT),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        let is_good = !host.is_empty()
            && host.bytes().all(is_name)
            && port != 0
            && path.bytes().all(|byte| byte.is_ascii_graphic());
        is_good
            .then(|| Self { host: host.to_owned(), port, path: path.to_owned() })
            .ok_or(CollectorError::NoUrl)
    }
}

/// As it is read.
impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path == PATH { "" } else { &self.path };
        write!(f, "http://{}:{}{path}", self.host, self.port)
    }
}

/// A connection to it.
pub(crate) struct Connection {
    stream: TcpStream,
    read: BytesMut,
}

impl Connection {
    pub(crate) fn open(collector: &Collector) -> io::Result<Self> {
        let host = collector.host.trim_start_matches('[').trim_end_matches(']');
        let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, collector.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(TIMEOUT))?;
                    stream.set_write_timeout(Some(TIMEOUT))?;
                    stream.set_nodelay(true)?;
                    return Ok(Self { stream, read: BytesMut::new() });
                }
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// Posts `message`: the status of the answer, and whether the connection can be used again.
    pub(crate) fn post(&mut self, collector: &Collector, message: &[u8]) -> io::Result<(u16, bool)> {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: rauta\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
            collector.path,
            collector.host,
            collector.port,
            message.len()
        );
        self.stream.write_all(&[head.as_bytes(), message].concat())?;
        let limits = Limits::default();
        let mut answer = ResponseHead::default();
        loop {
            while !answer.parse(&mut self.read, &limits).map_err(|_| invalid())? {
                self.more()?;
            }
            if !answer.is_informational() {
                break;
            }
        }
        let framing = answer.framing("POST").map_err(|_| invalid())?;
        let can_reuse = answer.keep_alive() && framing != Framing::UntilClose;
        if can_reuse {
            self.skip(Body::new(framing, &limits))?;
        }
        Ok((answer.status(), can_reuse))
    }

    fn skip(&mut self, mut body: Body) -> io::Result<()> {
        while !body.is_done() {
            let taken = body.advance(&self.read).map_err(|_| invalid())?;
            drop(self.read.split_to(taken));
            if !body.is_done() {
                self.more()?;
            }
        }
        Ok(())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.read.extend_from_slice(chunk.get(..read).unwrap_or_default());
                Ok(())
            }
        }
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the collector's answer is no valid HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_are_urls() {
        for (text, shown) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("http://collector.observe", "http://collector.observe:4318"),
            ("http://[::1]:80/v1/traces", "http://[::1]:80"),
            ("http://[::1]/", "http://[::1]:4318"),
            ("http://a:1/otlp/v1/traces", "http://a:1/otlp/v1/traces"),
        ] {
            assert_eq!(
                text.parse::<Collector>().map(|collector| collector.to_string()),
                Ok(shown.to_owned())
            );
        }
        assert_eq!("https://a".parse::<Collector>(), Err(CollectorError::Https));
        for text in
            ["", "a:4318", "http://", "http://a:", "http://a:0", "http://a b", "http://u@a", "grpc://a"]
        {
            assert_eq!(text.parse::<Collector>(), Err(CollectorError::NoUrl), "{text}");
        }
    }
}
