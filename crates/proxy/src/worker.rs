//! What one thread of the userspace tier has for itself: state in force, pool, buffers, chance. Nothing of it is shared.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http1::{RequestHead, ResponseHead};
use telemetry::access::{Entry, Lines};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::Config;
use crate::remembered::Remembered;
use crate::shared::Shared;
use crate::state::State;
use crate::story;
use crate::tokens;
use crate::upstream::Pool;

/// Read buffers kept for the next connection that needs one.
const BUFFERS_MAX: usize = 256;
/// Heads kept for the next stream.
const HEADS_MAX: usize = 64;
/// Pipes in use at once: of sixteen thousand pages that a user may have in pipes (`pipe-user-pages-soft` of pipe(7)) each takes 64,
/// and slow readers must not take all descriptors.
const PIPES_MAX: usize = 64;
/// Empty ones kept for the next connection that has bytes to pass on.
const PIPES_IDLE_MAX: usize = 8;
/// Bodies that are compressed at a time: with Brotli's 2 MiB for each these are 128 MiB, however many streams wait for their clients.
const ENCODERS_MAX: usize = 64;
/// A fresh read buffer: a DATA frame of the usual limit (RFC 9113 section 4.2) as a chunk fits.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024 + 64;
/// A buffer that grew beyond this for a large body is not kept.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// A thread's own state.
pub(crate) struct Worker {
    /// Which thread, from 0: its shard of every counter.
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: RefCell<Pool>,
    /// For large bodies, and connections that are passed on.
    pub(crate) pipes: l4::Pipes,
    state: RefCell<(u64, Rc<Current>)>,
    buffers: RefCell<Vec<BytesMut>>,
    /// Empty heads, for streams of HTTP/2: each has one request.
    heads: RefCell<Vec<(RequestHead, ResponseHead)>>,
    /// Of the same, on both sides.
    pub(crate) http2: http2::Memory,
    random: Cell<u64>,
    /// Parts the ids of this thread from those of another whose sequence meets its own.
    salt: u64,
    date: RefCell<(Instant, String)>,
    /// Tasks that wait for a client's next request, to wake when draining begins.
    parked: RefCell<HashMap<u64, Waker>>,
    connections: Cell<usize>,
    /// Each stream of HTTP/2 under way holds one more.
    streams: Rc<()>,
    /// Each body that is compressed holds one more.
    encoders: Rc<()>,
    /// Copies of requests under way.
    pub(crate) mirrors: Cell<usize>,
    next_id: Cell<u64>,
    /// Passwords that were right.
    pub(crate) right_passwords: Remembered<()>,
    /// Tokens that were good.
    pub(crate) good_tokens: Remembered<Rc<tokens::Good>>,
    access: RefCell<Option<Lines>>,
    drained: RefCell<Option<oneshot::Sender<()>>>,
}

/// The state in force as this thread knows it: requests count their use of it here, not on a line that all threads
/// write.
pub(crate) struct Current(Arc<State>);

