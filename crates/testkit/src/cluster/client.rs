//! A client of the API server: HTTP/1.1 over TLS, one connection a request unless there is a session, JSON in and out.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::Netns;

/// Says who wrote a field, in server-side apply.
const FIELD_MANAGER: &str = "cluster-lab";

/// Speaks to an API server as one user.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    netns: Option<Netns>,
    config: Arc<ClientConfig>,
    token: Arc<str>,
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server cannot be reached, or hung up.
    #[error("{method} {path}: {source}")]
    Io {
        /// Of the request.
        method: &'static str,
        /// Of the request.
        path: String,
        /// What happened.
        source: io::Error,
    },
    /// The API server says no.
    #[error("{method} {path}: {status}: {message}")]
    Status {
        /// Of the request.
        method: &'static str,
        /// Of the request.
        path: String,
        /// Of the answer.
        status: u16,
        /// The answer's `message`, or all of it.
        message: String,
    },
}

impl ApiError {
    /// The status code, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Io { .. } => None,
            Self::Status { status, .. } => Some(*status),
        }
    }
}

/// The lines of an answer that goes on: a watch, a log that is followed.
pub type Lines = io::Lines<BufReader<Body>>;

type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// A connection that is kept, for many requests one after the other.
#[derive(Debug)]
pub struct Session {
    client: Client,
    stream: Option<Stream>,
}

impl Session {
    /// Makes an object in the collection `path`.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn create(&mut self, path: &str, object: &Value) -> Result<Value, ApiError> {
        let (method, object) = ("POST", object.to_string());
        let failed = |source| io_error(method, path, source);
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.client.connect().map_err(failed)?,
        };
        let request = self.client.request(method, path, "application/json", &object, "keep-alive");
        let (status, mut body) = exchange(stream, &request).map_err(failed)?;
        let mut text = String::new();
        body.read_to_string(&mut text).map_err(failed)?;
        self.stream = Some(body.stream);
        match status {
            200..300 => serde_json::from_str(&text).map_err(|error| failed(error.into())),
            _ => Err(refusal(method, path, status, &text)),
        }
    }
}

