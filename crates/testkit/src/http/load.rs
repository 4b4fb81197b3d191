use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{ClientError, Connection};
use super::response::Response;
use crate::Netns;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection was accepted: refused, or reset before it was.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed without a (whole) answer.
    Closed,
    /// No answer in time.
    Timeout,
    /// A 5xx answer.
    Status(u16),
    /// An answer that the caller's check refuses, or that is no HTTP.
    Wrong,
    /// The client's own trouble.
    Other,
}

/// What a load client saw.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Requests answered as they should be.
    pub answered: u64,
    /// Failed requests by reason.
    pub failures: BTreeMap<Failure, u64>,
    /// Answers by endpoint.
    pub endpoints: BTreeMap<String, u64>,
    /// Connections opened, the first ones included.
    pub connections: u64,
    /// The slowest answer.
    pub slowest: Duration,
    /// What the first failure looked like.
    pub first_failure: Option<String>,
}

impl LoadReport {
    /// How many requests failed, for whatever reason.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Adds what other clients saw.
    pub fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.connections += other.connections;
        self.slowest = self.slowest.max(other.slowest);
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        for (endpoint, count) in other.endpoints {
            *self.endpoints.entry(endpoint).or_default() += count;
        }
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    fn fail(&mut self, failure: Failure, what: impl FnOnce() -> String) {
        *self.failures.entry(failure).or_default() += 1;
        if self.first_failure.is_none() {
            self.first_failure = Some(what());
        }
    }
}

type Check = Arc<dyn Fn(&Response) -> bool + Send + Sync>;

/// Keep-alive clients that ask without pause and never retry. A connection is opened anew only after the other side
/// announced its end (`Connection: close`) or after a failure, which is counted.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<LoadReport>>,
}

impl Load {
    /// Starts `connections` clients in `netns` that send `request` (a whole GET) to `address` and hold each answer
    /// against `check`.
    pub fn start(
        netns: &Netns,
        address: SocketAddr,
        connections: usize,
        request: &str,
        check: impl Fn(&Response) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::paced(netns, address, connections, Duration::ZERO, request, check)
    }

    /// The same with a `pause` of each client after each answer: many connections that are in use, but no more requests
    /// than the machine has time for. The first requests are spread over one pause.
    pub fn paced(
        netns: &Netns,
        address: SocketAddr,
        connections: usize,
        pause: Duration,
        request: &str,
        check: impl Fn(&Response) -> bool + Send + Sync + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let check: Check = Arc::new(check);
        let threads = (0..connections)
            .map(|index| {
                let client = Client { netns: netns.clone(), address, request: request.to_owned(), pause };
                let (stop, answered, check) = (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&check));
                let offset = pause.mul_f64(share(index, connections));
                std::thread::spawn(move || {
                    std::thread::sleep(offset);
                    client.run(&check, &stop, &answered)
                })
            })
            .collect();
        Self { stop, answered, threads }
    }

    /// Requests answered well so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until `count` more requests are answered well.
    ///
    /// # Errors
    /// They are not within `limit`.
    pub fn wait_for_more(&self, count: u64, limit: Duration) -> anyhow::Result<()> {
        let goal = self.answered() + count;
        crate::until(limit, "the load to go on", || (self.answered() >= goal).then_some(()))
    }

    /// Stops the clients between two requests and adds up what they saw.
    pub fn stop(mut self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = LoadReport::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(report) => total.add(report),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        total
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One client of a [`Load`].
struct Client {
    netns: Netns,
    address: SocketAddr,
    request: String,
    pause: Duration,
}

impl Client {
    fn run(&self, check: &Check, stop: &AtomicBool, answered: &AtomicU64) -> LoadReport {
        let mut report = LoadReport::default();
        let mut open: Option<Connection> = None;
        while !stop.load(Ordering::Relaxed) {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => match Connection::open(&self.netns, self.address) {
                    Ok(connection) => {
                        report.connections += 1;
                        connection
                    }
                    Err(error) => {
                        let kind = if kind_of(&error) == Failure::Reset {
                            Failure::Refused
                        } else {
                            kind_of(&error)
                        };
                        report.fail(kind, || format!("while connecting: {error}"));
                        // Not to spin while nobody listens.
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                },
            };
            let start = Instant::now();
            match connection.request(&self.request) {
                Ok(response) if response.status >= 500 => {
                    report.fail(Failure::Status(response.status), || {
                        format!("{} {}", response.status, response.text())
                    });
                    open = (!response.closes()).then_some(connection);
                }
                Ok(response) if !check(&response) => {
                    report.fail(Failure::Wrong, || format!("{response:?}"));
                }
                Ok(response) => {
                    report.answered += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                    report.slowest = report.slowest.max(start.elapsed());
                    if let Some(endpoint) = response.endpoint() {
                        *report.endpoints.entry(endpoint.to_owned()).or_default() += 1;
                    }
                    open = (!response.closes()).then_some(connection);
                }
                Err(error) => report.fail(kind_of(&error), || error.to_string()),
            }
            if !self.pause.is_zero() {
                std::thread::sleep(self.pause);
            }
        }
        report
    }
}

fn share(index: usize, of: usize) -> f64 {
    let float = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    float(index) / float(of.max(1))
}

fn kind_of(error: &ClientError) -> Failure {
    match error {
        ClientError::Refused => Failure::Refused,
        ClientError::Reset => Failure::Reset,
        ClientError::Closed | ClientError::Truncated(_) => Failure::Closed,
        ClientError::Timeout => Failure::Timeout,
        ClientError::Malformed(_) => Failure::Wrong,
        ClientError::Namespace(_) | ClientError::Io(_) => Failure::Other,
    }
}
