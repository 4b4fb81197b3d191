//! Sampled events of the programs, for whoever listens: asked for with the first stream, given up with the last.

use std::time::Duration;

use api::KernelError;
use api::v1::TraceEvent;
use loader::Events;
use telemetry::access::Lines;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tracing::{info, warn};
use wire::{Event, Reason, Settings};

use super::logged::{Logged, Moment, Names, text};
use super::questions::failed;
use super::{Inner, Kernel};
use crate::view::flow;

/// Events that a stream may be behind before it loses some.
const BEHIND_MAX: usize = 4096;

/// Events that may wait, four megabytes of them, while others hold the lock that they are looked at under.
const HELD_MAX: usize = 16_384;

/// How soon a stream that was left is noticed.
const PATIENCE: Duration = Duration::from_millis(100);

/// Who is told of requests.
#[derive(Default)]
pub(super) struct Streams {
    all: Vec<Stream>,
    /// The access log, if it has what the kernel serves.
    logged: Option<Logged>,
    /// Whether a thread reads events.
    is_read: bool,
}

struct Stream {
    one_in: u32,
    lost: u64,
    to: Sender<TraceEvent>,
}

impl Streams {
    /// The finest sample that anybody wants; none if nobody listens.
    fn every(&self) -> Option<u32> {
        let streams = self.all.iter().map(|stream| stream.one_in);
        streams.chain(self.logged.as_ref().map(Logged::one_in)).min()
    }
}

impl Kernel {
    /// Events from now on, one in `one_in`, until the receiver is dropped.
    pub(crate) fn trace(&self, one_in: u32) -> Result<Receiver<TraceEvent>, KernelError> {
        let mut inner = self.lock();
        inner.tier()?;
        let (to, receiver) = mpsc::channel(BEHIND_MAX);
        inner.streams.all.push(Stream { one_in: one_in.max(1), lost: 0, to });
        if let Err(error) = self.listen(&mut inner) {
            inner.streams.all.pop();
            return Err(error);
        }
        info!(one_in, streams = inner.streams.all.len(), "traces requests in the kernel");
        Ok(receiver)
    }

    /// Logs one in `one_in` of the requests that the kernel decides, and those that fail, for as long as there are programs.
    pub(crate) fn log(&self, lines: Lines, one_in: u32) {
        let mut inner = self.lock();
        if inner.tier().is_err() {
            return;
        }
        inner.streams.logged = Some(Logged::new(lines, one_in));
        if let Err(error) = self.listen(&mut inner) {
            inner.streams.logged = None;
            warn!(
                "requests that the kernel serves are not in the access log: {:#}",
                anyhow::Error::from(error)
            );
        }
    }

    /// Sees to it that a thread reads what the programs tell, and that they tell enough.
    fn listen(&self, inner: &mut Inner) -> Result<(), KernelError> {
        if !inner.streams.is_read {
            let (datapath, _) = inner.tier()?;
            let events = datapath.events().map_err(failed)?;
            let kernel = self.clone();
            std::thread::Builder::new()
                .name("rauta-trace".to_owned())
                .spawn(move || read(&kernel, events))
                .map_err(|error| KernelError::Failed(Box::new(error)))?;
            inner.streams.is_read = true;
        }
        inner.sample().map_err(failed)
    }
}

/// Whoever reads events. If that breaks off, those who listen hear of it, and the next one has a reader again.
struct Reading<'k>(&'k Kernel);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut inner = self.0.lock();
            inner.fall_silent();
            inner.streams.is_read = false;
            warn!(
                "nobody reads what the kernel tells of requests: traces end, and the access log is without"
            );
        }
    }
}

/// Reads until nobody listens.
fn read(kernel: &Kernel, mut events: Events) {
    let _reading = Reading(kernel);
    let mut held = Vec::new();
    loop {
        events.wait(PATIENCE);
        if !hold(kernel, &mut held, std::iter::from_fn(|| events.take())) {
            return;
        }
    }
}

/// Takes what was told, and gives it to whoever listens unless others are at the kernel's tables, which takes them longer than the buffer
/// has room for: then it is held, as much as may be. Whether anybody listens still.
fn hold(kernel: &Kernel, held: &mut Vec<Event>, events: impl Iterator<Item = Event>) -> bool {
    held.extend(events.take(HELD_MAX - held.len()));
    let inner = if held.len() < HELD_MAX { kernel.try_lock() } else { Some(kernel.lock()) };
    inner.is_none_or(|mut inner| {
        let listens = inner.tell(held);
        held.clear();
        listens
    })
}

impl Inner {
    /// Gives events to the streams. Whether anybody listens still.
    fn tell(&mut self, events: &[Event]) -> bool {
        let before = self.streams.all.len();
        let mut streams = std::mem::take(&mut self.streams.all);
        // Without programs nothing comes any more: the streams end.
        streams.retain(|stream| self.datapath.is_some() && !stream.to.is_closed());
        for event in events {
            let mut shown = None;
            for stream in &mut streams {
                if !Event::is_drawn(event.lot, stream.one_in) {
                    continue;
                }
                let shown = shown.get_or_insert_with(|| self.event(event)).clone();
                match stream.to.try_send(TraceEvent { lost: stream.lost, ..shown }) {
                    Ok(()) => stream.lost = 0,
                    Err(TrySendError::Full(_)) => stream.lost += 1,
                    // Let go the next time.
                    Err(TrySendError::Closed(_)) => {}
                }
            }
        }
        self.streams.all = streams;
        self.log(events);
        if self.streams.all.len() != before
            && let Err(error) = self.sample()
        {
            warn!("the kernel's sampling of requests is not up to date: {:#}", anyhow::Error::from(error));
        }
        let (traced, logged) = (!self.streams.all.is_empty(), self.streams.logged.is_some());
        if before > 0 && !traced {
            info!("traces nothing any more");
        }
        self.streams.is_read = traced || logged;
        self.streams.is_read
    }

