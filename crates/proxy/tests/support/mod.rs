//! A gateway on loopback, endpoints that follow a script, and a client that sends bytes as they are.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "each test file uses a part"
)]

pub mod pair;
pub mod ports;
pub mod silent;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use model::{
    Action, AppProtocol, Backend, BackendId, BackendPolicy, BackendRef, BackendSecurity, BackendTarget,
    Balancing, Endpoint, EndpointCondition, Filters, Listener, ListenerId, ObjectKind, ObjectRef, PathMatch,
    Protocol, Route, RouteAffinity, RouteId, RouteMatch, Snapshot, Timeouts,
};
pub use ports::free_port;

/// Long enough for a loaded machine, short enough to fail in time.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An endpoint: each connection runs the script; what it reads is kept.
pub struct Scripted {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub received: Arc<Mutex<Vec<u8>>>,
    by_connection: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// One connection of a scripted endpoint.
pub struct Conn {
    pub stream: TcpStream,
    /// The number of the connection, from 0.
    pub number: usize,
    received: Arc<Mutex<Vec<u8>>>,
    by_connection: Arc<Mutex<Vec<Vec<u8>>>>,
    buffer: Vec<u8>,
}

impl Scripted {
    pub fn new(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let received = Arc::new(Mutex::new(Vec::new()));
        let by_connection = Arc::new(Mutex::new(Vec::new()));
        let (count, record, script) = (connections.clone(), received.clone(), Arc::new(script));
        let records = by_connection.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (record, records, script) = (record.clone(), records.clone(), script.clone());
                records.lock().unwrap().push(Vec::new());
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                std::thread::spawn(move || {
                    let (received, by_connection) = (record, records);
                    script(&mut Conn { stream, number, received, by_connection, buffer: Vec::new() });
                });
            }
        });
        Self { address, connections, received, by_connection }
    }

    /// Answers every request with 200, its own name and what it got.
    pub fn echo(name: &'static str) -> Self {
        Self::new(move |conn| {
            while let Some(head) = conn.head() {
                let is_chunked = head.contains("Transfer-Encoding: chunked");
                // An answer before the end of the body would let the next request overtake the rest of it.
                let body =
                    if is_chunked { conn.until(b"\r\n\r\n") } else { conn.body(content_length(&head)) };
                let text = format!("{name}\n{head}{}", String::from_utf8_lossy(&body));
                conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
            }
        })
    }

    /// Answers nothing; tells of each connection whether it ended behind its first request.
    pub fn silent() -> (Self, mpsc::Receiver<bool>) {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let endpoint = Self::new(move |conn| {
            conn.head();
            let ended = conn.head().is_none();
            tell.lock().unwrap().send(ended).unwrap();
        });
        (endpoint, told)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What came, in the order in which it was read: connections at the same time are mixed.
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap()).into_owned()
    }

    /// What the first connection brought.
    pub fn first(&self) -> Vec<u8> {
        self.by_connection.lock().unwrap()[0].clone()
    }

    /// Whether one connection brought this text, in one piece.
    pub fn has_received(&self, text: &str) -> bool {
        self.by_connection
            .lock()
            .unwrap()
            .iter()
            .any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
    }
}

impl Conn {
    /// The next head with its empty line; none at the end of the stream.
    pub fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            self.more()?;
        }
    }

    pub fn body(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            if self.more().is_none() {
                break;
            }
        }
        let length = length.min(self.buffer.len());
        self.buffer.drain(..length).collect()
    }

    /// Reads up to and with `end`.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                return self.buffer.drain(..at + end.len()).collect();
            }
            if self.more().is_none() {
                return std::mem::take(&mut self.buffer);
            }
        }
    }

    /// Reads a chunked body and its trailers: the payload.
    pub fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n")).unwrap();
            let size = usize::from_str_radix(line.trim_end().split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                while self.until(b"\r\n") != b"\r\n" {}
                return body;
            }
            body.extend(self.body(size));
            self.until(b"\r\n");
        }
    }

    /// What came and was not asked for yet.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub fn send(&mut self, bytes: &str) {
        // The gateway may have gone: the test sees that on its own side.
        let _ = self.stream.write_all(bytes.as_bytes());
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 65_536];
        let read = self.stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        self.received.lock().unwrap().extend_from_slice(&chunk[..read]);
        self.by_connection.lock().unwrap()[self.number].extend_from_slice(&chunk[..read]);
        self.buffer.extend_from_slice(&chunk[..read]);
        Some(())
    }
}