impl std::ops::Deref for Current {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

/// Says once, for all threads, that nothing is spliced here.
fn warn_of_copies(error: &std::io::Error) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "splice(2) is refused: {error}: large bodies and TCP connections are copied instead, which takes more CPU; allow it \
             in the sandbox (seccomp profile, container runtime) of this process"
        );
    });
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Self {
        let pool = RefCell::new(Pool::new(shared.config.pool_idle_max));
        let state = RefCell::new((shared.generation(), Rc::new(Current(shared.state()))));
        let access = shared.config.access_log.as_ref().map(|access| Lines::new(access.log.clone(), index));
        Self {
            index,
            pool,
            pipes: l4::Pipes::new(PIPES_MAX, PIPES_IDLE_MAX, warn_of_copies),
            state,
            shared,
            buffers: RefCell::default(),
            heads: RefCell::default(),
            http2: http2::Memory::default(),
            random: Cell::new(RandomState::new().hash_one(index)),
            salt: RandomState::new().hash_one(index),
            date: RefCell::new((Instant::now(), httpdate::fmt_http_date(SystemTime::now()))),
            parked: RefCell::default(),
            connections: Cell::new(0),
            streams: Rc::new(()),
            encoders: Rc::new(()),
            mirrors: Cell::new(0),
            next_id: Cell::new(0),
            right_passwords: Remembered::default(),
            good_tokens: Remembered::default(),
            access: RefCell::new(access),
            drained: RefCell::default(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn metrics(&self) -> &telemetry::Metrics {
        &self.shared.metrics
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Whether a client connection should end with the answer to this request, the `requests`th.
    pub(crate) fn ends_after(&self, requests: u64) -> bool {
        self.is_draining() || self.shared.has_had_enough(requests)
    }

    /// Whether a request with this status is logged.
    pub(crate) fn logs(&self, status: u16) -> bool {
        self.config().access_log.as_ref().is_some_and(|access| {
            story::is_failed(status) || self.random().is_multiple_of(access.sample_one_in.max(1))
        })
    }

    /// Logs a request; its line leaves with those of others.
    pub(crate) fn log(&self, entry: &Entry<'_>) {
        if let Some(lines) = &mut *self.access.borrow_mut() {
            lines.add(entry);
            // Nobody may be left to send it on later.
            if self.is_draining() {
                lines.flush();
            }
        }
    }

    fn flush_log(&self) {
        if let Some(lines) = &mut *self.access.borrow_mut() {
            lines.flush();
        }
    }

    /// The state in force.
    pub(crate) fn state(&self) -> Rc<Current> {
        let generation = self.shared.generation();
        if self.state.borrow().0 != generation {
            *self.state.borrow_mut() = (generation, Rc::new(Current(self.shared.state())));
        }
        self.state.borrow().1.clone()
    }

    pub(crate) fn take_buffer(&self) -> BytesMut {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
    }

    /// Puts a buffer where there is none. One that was used up is there still.
    pub(crate) fn lend_buffer(&self, to: &mut BytesMut) {
        if to.capacity() == 0 && !to.try_reclaim(1) {
            *to = self.take_buffer();
        }
    }

    pub(crate) fn return_buffer(&self, mut buffer: BytesMut) {
        let mut buffers = self.buffers.borrow_mut();
        // What was taken from its front lies before its start; one that cannot have it back counts as what is left of it.
        buffer.clear();
        let _ = buffer.try_reclaim(BUFFER_BYTES);
        let size = buffer.capacity();
        if size > 0 && size <= BUFFER_BYTES_MAX && buffers.len() < BUFFERS_MAX {
            buffers.push(buffer);
        }
    }

    pub(crate) fn take_heads(&self) -> (RequestHead, ResponseHead) {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn return_heads(&self, mut request: RequestHead, mut response: ResponseHead) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < HEADS_MAX {
            request.clear();
            response.clear();
            heads.push((request, response));
        }
    }

    /// The next number of a SplitMix64 sequence: fair draws, no secrets.
    pub(crate) fn random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        balance::mix(next)
    }

    /// A number that nobody else has: both halves by chance, the lower with a salt of this thread's.
    pub(crate) fn random_id(&self) -> u128 {
        u128::from(self.random()) << 64 | u128::from(self.random() ^ self.salt)
    }

    /// The value of a Date header (RFC 9110 section 5.6.7), at most a second old.
    pub(crate) fn with_date<T>(&self, f: impl FnOnce(&str) -> T) -> T {
        let mut date = self.date.borrow_mut();
        if date.0.elapsed() >= Duration::from_secs(1) {
            *date = (Instant::now(), httpdate::fmt_http_date(SystemTime::now()));
        }
        f(&date.1)
    }

    /// Remembers whom to wake when draining begins.
    pub(crate) fn park(&self, connection: u64, waker: &Waker) {
        let mut parked = self.parked.borrow_mut();
        match parked.get_mut(&connection) {
            Some(known) => known.clone_from(waker),
            None => drop(parked.insert(connection, waker.clone())),
        }
    }

    /// Counts a connection in and names it.
    pub(crate) fn open_connection(self: &Rc<Self>) -> OpenConnection {
        self.connections.set(self.connections.get() + 1);
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.metrics().connections_accepted.add(self.index, 1);
        self.metrics().connections_active.add(self.index, 1);
        OpenConnection { worker: self.clone(), id }
    }

    /// Answers a drain once the last connection is gone.
    fn tell_if_drained(&self) {
        if self.connections.get() == 0
            && self.is_draining()
            && let Some(tell) = self.drained.borrow_mut().take()
        {
            // Nobody listens any more when the grace period is over.
            let _ = tell.send(());
        }
    }

    /// Counts a stream of HTTP/2 while what it gets lives; none when there are as many as there may be: connections are counted
    /// once, however many requests each has. Of its own thread alone, so that no request writes what all threads read.
    pub(crate) fn admit_stream(&self) -> Option<Rc<()>> {
        let config = self.config();
        let most = config.connections_max.div_ceil(config.threads.max(1));
        (Rc::strong_count(&self.streams) <= most).then(|| self.streams.clone())
    }

    /// Counts a body that is compressed while what it gets lives; none when there are as many as there may be.
    pub(crate) fn admit_encoder(&self) -> Option<Rc<()>> {
        (Rc::strong_count(&self.encoders) <= ENCODERS_MAX).then(|| self.encoders.clone())
    }

    /// Tells the connections of this thread that draining has begun; `drained` is told when the last one is gone.
    pub(crate) fn drain(&self, drained: oneshot::Sender<()>) {
        *self.drained.borrow_mut() = Some(drained);
        self.flush_log();
        for (_, waker) in self.parked.borrow_mut().drain() {
            waker.wake();
        }
        self.tell_if_drained();
    }

    /// Sends lines of the access log on that wait, and closes pooled connections that are old, closed, or to endpoints that nothing names any more.
    pub(crate) fn sweep(&self) {
        self.flush_log();
        let state = self.state();
        let oldest = Instant::now().checked_sub(self.config().timeouts.pool_idle);
        if let Some(oldest) = oldest {
            self.pool.borrow_mut().sweep(oldest, |way| state.has_way(way));
        }
    }
}

/// A client connection of this thread, until it goes.
pub(crate) struct OpenConnection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) id: u64,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.parked.borrow_mut().remove(&self.id);
        worker.pool.borrow_mut().leave(self.id);
        worker.connections.set(worker.connections.get() - 1);
        worker.metrics().connections_active.add(worker.index, -1);
        worker.tell_if_drained();
    }
}
