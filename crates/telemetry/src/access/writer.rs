//! One thread writes what all others log.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::output::Output;
use super::{Format, OpenError, Target};
use crate::Metrics;

/// Batches that wait for the disk: a few megabytes.
const QUEUE_MAX: usize = 128;
/// How soon a request to open the file again, or to stop, is seen.
const PAUSE: Duration = Duration::from_millis(100);

/// Lines that belong together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    pub(super) lines: u64,
}

/// The access log as those who write into it see it.
pub struct AccessLog {
    pub(super) format: Format,
    queue: SyncSender<Batch>,
    metrics: Arc<Metrics>,
}

/// The thread that writes it.
pub struct Writer {
    signals: Arc<Signals>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Signals {
    reopen: AtomicBool,
    stop: AtomicBool,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("format", &self.format).finish_non_exhaustive()
    }
}

impl AccessLog {
    /// Opens `target` and starts its writer. What is dropped is counted in `metrics`.
    ///
    /// # Errors
    /// [`OpenError`] if it cannot be opened.
    pub fn start(
        target: &Target,
        format: Format,
        metrics: Arc<Metrics>,
        on_thread: fn(),
    ) -> Result<(Arc<Self>, Writer), OpenError> {
        let output = Output::open(target)?;
        let (queue, batches) = sync_channel(QUEUE_MAX);
        let signals = Arc::new(Signals::default());
        let writing =
            Writing { output, metrics: metrics.clone(), signals: signals.clone(), is_broken: false };
        let thread = std::thread::Builder::new().name("rauta-access".to_owned());
        let run = move || {
            on_thread();
            writing.run(&batches);
        };
        let thread = thread.spawn(run).map_err(OpenError::Thread)?;
        Ok((Arc::new(Self { format, queue, metrics }), Writer { signals, thread }))
    }

    pub(super) fn lose(&self, shard: usize) {
        self.metrics.access_dropped.counter("too many wait").add(shard, 1);
    }

    pub(super) fn send(&self, shard: usize, batch: Batch) {
        match self.queue.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(batch)) => {
                self.metrics.access_dropped.counter("queue full").add(shard, batch.lines);
            }
            Err(TrySendError::Disconnected(batch)) => {
                self.metrics.access_dropped.counter("stopped").add(shard, batch.lines);
            }
        }
    }
}

impl Writer {
    /// Opens the file again under its name: what had it was moved away.
    pub fn reopen(&self) {
        self.signals.reopen.store(true, Ordering::Relaxed);
    }

    /// Writes what is there and ends; at most for `limit`.
    pub fn stop(self, limit: Duration) {
        self.signals.stop.store(true, Ordering::Relaxed);
        crate::wait_for(&self.thread, limit);
    }
}

struct Writing {
    output: Output,
    metrics: Arc<Metrics>,
    signals: Arc<Signals>,
    /// The last batch was not written, or not as a whole.
    is_broken: bool,
}

