//! Sampled events of the programs, for whoever listens: asked for with the first stream, given up with the last.

use std::time::{Duration, SystemTime};

use api::KernelError;
use api::v1::TraceEvent;
use loader::Events;
use telemetry::access::Lines;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tracing::{info, warn};
use wire::{Event, Reason, Settings};

use super::logged::{self, Logged, Moment, Names};
use super::questions::failed;
use super::{Inner, Kernel};
use crate::view::flow;

/// Events that a stream may be behind before it loses some.
const BEHIND_MAX: usize = 4096;

/// Events looked at under one lock.
const BATCH: usize = 256;

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

/// Reads until nobody listens.
fn read(kernel: &Kernel, mut events: Events) {
    let mut taken = Vec::with_capacity(BATCH);
    loop {
        events.wait(PATIENCE);
        taken.extend(std::iter::from_fn(|| events.take()).take(BATCH));
        if !kernel.lock().tell(&taken) {
            return;
        }
        taken.clear();
    }
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
        self.named(|names| logged.take(events, self.snapshot.as_ref(), names));
        self.streams.logged = Some(logged);
    }

    /// Logs what waits for its response: nothing comes any more.
    pub(super) fn finish_log(&mut self) {
        if let Some(logged) = self.streams.logged.take() {
            self.named(|names| logged.finish(names));
        }
    }

    fn named(&self, work: impl FnOnce(&Names<'_>)) {
        let routing = self.routing.as_ref();
        work(&Names {
            route: &|index| routing?.route(index).cloned(),
            endpoint: &|index| routing?.endpoint(index),
            listener: &|index| self.listener_at(index),
            now: Moment { boot_ns: loader::now(), wall: SystemTime::now() },
        });
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
            method: told.and_then(|told| logged::method(told.method)).unwrap_or_default().to_owned(),
            host: told.map(logged::host).unwrap_or_default(),
            path: told.map(logged::path).unwrap_or_default(),
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
}
