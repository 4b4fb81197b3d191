//! One thread sends what all others record.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use telemetry::Metrics;
use thiserror::Error;

use crate::collector::Connection;
use crate::message::encode;
use crate::{Collector, Span};

/// Spans that wait, and those that go together: the defaults of OpenTelemetry's batch processor.
const QUEUE_MAX: usize = 2048;
const BATCH_MAX: usize = 512;
/// How long a span waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// How soon a stop is seen.
const PAUSE: Duration = Duration::from_millis(100);

/// There is no thread to send spans.
#[derive(Debug, Error)]
#[error("cannot start the thread that sends spans; is the limit of processes reached?")]
pub struct StartError(#[source] io::Error);

/// Takes spans.
pub struct Exporter {
    queue: SyncSender<Span>,
    metrics: Arc<Metrics>,
}

/// The thread that sends them.
pub struct Exporting {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// Starts the thread, which does `on_thread` first. It connects when there is something to send.
    ///
    /// # Errors
    /// [`StartError`] if there is no thread.
    pub fn start(
        collector: Collector,
        metrics: Arc<Metrics>,
        on_thread: fn(),
    ) -> Result<(Arc<Self>, Exporting), StartError> {
        let (queue, spans) = sync_channel(QUEUE_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let sending = Sending {
            collector,
            metrics: metrics.clone(),
            stop: stop.clone(),
            connection: None,
            is_failing: false,
        };
        let thread = std::thread::Builder::new().name("rauta-spans".to_owned());
        let run = move || {
            on_thread();
            sending.run(&spans);
        };
        let thread = thread.spawn(run).map_err(StartError)?;
        Ok((Arc::new(Self { queue, metrics }), Exporting { stop, thread }))
    }

    /// Hands a span over. Never waits: where the collector does not keep up, it is dropped and counted.
    pub fn send(&self, shard: usize, span: Span) {
        let reason = match self.queue.try_send(span) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => "queue full",
            Err(TrySendError::Disconnected(_)) => "stopped",
        };
        self.metrics.spans_dropped.inc(shard, reason);
    }
}

impl Exporting {
    /// Sends what is there and ends; at most for `limit`.
    pub fn stop(self, limit: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        telemetry::wait_for(&self.thread, limit);
    }
}

struct Sending {
    collector: Collector,
    metrics: Arc<Metrics>,
    stop: Arc<AtomicBool>,
    connection: Option<Connection>,
    is_failing: bool,
}

impl Sending {
    fn run(mut self, spans: &Receiver<Span>) {
        let mut batch: Vec<Span> = Vec::new();
        let mut since = Instant::now();
        loop {
            let received = spans.recv_timeout(PAUSE);
            let is_over = match received {
                Ok(span) => {
                    if batch.is_empty() {
                        since = Instant::now();
                    }
                    batch.push(span);
                    false
                }
                Err(RecvTimeoutError::Timeout) => self.stop.load(Ordering::Relaxed),
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let is_due = batch.len() >= BATCH_MAX || since.elapsed() >= BATCH_WAIT || is_over;
            if is_due && !batch.is_empty() {
                self.send(std::mem::take(&mut batch));
            }
            if is_over {
                return;
            }
        }
    }

    fn send(&mut self, batch: Vec<Span>) {
        let count = batch.len() as u64;
        let message = encode(batch);
        let (reason, error) = match self.post(&message) {
            Ok(200..=299) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(collector = %self.collector, "the collector takes spans again");
                }
                return self.metrics.spans_sent.add(0, count);
            }
            Ok(status) => ("refused", format!("it answered {status}")),
            Err(error) => ("unreachable", error.to_string()),
        };
        self.metrics.spans_dropped.counter(reason).add(0, count);
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(collector = %self.collector, error, "the collector takes no spans: they are dropped until it does; see `tracing.endpoint`");
        }
    }

    /// Over the connection that is there, if it still is, else over a new one.
    fn post(&mut self, message: &[u8]) -> io::Result<u16> {
        if let Some(mut kept) = self.connection.take()
            && let Ok((status, can_reuse)) = kept.post(&self.collector, message)
        {
            self.connection = can_reuse.then_some(kept);
            return Ok(status);
        }
        let mut fresh = Connection::open(&self.collector)?;
        let (status, can_reuse) = fresh.post(&self.collector, message)?;
        self.connection = can_reuse.then_some(fresh);
        Ok(status)
    }
}
