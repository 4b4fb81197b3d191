use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{Netns, until};

/// An endpoint that writes down every byte it gets and does with each connection what a script says: answer, stall,
/// answer too early, send garbage, reset.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    listener: TcpListener,
    connections: Arc<Mutex<Vec<Record>>>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Record {
    received: Vec<u8>,
    stream: TcpStream,
}

/// One connection within a script.
#[derive(Debug)]
pub struct Peer {
    /// Which connection this is, from 0.
    pub index: usize,
    stream: TcpStream,
    /// Bytes received and not yet consumed by the script.
    pending: Vec<u8>,
    connections: Arc<Mutex<Vec<Record>>>,
}

impl Recorder {
    /// Listens on `address` in `netns` and runs `script` on a thread for each connection; the connection is closed when
    /// it returns.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn start(
        netns: &Netns,
        address: SocketAddr,
        script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = netns
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("cannot listen on {address} in {}", netns.name()))?;
        let address = listener.local_addr()?;
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (accepting, records) = (listener.try_clone()?, Arc::clone(&connections));
        let script = Arc::new(script);
        let acceptor = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let Ok(kept) = stream.try_clone() else { continue };
                let index = {
                    let mut records = lock(&records);
                    records.push(Record { received: Vec::new(), stream: kept });
                    records.len() - 1
                };
                let mut peer = Peer { index, stream, pending: Vec::new(), connections: Arc::clone(&records) };
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    // A script ends where the other side ends: an error is how it notices.
                    let _ = script(&mut peer);
                    let _ = peer.stream.shutdown(Shutdown::Both);
                });
            }
        });
        Ok(Self { address, listener, connections, acceptor: Some(acceptor) })
    }

    /// Answers every request with `200` and this body, keep-alive, with `X-Endpoint: recorder`. Bodies of requests
    /// are read by their Content-Length or chunks.
    ///
    /// # Errors
    /// As [`Recorder::start`].
    pub fn answering(netns: &Netns, address: SocketAddr, body: &'static str) -> Result<Self> {
        Self::start(netns, address, move |peer| {
            loop {
                peer.request()?;
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nX-Endpoint: recorder\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ))?;
            }
        })
    }

    /// Gives connections that come from now on a receive buffer of about this size, in bytes; below 64 KiB their window scale
    /// becomes 0.
    ///
    /// # Errors
    /// The listener is gone.
    pub fn receive_buffer(&self, bytes: usize) -> Result<()> {
        Ok(setsockopt(&self.listener, sockopt::RcvBuf, &bytes)?)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        lock(&self.connections).len()
    }

    /// What came on connection `index` so far.
    pub fn received(&self, index: usize) -> Vec<u8> {
        lock(&self.connections).get(index).map(|record| record.received.clone()).unwrap_or_default()
    }

    /// What came on all connections, as text.
    pub fn received_text(&self) -> String {
        let all: Vec<u8> =
            lock(&self.connections).iter().flat_map(|record| record.received.clone()).collect();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Waits until `count` connections were accepted.
    ///
    /// # Errors
    /// They are not within 10 s.
    pub fn wait_for_connections(&self, count: usize) -> Result<()> {
        until(Duration::from_secs(10), &format!("{count} connections at the endpoint"), || {
            (self.connections() >= count).then_some(())
        })
    }

    /// Waits until all that came holds `text`.
    ///
    /// # Errors
    /// It does not within 10 s.
    pub fn wait_for_text(&self, text: &str) -> Result<()> {
        until(Duration::from_secs(10), &format!("{text:?} at the endpoint"), || {
            self.received_text().contains(text).then_some(())
        })
    }

    /// Closes every connection, as an endpoint does with idle ones.
    pub fn close_connections(&self) {
        for record in lock(&self.connections).iter() {
            // Closed already is fine.
            let _ = record.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Wakes accept(2), which then fails.
        let _ = nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        self.close_connections();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Peer {
    /// Reads a request with its body and gives its bytes.
    ///
    /// # Errors
    /// The other side ends first.
    pub fn request(&mut self) -> io::Result<Vec<u8>> {
        let mut request = self.head()?;
        let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        if field("transfer-encoding:").is_some_and(|value| value.ends_with("chunked")) {
            request.extend(self.take_through(b"0\r\n\r\n")?);
        } else if let Some(length) = field("content-length:").and_then(|value| value.parse().ok()) {
            request.extend(self.exactly(length)?);
        }
        Ok(request)
    }

    /// Reads a head, through its empty line.
    ///
    /// # Errors
    /// The other side ends first.
    pub fn head(&mut self) -> io::Result<Vec<u8>> {
        self.take_through(b"\r\n\r\n")
    }

    /// Reads `count` bytes.
    ///
    /// # Errors
    /// The other side ends first.
    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < count {
            self.fill()?;
        }
        Ok(self.pending.drain(..count).collect())
    }

    /// Reads until the other side ends.
    ///
    /// # Errors
    /// A reset.
    pub fn to_the_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.pending));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether something comes (or the other side ends) within `limit`.
    ///
    /// # Errors
    /// A reset.
    pub fn waits(&mut self, limit: Duration) -> io::Result<bool> {
        if !self.pending.is_empty() {
            return Ok(true);
        }
        self.stream.set_read_timeout(Some(limit))?;
        let mut peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(None)?;
        // On a busy machine the thread runs long after its time was over: what has come by then has come.
        if peeked.is_err() {
            self.stream.set_nonblocking(true)?;
            peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
        }
        match peeked {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets each write become a segment at once.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn set_nodelay(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }

    /// Ends our direction; the other stays open.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Does nothing for a while: slowness is the script's subject.
    pub fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Resets the connection.
    ///
    /// # Errors
    /// The socket is gone already.
    pub fn reset(&mut self) -> io::Result<()> {
        // A zero linger makes close(2) send RST; the recorder's own handle must go, too, so shutdown cannot be used.
        setsockopt(&self.stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
        let replacement = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| TcpStream::connect(listener.local_addr()?))?;
        if let Some(record) = lock(&self.connections).get_mut(self.index) {
            record.stream = replacement.try_clone()?;
        }
        self.stream = replacement;
        Ok(())
    }

    fn take_through(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.pending.windows(end.len()).position(|window| window == end) {
                return Ok(self.pending.drain(..at + end.len()).collect());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 64 * 1024];
        let count = self.stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pending.extend_from_slice(&chunk[..count]);
        if let Some(record) = lock(&self.connections).get_mut(self.index) {
            record.received.extend_from_slice(&chunk[..count]);
        }
        Ok(())
    }
}

fn lock(records: &Mutex<Vec<Record>>) -> MutexGuard<'_, Vec<Record>> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}
