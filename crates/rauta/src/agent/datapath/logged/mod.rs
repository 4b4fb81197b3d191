//! Requests that the kernel has served, for the access log: what is told of a request waits for what is told of its response.

#[cfg(test)]
mod tests;
pub(super) mod text;
mod told;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::{RouteId, Snapshot};
use telemetry::access::Lines;
use wire::{Event, Reason, Tuple};

use told::Told;

/// Requests that may wait for their responses, or for the ends of these.
const WAITING_MAX: usize = 8192;

/// How long they wait.
const PATIENCE_NS: u64 = 60_000_000_000;

/// How often it is looked for those that have waited too long.
const LOOK_NS: u64 = 1_000_000_000;

/// How often lines are handed over: in fewer and larger batches than those of userspace's threads, whose queue it is.
const FLUSH_NS: u64 = 250_000_000;

/// The access log of the kernel tiers.
pub(super) struct Logged {
    lines: Lines,
    one_in: u32,
    waiting: HashMap<(Tuple, u32), Box<Told>>,
    looked_ns: u64,
    flushed_ns: u64,
    quiet: Quiet,
}

/// Routes whose requests are logged only where they fail.
#[derive(Default)]
struct Quiet {
    of: Option<Arc<Snapshot>>,
    routes: HashSet<RouteId>,
}

/// What events tell in numbers.
pub(super) struct Names<'n> {
    pub(super) route: &'n dyn Fn(u32) -> Option<RouteId>,
    pub(super) endpoint: &'n dyn Fn(u32) -> Option<SocketAddr>,
    pub(super) listener: &'n dyn Fn(u32) -> String,
    pub(super) now: Moment,
}

/// One moment on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// The programs' clock.
    pub(super) boot_ns: u64,
    pub(super) wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { boot_ns: loader::now(), wall: SystemTime::now() }
    }

    fn wall(self, boot_ns: u64) -> SystemTime {
        self.wall - Duration::from_nanos(self.boot_ns.saturating_sub(boot_ns))
    }
}

impl Logged {
    pub(super) fn new(lines: Lines, one_in: u32) -> Self {
        Self { lines, one_in, waiting: HashMap::new(), looked_ns: 0, flushed_ns: 0, quiet: Quiet::default() }
    }

    pub(super) const fn one_in(&self) -> u32 {
        self.one_in
    }

    /// Takes what was told. Which routes are quiet is the snapshot's to say.
    pub(super) fn take(&mut self, events: &[Event], snapshot: Option<&Arc<Snapshot>>, names: &Names<'_>) {
        self.quiet.follow(snapshot);
        for event in events {
            if event.reason == Reason::Answered as u8 {
                self.answered(event, names);
            } else if event.reason == Reason::Ended as u8 {
                self.ended(event, names.now);
            } else if event.tier == 3 {
                self.handed(event);
            } else {
                self.asked(event, names);
            }
        }
        let now_ns = names.now.boot_ns;
        if now_ns.saturating_sub(self.looked_ns) >= LOOK_NS {
            self.looked_ns = now_ns;
            self.give_up(now_ns.saturating_sub(PATIENCE_NS), names.now);
        }
        if now_ns.saturating_sub(self.flushed_ns) >= FLUSH_NS {
            self.flushed_ns = now_ns;
            self.lines.flush();
        }
    }

    /// The last lines: those of requests that wait.
    pub(super) fn finish(mut self, now: Moment) {
        self.give_up(u64::MAX, now);
    }

    /// Logs those of which nothing was heard since `limit_ns`.
    fn give_up(&mut self, limit_ns: u64, now: Moment) {
        let late: Vec<_> = self.waiting.extract_if(|_, told| told.heard_ns < limit_ns).collect();
        for (_, told) in late {
            self.write(&told, None, now);
        }
    }

    fn asked(&mut self, event: &Event, names: &Names<'_>) {
        if !Event::is_drawn(event.lot, self.one_in) {
            return;
        }
        if let Some(told) = self.waiting.get_mut(&key(event)).filter(|told| told.lot == event.lot) {
            told.ask(event, names);
            return;
        }
        // An earlier connection from the same port.
        if let Some(before) = self.waiting.remove(&key(event)) {
            self.write(&before, None, names.now);
        }
        if self.waiting.len() < WAITING_MAX {
            let mut told = Told::of(event, names);
            told.ask(event, names);
            self.waiting.insert(key(event), told);
        } else {
            self.lines.lose();
        }
    }

    /// Userspace logs it, be it that an endpoint was tried for it before.
    fn handed(&mut self, event: &Event) {
        if self.waiting.get(&key(event)).is_some_and(|told| told.answered.is_none() && told.lot == event.lot)
        {
            self.waiting.remove(&key(event));
        }
    }

    fn answered(&mut self, event: &Event, names: &Names<'_>) {
        let is_drawn = Event::is_drawn(event.lot, self.one_in);
        if event.status < 400 && !is_drawn {
            return;
        }
        let mut before = self.waiting.remove(&key(event));
        if let Some(other) = before.take_if(|before| before.lot != event.lot) {
            self.write(&other, None, names.now);
        }
        let mut told = before.unwrap_or_else(|| Told::of(event, names));
        told.answer(event, names);
        let is_whole = event.flags & Event::WHOLE != 0;
        // Of what was told only since it failed, the end is not.
        let ends_later = !is_whole && event.flags & Event::ENDLESS == 0 && is_drawn;
        if ends_later && self.waiting.len() < WAITING_MAX {
            self.waiting.insert(key(event), told);
        } else {
            self.write(&told, is_whole.then_some(event), names.now);
        }
    }

    fn ended(&mut self, event: &Event, now: Moment) {
        if self.waiting.get(&key(event)).is_some_and(|told| told.answered.is_some() && told.lot == event.lot)
            && let Some(told) = self.waiting.remove(&key(event))
        {
            self.write(&told, Some(event), now);
        }
    }

    fn write(&mut self, told: &Told, ended: Option<&Event>, now: Moment) {
        let is_failed = told.status() >= 400;
        let is_quiet = told.route.as_ref().is_some_and(|route| self.quiet.routes.contains(route));
        if is_failed || !is_quiet {
            told.line(ended, now, |line| self.lines.add(line));
        }
    }
}

impl Quiet {
    fn follow(&mut self, snapshot: Option<&Arc<Snapshot>>) {
        let is_same = match (&self.of, snapshot) {
            (Some(of), Some(snapshot)) => Arc::ptr_eq(of, snapshot),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            let quiet =
                snapshot.iter().flat_map(|snapshot| snapshot.routes.iter()).filter(|route| route.is_unlogged);
            self.routes = quiet.map(|route| route.id.clone()).collect();
            self.of = snapshot.cloned();
        }
    }
}

const fn key(event: &Event) -> (Tuple, u32) {
    (event.client, event.number)
}
