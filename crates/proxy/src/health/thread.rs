//! The thread on which probers run: none of them may wait for traffic, or traffic for them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Subject;
use super::board::{Board, Changes};
use super::probe::probe;
use crate::connector::Connector;

pub(super) struct Thread {
    commands: Option<mpsc::UnboundedSender<Changes>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    pub(super) fn start(board: Arc<Board>, limits: http1::Limits, on_thread: fn()) -> io::Result<Self> {
        let (commands, received) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = std::thread::Builder::new().name("rauta-health".to_owned()).spawn(move || {
            on_thread();
            tokio::task::LocalSet::new().block_on(&runtime, run(board, limits, received));
        })?;
        Ok(Self { commands: Some(commands), handle: Some(handle) })
    }

    pub(super) fn tell(&self, changes: Changes) {
        if let Some(commands) = &self.commands {
            // A thread that is gone has nothing left to do.
            let _ = commands.send(changes);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(handle) = self.handle.take() {
            // A panic there has already been printed.
            let _ = handle.join();
        }
    }
}

async fn run(board: Arc<Board>, limits: http1::Limits, mut commands: mpsc::UnboundedReceiver<Changes>) {
    let mut probers: HashMap<Subject, AbortHandle> = HashMap::new();
    while let Some(Changes { start, stop }) = commands.recv().await {
        for subject in stop {
            if let Some(prober) = probers.remove(&subject) {
                prober.abort();
            }
        }
        for (subject, connector) in start {
            let prober = prober(board.clone(), subject.clone(), connector, limits);
            probers.insert(subject, tokio::task::spawn_local(prober).abort_handle());
        }
    }
}

/// Probes for ever.
async fn prober(
    board: Arc<Board>,
    subject: Subject,
    connector: Option<Arc<Connector>>,
    limits: http1::Limits,
) {
    tokio::time::sleep(head_start(subject.check.interval)).await;
    // What it finds out is what requests go by.
    let favour = board.favour(subject.addresses);
    loop {
        let asked = probe(&subject, connector.as_deref(), &favour, &limits);
        let found = tokio::time::timeout(subject.check.timeout, asked).await;
        board.note(&subject, found.unwrap_or(Err("timeout")));
        tokio::time::sleep(subject.check.interval).await;
    }
}

/// Up to an interval, but a second: a thousand probers that start together must not probe together.
fn head_start(interval: Duration) -> Duration {
    const PARTS: u32 = 1 << 16;
    let chance = u32::try_from(RandomState::new().hash_one(()) % u64::from(PARTS)).unwrap_or_default();
    interval.min(Duration::from_secs(1)) * chance / PARTS
}
