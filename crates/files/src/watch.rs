use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notify::{Config, Event, RecommendedWatcher, Watcher};
use tokio::sync::watch;
use translate::Options;

use crate::Loaded;
use crate::pending::Pending;
use crate::source::{Hints, Source};
use crate::watches::Watches;

/// How often the files are looked at without an event: network file systems send none.
const LOOK: Duration = Duration::from_secs(2);

/// Why files cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No path was given.
    #[error("no file or folder was given to read manifests from")]
    NoPaths,
    /// The kernel gives no inotify instance.
    #[error(
        "cannot watch files for changes (inotify); raise sysctl fs.inotify.max_user_instances if it is exhausted"
    )]
    Inotify(#[source] notify::Error),
    /// No thread can be started.
    #[error("cannot start the thread that watches files")]
    Thread(#[source] io::Error),
}

/// Keeps files watched; dropping it ends that.
#[derive(Debug)]
pub struct WatchHandle {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Event(notify::Result<Event>),
    Stop,
}

/// Reads files and folders, and again whenever they change.
///
/// Its threads do `on_thread` first. The receiver has the first [`Loaded`] at once; a later one only if it serves differently or says something else. A
/// path that does not exist yet is read when it appears.
///
/// # Errors
/// [`WatchError`]: nothing is watched.
pub fn watch(
    paths: Vec<PathBuf>,
    options: Options,
    on_thread: fn(),
) -> Result<(watch::Receiver<Arc<Loaded>>, WatchHandle), WatchError> {
    if paths.is_empty() {
        return Err(WatchError::NoPaths);
    }
    let (messages, inbox) = mpsc::channel();
    let events = messages.clone();
    let make = move || {
        on_thread();
        let tell = move |event| {
            // Nobody listens after the handle is gone.
            let _ = events.send(Message::Event(event));
        };
        RecommendedWatcher::new(tell, Config::default())
    };
    // The watcher has a thread of its own, which is what its maker's is.
    let maker = thread::Builder::new().name("files".to_owned()).spawn(make).map_err(WatchError::Thread)?;
    let Ok(watcher) = maker.join() else {
        return Err(WatchError::Thread(io::Error::other("the thread that begins to watch panicked")));
    };
    let watcher = watcher.map_err(WatchError::Inotify)?;
    let mut loop_ = Loop {
        watches: Watches::new(watcher),
        source: Source::new(paths, options),
        pending: Pending::default(),
    };
    let first = loop_.load(&Hints::default(), Instant::now());
    let (sender, receiver) = watch::channel(Arc::new(first));
    let thread = thread::Builder::new()
        .name("files".to_owned())
        .spawn(move || {
            on_thread();
            loop_.run(&inbox, &sender);
        })
        .map_err(WatchError::Thread)?;
    Ok((receiver, WatchHandle { messages, thread: Some(thread) }))
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        // Fails only if the thread has ended already.
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Loop {
    watches: Watches,
    source: Source,
    pending: Pending,
}

impl Loop {
    fn run(mut self, inbox: &mpsc::Receiver<Message>, sender: &watch::Sender<Arc<Loaded>>) {
        // When manifests last changed or were looked at. Other files in a watched folder may change all the time.
        let mut heard = Instant::now();
        loop {
            let now = Instant::now();
            let wait = self.pending.wait(now);
            let message = inbox.recv_timeout(wait.unwrap_or((heard + LOOK).saturating_duration_since(now)));
            let now = Instant::now();
            let mut is_lost = false;
            match message {
                Ok(Message::Event(Ok(event))) => {
                    if self.pending.note(&event, &self.source, now) {
                        heard = now;
                    }
                }
                Ok(Message::Event(Err(error))) => {
                    tracing::warn!(%error, "an event about files was lost; looking at them");
                    is_lost = true;
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let is_quiet = wait.is_none() && now >= heard + LOOK;
            if is_quiet {
                heard = now;
            }
            let due = match self.pending.take(now) {
                None if (is_lost || is_quiet) && self.source.is_stale() => {
                    Some((Hints { is_quiet, ..Default::default() }, now))
                }
                due => due,
            };
            if let Some((hints, noticed)) = due {
                let loaded = self.load(&hints, noticed);
                sender.send_if_modified(|last| {
                    let is_new = loaded.differs_from(last);
                    if is_new {
                        *last = Arc::new(loaded);
                    }
                    is_new
                });
            }
        }
    }

    fn load(&mut self, hints: &Hints, noticed: Instant) -> Loaded {
        let mut loaded = self.source.load(hints, noticed);
        // What came into a new folder before it was watched sent no event.
        while self.source.take_has_scanned()
            && self.watches.sync(self.source.roots(), &self.source.scan)
            && self.source.is_stale()
        {
            let hints = Hints { is_all: false, ..hints.clone() };
            loaded = self.source.load(&hints, noticed);
        }
        loaded
    }
}
