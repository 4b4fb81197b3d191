//! Requests that the kernel has served, for the access log: what is told of a request waits for what is told of its response.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::{RouteId, Snapshot};
use telemetry::access::{Entry, Lines, Show};
use wire::{Event, Method, Reason, Tuple};

use crate::view::flow;

/// Requests that may wait for their responses, or for the ends of these.
const WAITING_MAX: usize = 8192;

/// How long they wait.
const PATIENCE_NS: u64 = 60_000_000_000;

/// How often it is looked for those that have waited too long.
const LOOK_NS: u64 = 1_000_000_000;

/// How often lines are handed over: in fewer and larger batches than those of userspace's threads, whose queue it is.
const FLUSH_NS: u64 = 250_000_000;

/// What the log says of a request whose answer was not seen to begin in that time.
const UNANSWERED: &str = "no answer seen";

/// The access log of the kernel tiers.
pub(super) struct Logged {
    lines: Lines,
    one_in: u32,
    waiting: HashMap<(Tuple, u32), Told>,
    looked_ns: u64,
    flushed_ns: u64,
    quiet: Quiet,
}

/// What was told of a request so far.
#[derive(Clone, Copy)]
struct Told {
    asked: Option<Event>,
    answered: Option<Event>,
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
    fn wall(self, boot_ns: u64) -> SystemTime {
        self.wall - Duration::from_nanos(self.boot_ns.saturating_sub(boot_ns))
    }
}

