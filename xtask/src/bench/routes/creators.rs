//! Clients that create routes as fast as the API server takes them, or at a rate.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::Result;
use testkit::cluster::Client;

use super::world;

/// A route that the API server has.
#[derive(Clone, Debug)]
pub(super) struct Created {
    pub(super) host: String,
    /// When the call that creates it began.
    pub(super) asked: Instant,
    /// When the answer to its creation came.
    pub(super) at: Instant,
}

/// How fast routes are created.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) clients: usize,
    /// In a second, all clients together; none: as many as can be.
    pub(super) rate: Option<f64>,
}

/// The host of route `n`.
pub(super) fn host(n: usize) -> String {
    format!("app-{n}.test")
}

/// Creates these routes, and says how long each call took. Each is told of as it was answered.
pub(super) fn create(
    client: &Client,
    numbers: Range<usize>,
    pace: Pace,
    told: &Sender<Created>,
) -> Result<Vec<Duration>> {
    let (next, begun) = (AtomicUsize::new(numbers.start), Instant::now());
    let calls = Mutex::new(Vec::with_capacity(numbers.len()));
    let work = || -> Result<()> {
        let mut session = client.session();
        let (path, mut own) = (world::routes(), Vec::new());
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= numbers.end {
                break;
            }
            if let Some(rate) = pace.rate {
                let due = begun + Duration::from_secs(1).mul_f64(float(n - numbers.start) / rate);
                sleep(due.saturating_duration_since(Instant::now()));
            }
            let route = world::route(&host(n), world::NEW.0);
            let asked = Instant::now();
            session.create(&path, &route)?;
            let at = Instant::now();
            own.push(at - asked);
            // Nobody listens any more only where something else has failed.
            let _ = told.send(Created { host: host(n), asked, at });
        }
        calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&mut own);
        Ok(())
    };
    scope(|scope| {
        let threads: Vec<_> = (0..pace.clients).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(calls.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