/// A client that reads whole responses.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn has(&self, header: &str) -> bool {
        self.head.to_ascii_lowercase().contains(&format!("\r\n{}\r\n", header.to_ascii_lowercase()))
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        self.response()
    }

    /// The next response, interim ones included, with its body.
    pub fn response(&mut self) -> Response {
        self.try_response().expect("the gateway closed without a whole response")
    }

    /// The same to a request without a response body.
    pub fn response_head(&mut self) -> Response {
        let head = self.head().expect("no head");
        Response { status: head[9..12].parse().unwrap(), head, body: Vec::new() }
    }

    pub fn try_response(&mut self) -> Option<Response> {
        let head = self.head()?;
        let status: u16 = head[9..12].parse().unwrap();
        let lower = head.to_ascii_lowercase();
        let body = if status < 200 || status == 204 || status == 304 {
            Vec::new()
        } else if lower.contains("\r\ntransfer-encoding: chunked\r\n") {
            self.chunks()?
        } else if lower.contains("\r\ncontent-length:") {
            let length = content_length(&head);
            while self.buffer.len() < length {
                self.more()?;
            }
            self.buffer.drain(..length).collect()
        } else {
            while self.more().is_some() {}
            std::mem::take(&mut self.buffer)
        };
        Some(Response { status, head, body })
    }

    /// So many bytes, whatever they are.
    pub fn exactly(&mut self, size: usize) -> Vec<u8> {
        while self.buffer.len() < size {
            self.more().expect("the gateway closed too soon");
        }
        self.buffer.drain(..size).collect()
    }

    /// Everything up to the end.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more().is_some() {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the gateway closes, in order or by a reset, without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !matches!(self.stream.read(&mut [0; 1]), Ok(1))
    }

    fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            self.more()?;
        }
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match find(&self.buffer, b"\r\n") {
                    Some(end) => break end,
                    None => self.more()?,
                }
            };
            let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let size =
                usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap().split(';').next()?, 16)
                    .unwrap();
            while self.buffer.len() < size + 2 {
                self.more()?;
            }
            body.extend(self.buffer.drain(..size));
            if size == 0 {
                while !self.buffer.starts_with(b"\r\n") {
                    let line = find(&self.buffer, b"\r\n")?;
                    self.buffer.drain(..line + 2);
                }
            }
            self.buffer.drain(..2);
            if size == 0 {
                return Some(body);
            }
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 65_536];
        let read = self.stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        self.buffer.extend_from_slice(&chunk[..read]);
        Some(())
    }
}

/// A gateway with one listener on a free port of 127.0.0.1.
pub struct Lab {
    pub gateway: proxy::Gateway,
    pub metrics: Arc<telemetry::Metrics>,
    pub address: SocketAddr,
    version: u64,
    before: Arc<Snapshot>,
}

/// A path prefix, the endpoints behind it, and how they are chosen.
pub struct Rule<'r> {
    pub prefix: &'r str,
    pub target: Target<'r>,
    /// What stands behind it; none: a Service of its own.
    pub backend: Option<BackendId>,
    pub timeouts: Timeouts,
    pub retry: Option<model::Retry>,
    pub session: Option<model::Session>,
    pub fallback: Option<Box<model::Fallback>>,
    pub is_unlogged: bool,
    pub filters: Filters,
    /// Of RoutePolicies.
    pub policies: Option<model::Policies>,
    /// Those of its one backend.
    pub backend_filters: Filters,
    pub balancing: Balancing,
    pub affinity: RouteAffinity,
    pub protocol: AppProtocol,
    pub security: BackendSecurity,
    /// What endpoints are told first.
    pub proxy_protocol: Option<model::ProxyProtocol>,
    pub policy: Option<Arc<BackendPolicy>>,
}