impl Told {
    /// The newest of it.
    fn last(&self) -> Option<&Event> {
        self.answered.as_ref().or(self.asked.as_ref())
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
                self.ended(event, names);
            } else if event.tier != 3 {
                self.asked(event, names);
            }
        }
        let now_ns = names.now.boot_ns;
        if now_ns.saturating_sub(self.looked_ns) >= LOOK_NS {
            self.looked_ns = now_ns;
            self.give_up(now_ns.saturating_sub(PATIENCE_NS), names);
        }
        if now_ns.saturating_sub(self.flushed_ns) >= FLUSH_NS {
            self.flushed_ns = now_ns;
            self.lines.flush();
        }
    }

    /// The last lines: those of requests that wait.
    pub(super) fn finish(mut self, names: &Names<'_>) {
        self.give_up(u64::MAX, names);
    }

    /// Logs those of which nothing was heard since `limit_ns`.
    fn give_up(&mut self, limit_ns: u64, names: &Names<'_>) {
        let is_late = |told: &Told| told.last().is_none_or(|event| event.time < limit_ns);
        let late: Vec<_> = self.waiting.extract_if(|_, told| is_late(told)).collect();
        for (_, told) in late {
            self.write(&told, None, names);
        }
    }

    fn asked(&mut self, event: &Event, names: &Names<'_>) {
        if !Event::is_drawn(event.lot, self.one_in) {
            return;
        }
        match self.waiting.get_mut(&key(event)) {
            Some(Told { asked: Some(asked), .. }) if asked.lot == event.lot => {
                // It goes to another endpoint, or again: what it asks for was told before.
                asked.endpoint = event.endpoint;
                return;
            }
            // An earlier connection from the same port.
            Some(told) => {
                let before = std::mem::replace(told, Told { asked: Some(*event), answered: None });
                self.write(&before, None, names);
                return;
            }
            None => {}
        }
        if self.waiting.len() < WAITING_MAX {
            self.waiting.insert(key(event), Told { asked: Some(*event), answered: None });
        }
    }

    fn answered(&mut self, event: &Event, names: &Names<'_>) {
        let mut told = Told { asked: None, answered: Some(*event) };
        if let Some(before) = self.waiting.remove(&key(event)) {
            if before.last().is_some_and(|before| before.lot == event.lot) {
                told.asked = before.asked;
            } else {
                self.write(&before, None, names);
            }
        }
        let is_whole = event.flags & Event::WHOLE != 0;
        // Of what was told only since it failed, the end is not.
        let ends_later = !is_whole
            && event.flags & Event::ENDLESS == 0
            && Event::is_drawn(event.lot, self.one_in)
            && self.waiting.len() < WAITING_MAX;
        if ends_later {
            self.waiting.insert(key(event), told);
        } else {
            self.write(&told, is_whole.then_some(event), names);
        }
    }

    fn ended(&mut self, event: &Event, names: &Names<'_>) {
        let is_answer = |told: &Told| told.answered.is_some_and(|answer| answer.lot == event.lot);
        if self.waiting.get(&key(event)).is_some_and(is_answer)
            && let Some(told) = self.waiting.remove(&key(event))
        {
            self.write(&told, Some(event), names);
        }
    }

    fn write(&mut self, told: &Told, ended: Option<&Event>, names: &Names<'_>) {
        let Some(last) = told.last() else { return };
        // A response is told with the route of its connection's newest request.
        let asked = told.asked.as_ref();
        let route = (names.route)(asked.map_or(last.route, |asked| asked.route));
        let is_failed = last.status >= 400;
        let is_drawn = Event::is_drawn(last.lot, self.one_in);
        let is_quiet = route.as_ref().is_some_and(|route| self.quiet.routes.contains(route));
        if !is_failed && (!is_drawn || is_quiet) {
            return;
        }
        let listener = (names.listener)(last.listener);
        let began_ns = asked.map_or(last.time.saturating_sub(last.first_byte_ns), |asked| asked.time);
        let asked = asked.filter(|asked| asked.path_len > 0);
        let (path, host) = asked.map(|asked| (path(asked), host(asked).to_ascii_lowercase())).unzip();
        let first_byte = told.answered.map(|answer| answer.first_byte_ns).filter(|took| *took > 0);
        let bytes_out = |ended: &Event| Some(ended.ends_at.wrapping_sub(told.answered?.begins_at).into());
        self.lines.add(&Entry {
            time: Some(names.now.wall(began_ns)),
            client: Some(flow::source(&last.client)),
            listener: (!listener.is_empty()).then_some(&listener as &dyn Show),
            route: route.as_ref().map(|route| route as &dyn Show),
            endpoint: (names.endpoint)(last.endpoint),
            method: asked.and_then(|asked| method(asked.method)),
            host: host.as_deref(),
            path: path.as_deref(),
            status: last.status,
            reason: told.answered.is_none().then_some(UNANSWERED),
            tier: last.tier,
            bytes_in: asked.map(|asked| asked.len.into()),
            bytes_out: ended.and_then(bytes_out),
            duration: ended.and_then(|ended| duration(told, ended)),
            first_byte: first_byte.map(Duration::from_nanos),
            protocol: Some("HTTP/1.1"),
            ..Entry::default()
        });
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

/// How long the first byte took and those behind it. Where that is not known, as behind early hints, from when the request was told of.
fn duration(told: &Told, ended: &Event) -> Option<Duration> {
    let nanoseconds = match (&told.asked, &told.answered) {
        (_, Some(answer)) if answer.first_byte_ns > 0 => {
            answer.first_byte_ns.saturating_add(ended.time.saturating_sub(answer.time))
        }
        (Some(asked), _) => ended.time.saturating_sub(asked.time),
        _ => return None,
    };
    Some(Duration::from_nanos(nanoseconds))
}

/// What a request asks for; empty where that was not told.
pub(super) fn path(event: &Event) -> String {
    text(&event.path, event.path_len)
}

/// The host that it names.
pub(super) fn host(event: &Event) -> String {
    text(&event.host, event.host_len)
}

/// Bytes as they came. Whoever shows them escapes them.
fn text(bytes: &[u8], len: u16) -> String {
    let whole = usize::from(len);
    let told = String::from_utf8_lossy(&bytes[..whole.min(bytes.len())]).into_owned();
    if whole > bytes.len() { told + "..." } else { told }
}

pub(super) fn method(number: u8) -> Option<&'static str> {
    const NAMES: [(Method, &str); 7] = [
        (Method::Get, "GET"),
        (Method::Head, "HEAD"),
        (Method::Post, "POST"),
        (Method::Put, "PUT"),
        (Method::Delete, "DELETE"),
        (Method::Patch, "PATCH"),
        (Method::Options, "OPTIONS"),
    ];
    NAMES.iter().find(|(method, _)| *method as u8 == number).map(|(_, name)| *name)
}
