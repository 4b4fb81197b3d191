//! A client for the demo: GET over one kept connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use http1::{Framing, Limits, ResponseHead};

use super::PATIENCE;

/// A response.
pub(super) struct Answer {
    pub(super) status: u16,
    /// `X-Endpoint`, which the echo sets.
    pub(super) endpoint: Option<String>,
    pub(super) took: Duration,
}

/// A connection to the gateway.
pub(super) struct Client {
    stream: TcpStream,
    buffer: BytesMut,
    address: SocketAddr,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new(), address })
    }

    pub(super) fn get(&mut self, path: &str, header: Option<&str>) -> anyhow::Result<Answer> {
        let started = Instant::now();
        let header = header.map(|line| format!("{line}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{header}\r\n", self.address);
        self.stream.write_all(request.as_bytes())?;
        let mut head = ResponseHead::default();
        while !head.parse(&mut self.buffer, &Limits::default())? {
            self.fill()?;
        }
        let Framing::Length(length) = head.framing("GET")? else {
            bail!("GET {path}: a response without a length")
        };
        let length = usize::try_from(length)?;
        while self.buffer.len() < length {
            self.fill()?;
        }
        self.buffer.advance(length);
        let endpoint =
            head.values("x-endpoint").next().map(|value| String::from_utf8_lossy(value).into_owned());
        Ok(Answer { status: head.status(), endpoint, took: started.elapsed() })
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes).context("the gateway did not answer in time")?;
        if read == 0 {
            bail!("the gateway closed the connection");
        }
        self.buffer.extend_from_slice(&bytes[..read]);
        Ok(())
    }
}