pub enum Target<'r> {
    Endpoints(&'r [SocketAddr]),
    /// Endpoints of two addresses, the preferred one first.
    Pairs(&'r [(SocketAddr, SocketAddr)]),
    Invalid,
}

pub fn rule<'r>(prefix: &'r str, endpoints: &'r [SocketAddr]) -> Rule<'r> {
    Rule {
        prefix,
        target: Target::Endpoints(endpoints),
        backend: None,
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
        fallback: None,
        is_unlogged: false,
        filters: Default::default(),
        policies: None,
        backend_filters: Default::default(),
        balancing: Balancing::RoundRobin,
        affinity: Default::default(),
        protocol: AppProtocol::Http1,
        security: BackendSecurity::Cleartext,
        proxy_protocol: None,
        policy: None,
    }
}

impl Lab {
    pub fn new(rules: &[Rule<'_>]) -> Self {
        Self::with(proxy::Config { threads: 1, ..Default::default() }, rules)
    }

    pub fn with(config: proxy::Config, rules: &[Rule<'_>]) -> Self {
        let threads = config.threads;
        let metrics = telemetry::Metrics::new(threads);
        let gateway = proxy::Gateway::start(config, metrics.clone()).unwrap();
        // Another program may take the port in between: then another one.
        let before = Arc::default();
        let mut lab = Self { gateway, metrics, address: free_port(), version: 0, before };
        for _ in 0..20 {
            // Each thread has a socket of its own; more are those of another gateway, which would get a share of the connections.
            if lab.apply(rules).is_empty() && ports::listeners(lab.address) <= threads {
                return lab;
            }
            lab.address = free_port();
        }
        panic!("no free port");
    }

    pub fn apply(&mut self, rules: &[Rule<'_>]) -> Vec<proxy::ListenProblem> {
        self.version += 1;
        let snapshot = sharing(&snapshot(self.version, self.address, rules), &self.before);
        self.before = snapshot.clone();
        self.gateway.apply(self.gateway.with_health(&snapshot))
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }
}

pub fn snapshot(version: u64, address: SocketAddr, rules: &[Rule<'_>]) -> Arc<Snapshot> {
    let id = ListenerId::new("test", "gateway", "http");
    let listener = Listener {
        id: id.clone(),
        addresses: vec![address.ip()],
        port: address.port(),
        protocol: Protocol::Http,
        hostname: None,
        tls: None,
        forwarded_headers: true,
        backend_certificate: None,
        proxy_protocol: false,
        reached_by: None,
    };
    let mut routes = Vec::new();
    let mut backends = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let own = || BackendId::service("test", &format!("b{number}"), 80);
        let backend = rule.backend.clone().unwrap_or_else(own);
        let target = match rule.target {
            Target::Invalid => BackendTarget::Invalid(model::InvalidBackend::NotFound),
            Target::Endpoints(_) | Target::Pairs(_) => {
                let mut endpoints = endpoints(&rule.target);
                endpoints.sort();
                let (protocol, security) = (rule.protocol, rule.security.clone());
                backends.push(Arc::new(Backend {
                    id: backend.clone(),
                    protocol,
                    endpoints,
                    affinity: None,
                    policy: rule.policy.clone(),
                    security,
                    proxy_protocol: rule.proxy_protocol,
                }));
                BackendTarget::Backend(backend.clone())
            }
        };
        routes.push(Arc::new(Route {
            listeners: vec![id.clone()],
            hosts: vec![],
            matches: vec![RouteMatch {
                path: PathMatch::Prefix(rule.prefix.trim_end_matches('/').into()),
                method: None,
                headers: vec![],
                queries: vec![],
            }],
            filters: rule.filters.clone(),
            balancing: rule.balancing,
            affinity: rule.affinity,
            timeouts: rule.timeouts,
            retry: rule.retry.clone(),
            policies: rule
                .policies
                .iter()
                .map(|policies| model::AttachedPolicies {
                    listeners: vec![id.clone()],
                    policies: policies.clone(),
                })
                .collect(),
            session: rule.session.clone(),
            fallback: rule.fallback.clone(),
            is_unlogged: rule.is_unlogged,
            ..Route::new(
                RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", "r"), rule: number as u32 },
                Action::Forward(vec![BackendRef {
                    weight: 1,
                    target,
                    filters: rule.backend_filters.clone(),
                }]),
            )
        }));
    }
    Arc::new(Snapshot::new(version, [Arc::new(listener)], routes, backends, []))
}

fn endpoints(target: &Target<'_>) -> Vec<Endpoint> {
    let endpoint =
        |address, other| Endpoint { address, other, weight: 1, condition: EndpointCondition::Ready };
    match target {
        Target::Invalid => Vec::new(),
        Target::Endpoints(all) => all.iter().map(|address| endpoint(*address, None)).collect(),
        Target::Pairs(all) => {
            let other = |address| Some(model::OtherAddress { address, is_first: false });
            all.iter().map(|(preferred, second)| endpoint(*preferred, other(*second))).collect()
        }
    }
}

/// The same with the records of `before` where they are equal, as translation shares them.
fn sharing(snapshot: &Snapshot, before: &Snapshot) -> Arc<Snapshot> {
    let route = |new: &Arc<Route>| before.routes.iter().find(|known| *known == new).unwrap_or(new).clone();
    let backend = |new: &Arc<Backend>| {
        before.backends.get(&new.id).filter(|known| *known == new).unwrap_or(new).clone()
    };
    let listeners = snapshot.listeners.values().cloned();
    let routes = snapshot.routes.iter().map(route);
    Arc::new(Snapshot::new(snapshot.version, listeners, routes, snapshot.backends.values().map(backend), []))
}

/// The same with another listener of the same routes on all addresses.
pub fn with_listener_for_all(version: u64, first: SocketAddr, rules: &[Rule<'_>]) -> Arc<Snapshot> {
    let one = snapshot(version, first, rules);
    let mut listeners: Vec<_> = one.listeners.values().cloned().collect();
    let id = ListenerId::new("test", "second", "http");
    listeners.push(Arc::new(Listener { id: id.clone(), addresses: vec![], ..(*listeners[0]).clone() }));
    let routes = one.routes.iter().map(|route| {
        let mut route = (**route).clone();
        route.listeners.push(id.clone());
        Arc::new(route)
    });
    let backends = one.backends.values().cloned();
    Arc::new(Snapshot::new(version, listeners, routes, backends, []))
}

/// Makes closing `stream` reset the connection.
pub fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn content_length(head: &str) -> usize {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap())
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