impl Writing {
    fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            match batches.recv_timeout(PAUSE) {
                Ok(batch) => {
                    self.follow();
                    self.write(&batch);
                }
                Err(RecvTimeoutError::Timeout) if self.signals.stop.load(Ordering::Relaxed) => return,
                Err(RecvTimeoutError::Timeout) => self.follow(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Goes on in the file that has the name now.
    fn follow(&mut self) {
        let is_asked = self.signals.reopen.swap(false, Ordering::Relaxed);
        if !is_asked && !self.output.has_moved() {
            return;
        }
        match self.output.reopen() {
            Ok(()) => tracing::debug!("the access log is open again"),
            Err(error) => {
                tracing::warn!(%error, "cannot open the access log again; it goes on in the old file")
            }
        }
    }

    fn write(&mut self, batch: &Batch) {
        // What was cut off must not run into this.
        let closed = if self.is_broken { self.output.write(b"\n") } else { Ok(()) };
        match closed.and_then(|()| self.output.write(&batch.text)) {
            Ok(()) => {
                if std::mem::take(&mut self.is_broken) {
                    tracing::info!("the access log is written again");
                }
                self.metrics.access_lines.add(0, batch.lines);
            }
            Err(error) => self.failed(&error, batch.lines),
        }
    }

    fn failed(&mut self, error: &io::Error, lines: u64) {
        self.metrics.access_dropped.counter("not written").add(0, lines);
        if !std::mem::replace(&mut self.is_broken, true) {
            tracing::warn!(%error, "cannot write the access log: lines are dropped until it can be written; is the disk full?");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::Path;
    use std::time::Instant;

    use super::super::{Entry, Lines};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn start(path: &Path) -> (Arc<AccessLog>, Writer, Arc<Metrics>) {
        let metrics = Metrics::new(1);
        let format = "$path $status".parse().unwrap();
        let (log, writer) =
            AccessLog::start(&Target::File(path.into()), format, metrics.clone(), || {}).unwrap();
        (log, writer, metrics)
    }

    fn entry(path: &str) -> Entry<'_> {
        Entry { path: Some(path), status: 200, ..Default::default() }
    }

    fn until(what: &str, mut is_true: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_true() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn lines_of_all_threads_arrive_whole_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (log, writer, metrics) = start(&path);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let mut lines = Lines::new(log.clone(), thread);
                scope.spawn(move || (0..1000).for_each(|n| lines.add(&entry(&format!("/{thread}/{n}")))));
            }
        });
        writer.stop(PATIENCE);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4000);
        for thread in 0..4 {
            let begins = format!("/{thread}/");
            let of_one: Vec<_> = text.lines().filter(|line| line.starts_with(&begins)).collect();
            let expected: Vec<_> = (0..1000).map(|n| format!("/{thread}/{n} 200")).collect();
            assert_eq!(of_one, expected);
        }
        assert_eq!(metrics.access_lines.get(), 4000);
    }

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("old"));
        let (log, writer, metrics) = start(&path);
        let mut lines = Lines::new(log, 0);
        let mut add = |name: &str, count: u64| {
            lines.add(&entry(name));
            lines.flush();
            until("a line", || metrics.access_lines.get() == count);
        };
        add("/one", 1);
        std::fs::rename(&path, &old).unwrap();
        writer.reopen();
        until("a new file by signal", || path.exists());
        add("/two", 2);
        std::fs::rename(&path, folder.path().join("older")).unwrap();
        until("a new file by itself", || path.exists());
        add("/three", 3);
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "/one 200\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "/three 200\n");
    }

    /// A FIFO that nobody reads is a disk that never ends a write.
    #[test]
    fn what_a_slow_disk_does_not_take_is_dropped_and_counted_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (log, writer, metrics) = start(&path);
        let mut lines = Lines::new(log, 0);
        let long = "x".repeat(4000);
        let total = 4000;
        (0..total).for_each(|_| lines.add(&entry(&long)));
        drop(lines);
        let dropped = || metrics.access_dropped.values().iter().map(|(_, count)| count).sum::<u64>();
        assert!(dropped() > 0 && dropped() < total, "{}", dropped());
        let expected = total - dropped();
        let mut read = 0;
        let mut buffer = vec![0; 1 << 16];
        while read < expected * 4005 {
            read += reader.read(&mut buffer).unwrap() as u64;
        }
        until("the rest", || metrics.access_lines.get() == expected);
        writer.stop(PATIENCE);
    }

    #[test]
    fn a_full_disk_costs_lines_and_is_told_by_the_count() {
        let (log, writer, metrics) = start(Path::new("/dev/full"));
        let mut lines = Lines::new(log, 0);
        (0..3).for_each(|_| lines.add(&entry("/")));
        drop(lines);
        until("the failure", || metrics.access_dropped.values() == [("not written", 3)]);
        assert_eq!(metrics.access_lines.get(), 0);
        writer.stop(PATIENCE);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error_that_names_it() {
        let target = Target::File("/nowhere/access.log".into());
        let Err(error) = AccessLog::start(&target, Format::Json, Metrics::new(1), || {}) else {
            panic!("opened")
        };
        assert!(error.to_string().contains("/nowhere/access.log"), "{error}");
    }
}