impl Client {
    /// For the API server at `address` (in `netns`, or here), whose certificate `ca` (PEM) has signed.
    ///
    /// # Errors
    /// `ca` is no certificate.
    pub fn new(address: SocketAddr, netns: Option<Netns>, ca: &str, token: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).context("no certificate")?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { address, netns, config: Arc::new(config), token: token.into() })
    }

    /// Reads `path`, such as `/api/v1/pods`.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call("GET", path, "", "")
    }

    /// Reads `path` as text.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn text(&self, path: &str) -> Result<String, ApiError> {
        let mut text = String::new();
        let mut body = self.send("GET", path, "", "")?;
        body.read_to_string(&mut text).map_err(|source| io_error("GET", path, source))?;
        Ok(text)
    }

    /// Makes an object in the collection `path`.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.call("POST", path, "application/json", &object.to_string())
    }

    /// Merges `changes` into the object at `path` (RFC 7396).
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn merge(&self, path: &str, changes: &Value) -> Result<Value, ApiError> {
        self.call("PATCH", path, "application/merge-patch+json", &changes.to_string())
    }

    /// Merges `changes` into the object at `path`, its lists by their keys (strategic merge patch).
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn merge_strategic(&self, path: &str, changes: &Value) -> Result<Value, ApiError> {
        self.call("PATCH", path, "application/strategic-merge-patch+json", &changes.to_string())
    }

    /// Server-side apply of a manifest (YAML or JSON) at `path`, the object's own.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn apply(&self, path: &str, manifest: &str) -> Result<Value, ApiError> {
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
        self.call("PATCH", &path, "application/apply-patch+yaml", manifest)
    }

    /// Deletes the object at `path`, after `grace` seconds or those that it says itself.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn delete(&self, path: &str, grace: Option<u32>) -> Result<Value, ApiError> {
        let query = grace.map(|seconds| format!("?gracePeriodSeconds={seconds}")).unwrap_or_default();
        self.call("DELETE", &format!("{path}{query}"), "", "")
    }

    /// Deletes the object at `path` at once, if it is still the one with this `uid`.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn delete_one(&self, path: &str, uid: &Value) -> Result<Value, ApiError> {
        let options = serde_json::json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        self.call("DELETE", path, "application/json", &options.to_string())
    }

    /// The lines of `path` as they come. A read gives up after `quiet` without one.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn lines(&self, path: &str, quiet: Duration) -> Result<Lines, ApiError> {
        let body = self.send("GET", path, "", "")?;
        body.stream.get_ref().sock.set_read_timeout(Some(quiet)).map_err(|e| io_error("GET", path, e))?;
        Ok(BufReader::new(body).lines())
    }

    /// A connection for many requests. It is opened with the first one.
    pub fn session(&self) -> Session {
        Session { client: self.clone(), stream: None }
    }

    fn call(&self, method: &'static str, path: &str, kind: &str, body: &str) -> Result<Value, ApiError> {
        let answer = self.send(method, path, kind, body)?;
        serde_json::from_reader(BufReader::new(answer)).map_err(|error| io_error(method, path, error.into()))
    }

    /// Sends a request; the answer's status is a good one.
    fn send(&self, method: &'static str, path: &str, kind: &str, body: &str) -> Result<Body, ApiError> {
        let request = self.request(method, path, kind, body, "close");
        let answer = self.connect().and_then(|stream| exchange(stream, &request));
        let (status, mut body) = answer.map_err(|source| io_error(method, path, source))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let mut text = String::new();
        // Half of a complaint is better than none.
        let _ = body.read_to_string(&mut text);
        Err(refusal(method, path, status, &text))
    }

    fn request(&self, method: &str, path: &str, kind: &str, body: &str, connection: &str) -> String {
        let content = match kind {
            "" => String::new(),
            kind => format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Accept: application/json, */*\r\nConnection: {connection}\r\n{content}\r\n{body}",
            self.address, self.token
        )
    }

    fn connect(&self) -> io::Result<Stream> {
        let dial = || TcpStream::connect_timeout(&self.address, Duration::from_secs(5));
        let socket = match &self.netns {
            Some(netns) => netns.run(dial).map_err(io::Error::other)??,
            None => dial()?,
        };
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        Ok(BufReader::new(StreamOwned::new(session, socket)))
    }
}

fn exchange(mut stream: Stream, request: &str) -> io::Result<(u16, Body)> {
    stream.get_mut().write_all(request.as_bytes())?;
    stream.get_mut().flush()?;
    read_head(stream)
}

fn refusal(method: &'static str, path: &str, status: u16, text: &str) -> ApiError {
    let parsed: Value = serde_json::from_str(text).unwrap_or_default();
    let message = parsed["message"].as_str().unwrap_or(text.trim()).to_owned();
    ApiError::Status { method, path: path.to_owned(), status, message }
}

fn io_error(method: &'static str, path: &str, source: io::Error) -> ApiError {
    ApiError::Io { method, path: path.to_owned(), source }
}

/// The body of an answer, by its framing (RFC 9112 section 6).
#[derive(Debug)]
pub struct Body {
    stream: Stream,
    left: Left,
}

#[derive(Debug)]
enum Left {
    /// So many bytes of the body, or until the end of the connection.
    Bytes(u64),
    /// So many bytes of the chunk.
    Chunk(u64),
    /// Nothing.
    End,
}

fn read_head(mut stream: Stream) -> io::Result<(u16, Body)> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no HTTP answer: {line:?}")))?;
    let mut left = Left::Bytes(u64::MAX);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            left = Left::Bytes(value.trim().parse().map_err(io::Error::other)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            left = Left::Chunk(0);
        }
    }
    Ok((status, Body { stream, left }))
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Left::Chunk(0) = self.left {
            self.next_chunk()?;
        }
        let (Left::Bytes(left) | Left::Chunk(left)) = &mut self.left else { return Ok(0) };
        let room = into.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        // Nothing is left, or asked for: a connection that is kept has no more to read.
        if room == 0 {
            return Ok(0);
        }
        let count = self.stream.read(&mut into[..room])?;
        *left -= count as u64;
        if let Left::Chunk(0) = self.left {
            self.stream.read_line(&mut String::new())?;
        }
        Ok(count)
    }
}

impl Body {
    fn next_chunk(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        self.left = if size == 0 { Left::End } else { Left::Chunk(size) };
        if size == 0 {
            // The empty line behind the last chunk; the API server sends no trailers.
            self.stream.read_line(&mut String::new())?;
        }
        Ok(())
    }
}
