use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::response::{Response, fields};
use crate::Netns;

/// Why no answer could be read.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The namespace cannot be entered.
    #[error("cannot enter the namespace")]
    Namespace(#[source] anyhow::Error),
    /// The connection was refused.
    #[error("connection refused")]
    Refused,
    /// The other side closed before the first byte of an answer.
    #[error("closed before an answer")]
    Closed,
    /// The other side closed within an answer.
    #[error("closed within an answer, after {0} bytes of it")]
    Truncated(usize),
    /// The other side reset the connection.
    #[error("connection reset")]
    Reset,
    /// Nothing came for the time limit.
    #[error("timed out")]
    Timeout,
    /// What came is no HTTP/1 answer.
    #[error("not an HTTP/1 answer: {0:?}")]
    Malformed(String),
    /// Another fault of the socket.
    #[error("socket")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

/// One connection of a client.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects from `netns`. Reads give up after 10 s of silence.
    ///
    /// # Errors
    /// [`ClientError::Refused`], [`ClientError::Timeout`] after 5 s.
    pub fn open(netns: &Netns, address: SocketAddr) -> Result<Self, ClientError> {
        let stream = netns
            .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))
            .map_err(ClientError::Namespace)??;
        Self::over(stream)
    }

    /// Connects from where this process is.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn open_here(address: SocketAddr) -> Result<Self, ClientError> {
        Self::over(TcpStream::connect_timeout(&address, Duration::from_secs(5))?)
    }

    /// Uses a connected socket.
    ///
    /// # Errors
    /// Its options cannot be set.
    pub fn over(stream: TcpStream) -> Result<Self, ClientError> {
        stream.set_nodelay(true)?;
        let connection = Self { stream, received: Vec::new() };
        connection.set_read_limit(Duration::from_secs(10))?;
        Ok(connection)
    }

    /// How long a read may wait.
    ///
    /// # Errors
    /// The socket refuses (a limit of zero).
    pub fn set_read_limit(&self, limit: Duration) -> Result<(), ClientError> {
        Ok(self.stream.set_read_timeout(Some(limit))?)
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// [`ClientError::Reset`] and the like.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), ClientError> {
        Ok(self.stream.write_all(bytes.as_ref())?)
    }

    /// Sends these pieces, each in a segment of its own (if it fits), with a pause between them.
    ///
    /// # Errors
    /// [`ClientError::Reset`] and the like.
    pub fn send_pieces(&mut self, pieces: &[&[u8]], pause: Duration) -> Result<(), ClientError> {
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                std::thread::sleep(pause);
            }
            self.send(piece)?;
        }
        Ok(())
    }

    /// Resets the connection.
    ///
    /// # Errors
    /// The socket refuses the option.
    pub fn reset(self) -> Result<(), ClientError> {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &linger).map_err(io::Error::from)?;
        Ok(())
    }

    /// Our port.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn local_port(&self) -> Result<u16, ClientError> {
        Ok(self.stream.local_addr()?.port())
    }

    /// Ends our direction; the other stays open.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&self) -> Result<(), ClientError> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Sends a GET and reads the answer.
    ///
    /// # Errors
    /// As [`Connection::response`].
    pub fn get(&mut self, host: &str, path: &str) -> Result<Response, ClientError> {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// Sends a request given as text and reads its answer. The method is what the text begins with.
    ///
    /// # Errors
    /// As [`Connection::response`].
    pub fn request(&mut self, text: &str) -> Result<Response, ClientError> {
        self.send(text)?;
        self.response(text.split(' ').next().unwrap_or_default())
    }

    /// Reads the final answer to a request of `method`, and the 1xx answers before it.
    ///
    /// # Errors
    /// Any [`ClientError`]; the connection is of no use afterwards.
    pub fn response(&mut self, method: &str) -> Result<Response, ClientError> {
        let mut informational = Vec::new();
        loop {
            let head = self.head()?;
            if (100..200).contains(&head.status) && head.status != 101 {
                informational.push(head);
                continue;
            }
            let mut response = Response { informational, ..head };
            self.read_body(method, &mut response)?;
            return Ok(response);
        }
    }

    /// Reads one head, final or not, and leaves its body.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn head(&mut self) -> Result<Response, ClientError> {
        let end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at + 4;
            }
            match self.fill() {
                Ok(()) => {}
                Err(ClientError::Closed) if !self.received.is_empty() => {
                    return Err(ClientError::Truncated(self.received.len()));
                }
                Err(error) => return Err(error),
            }
        };
        let raw: Vec<u8> = self.received.drain(..end).collect();
        Response::parse_head(&raw)
            .ok_or_else(|| ClientError::Malformed(String::from_utf8_lossy(&raw).chars().take(200).collect()))
    }

    /// Reads to the end of the connection.
    ///
    /// # Errors
    /// [`ClientError::Timeout`] if the other side does not close, [`ClientError::Reset`] if it resets.
    pub fn rest(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(ClientError::Closed) => return Ok(std::mem::take(&mut self.received)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads at most what is there now or comes within the read limit, without parsing it.
    ///
    /// # Errors
    /// [`ClientError::Closed`] at the end of the connection.
    pub fn some_bytes(&mut self) -> Result<Vec<u8>, ClientError> {
        if self.received.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.received))
    }

    fn read_body(&mut self, method: &str, response: &mut Response) -> Result<(), ClientError> {
        // RFC 9112 section 6.3, in its order.
        if method == "HEAD" || matches!(response.status, 101 | 204 | 304) {
            return Ok(());
        }
        if response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.read_chunked(response);
        }
        match response.header("content-length") {
            Some(text) => {
                let length =
                    text.parse().map_err(|_| ClientError::Malformed(format!("Content-Length: {text}")))?;
                response.body = self.take(length)?;
            }
            None => response.body = self.rest()?,
        }
        Ok(())
    }

    fn read_chunked(&mut self, response: &mut Response) -> Result<(), ClientError> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| ClientError::Malformed(format!("chunk size {line:?}")))?;
            if size == 0 {
                let mut lines = Vec::new();
                loop {
                    let line = self.line()?;
                    if line.is_empty() {
                        break;
                    }
                    lines.push(line);
                }
                response.trailers = fields(lines.iter().map(String::as_str))
                    .ok_or_else(|| ClientError::Malformed(format!("trailers {lines:?}")))?;
                return Ok(());
            }
            response.body.extend(self.take(size)?);
            let end = self.line()?;
            if !end.is_empty() {
                return Err(ClientError::Malformed(format!("after a chunk: {end:?}")));
            }
        }
    }

    fn line(&mut self) -> Result<String, ClientError> {
        loop {
            if let Some(at) = find(&self.received, b"\r\n") {
                let line: Vec<u8> = self.received.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill_within()?;
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, ClientError> {
        while self.received.len() < length {
            self.fill_within()?;
        }
        let rest = self.received.split_off(length);
        Ok(std::mem::replace(&mut self.received, rest))
    }

    fn fill_within(&mut self) -> Result<(), ClientError> {
        match self.fill() {
            Err(ClientError::Closed) => Err(ClientError::Truncated(self.received.len())),
            other => other,
        }
    }

    /// Reads more; [`ClientError::Closed`] at the end.
    fn fill(&mut self) -> Result<(), ClientError> {
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A client whose other side sends `answer` and closes.
    fn answered(answer: &'static [u8]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.accept().unwrap().0.write_all(answer).unwrap());
        Connection::open_here(address).unwrap()
    }

    #[test]
    fn framings_1xx_and_trailers_are_read() {
        let mut client = answered(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
              3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nT: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\
              HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nHTTP/1.0 200 OK\r\n\r\nto the end",
        );
        let chunked = client.response("GET").unwrap();
        assert_eq!((chunked.text().as_str(), chunked.informational[0].status), ("abcde", 103));
        assert_eq!(chunked.trailers, [("t".to_owned(), "1".to_owned())]);
        assert_eq!(client.response("GET").unwrap().text(), "hi");
        assert_eq!(client.response("GET").unwrap().body, b"");
        assert_eq!(client.response("GET").unwrap().text(), "to the end");
        assert!(matches!(client.response("GET"), Err(ClientError::Closed)));
    }

    #[test]
    fn a_short_body_is_an_error() {
        let mut client = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort");
        assert!(matches!(client.response("GET"), Err(ClientError::Truncated(5))));
        let mut client = answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc");
        assert!(matches!(client.response("GET"), Err(ClientError::Truncated(_))));
    }
}