    /// Gives events to the access log, if there is one.
    fn log(&mut self, events: &[Event]) {
        let Some(mut logged) = self.streams.logged.take() else { return };
        let routing = self.routing.as_ref();
        let names = Names {
            route: &|index| routing?.route(index).cloned(),
            endpoint: &|index| routing?.endpoint(index),
            listener: &|index| self.listener_at(index),
            now: Moment::now(),
        };
        logged.take(events, self.snapshot.as_ref(), &names);
        self.streams.logged = Some(logged);
    }

    /// Logs what waits for its response: nothing comes any more.
    pub(super) fn finish_log(&mut self) {
        if let Some(logged) = self.streams.logged.take() {
            logged.finish(Moment::now());
        }
    }

    /// Has the programs tell nothing more: nobody will read it.
    pub(super) fn fall_silent(&mut self) {
        self.streams = Streams { is_read: self.streams.is_read, ..Streams::default() };
        if let Err(error) = self.sample() {
            warn!("the programs that stay tell of requests: {:#}", anyhow::Error::from(error));
        }
    }

    /// Tells the programs how much is wanted.
    fn sample(&mut self) -> Result<(), loader::MapError> {
        let every = self.streams.every();
        let Some(datapath) = &mut self.datapath else { return Ok(()) };
        let settings = *datapath.settings();
        let mut flags = settings.flags & !(Settings::TRACE | Settings::TRACE_ERRORS);
        if every.is_some() {
            flags |= Settings::TRACE;
        }
        if self.streams.logged.is_some() {
            flags |= Settings::TRACE_ERRORS;
        }
        datapath.set_settings(&Settings { flags, trace_every: every.unwrap_or(0), ..settings })
    }

    /// An event with the names of what it tells of.
    fn event(&self, event: &Event) -> TraceEvent {
        let reason = Reason::ALL.into_iter().find(|reason| *reason as u8 == event.reason);
        let routing = self.routing.as_ref();
        let told = Some(event).filter(|event| event.path_len > 0);
        TraceEvent {
            boot_ns: event.time,
            client: flow::source(&event.client).to_string(),
            vip: flow::destination(&event.client).to_string(),
            listener: self.listener_at(event.listener),
            route: routing.map(|routing| routing.route_name(event.route)).unwrap_or_default(),
            endpoint: routing.map(|routing| routing.endpoint_name(event.endpoint)).unwrap_or_default(),
            tier: event.tier.into(),
            reason: reason.map_or("", Reason::as_str).to_owned(),
            meaning: reason.map_or("", Reason::meaning).to_owned(),
            status: event.status.into(),
            first_byte_ns: event.first_byte_ns,
            method: told.and_then(|told| text::method(told.method)).unwrap_or_default().to_owned(),
            host: told.map(text::host).unwrap_or_default(),
            path: told.map(text::path).unwrap_or_default(),
            lost: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::OnExit;

    #[test]
    fn streams_end_with_the_programs() {
        let kernel = Kernel::without("off", OnExit::Detach);
        let (to, mut receiver) = mpsc::channel(1);
        let mut inner = kernel.lock();
        inner.streams.all.push(Stream { one_in: 1, lost: 0, to });
        assert!(!inner.tell(&[Event::default()]));
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn what_is_told_while_others_are_at_the_tables_is_held() {
        let kernel = Kernel::without("off", OnExit::Detach);
        let mut held = Vec::new();
        let inner = kernel.lock();
        assert!(hold(&kernel, &mut held, vec![Event::default(); 5000].into_iter()));
        assert!(hold(&kernel, &mut held, vec![Event::default(); 5000].into_iter()));
        assert_eq!(held.len(), 10_000);
        drop(inner);
        // Nobody listens.
        assert!(!hold(&kernel, &mut held, std::iter::empty()));
        assert!(held.is_empty());
    }

    #[test]
    fn no_more_is_held_than_may_be() {
        let kernel = Kernel::without("off", OnExit::Detach);
        let mut left = HELD_MAX + 1;
        let (is_full, full) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let inner = kernel.lock();
            let (left, kernel) = (&mut left, &kernel);
            let reader = scope.spawn(move || {
                let mut held = Vec::new();
                let events = std::iter::from_fn(|| {
                    *left -= 1;
                    let _ = (*left == 1).then(|| is_full.send(()));
                    Some(Event::default())
                });
                (hold(kernel, &mut held, events), held.len())
            });
            full.recv().unwrap();
            drop(inner);
            assert_eq!(reader.join().unwrap(), (false, 0), "it waited for the lock");
        });
        assert_eq!(left, 1, "the last one was not taken");
    }

    #[test]
    fn a_reader_that_breaks_off_leaves_nobody_waiting() {
        let kernel = Kernel::without("off", OnExit::Detach);
        let (to, mut receiver) = mpsc::channel(1);
        let mut inner = kernel.lock();
        inner.streams.all.push(Stream { one_in: 1, lost: 0, to });
        inner.streams.is_read = true;
        drop(inner);
        let reader = kernel.clone();
        let broken = std::thread::spawn(move || {
            let _reading = Reading(&reader);
            std::panic::resume_unwind(Box::new("broken"));
        });
        assert!(broken.join().is_err());
        assert!(!kernel.lock().streams.is_read);
        assert!(receiver.blocking_recv().is_none(), "the stream has ended");
    }
}
