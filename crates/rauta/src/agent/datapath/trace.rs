//! Sampled events of the programs, for whoever listens: asked for with the first stream, given up with the last.

use std::time::Duration;

use api::KernelError;
use api::v1::TraceEvent;
use loader::Events;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tracing::{info, warn};
use wire::{Event, Reason, Settings};

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
    /// Whether a thread reads events.
    is_read: bool,
}

struct Stream {
    one_in: u32,
    share: Share,
    lost: u64,
    to: Sender<TraceEvent>,
}

/// Takes one in so many of what is one in so many already.
#[derive(Debug, Default)]
struct Share(u64);

impl Share {
    /// Whether to take this one, of a sample of one in `every`, for a sample of one in `one_in`.
    fn take(&mut self, every: u32, one_in: u32) -> bool {
        self.0 += u64::from(every);
        let takes = self.0 >= u64::from(one_in);
        if takes {
            self.0 -= u64::from(one_in);
        }
        takes
    }
}

impl Streams {
    /// The finest sample that anybody wants; none if nobody listens.
    fn every(&self) -> Option<u32> {
        self.all.iter().map(|stream| stream.one_in).min()
    }
}

impl Kernel {
    /// Events from now on, one in `one_in`, until the receiver is dropped.
    pub(crate) fn trace(&self, one_in: u32) -> Result<Receiver<TraceEvent>, KernelError> {
        let mut inner = self.lock();
        let (datapath, _) = inner.tier()?;
        let events = if inner.streams.is_read { None } else { Some(datapath.events().map_err(failed)?) };
        let (to, receiver) = mpsc::channel(BEHIND_MAX);
        inner.streams.all.push(Stream { one_in: one_in.max(1), share: Share::default(), lost: 0, to });
        if let Some(events) = events {
            let kernel = self.clone();
            let read = std::thread::Builder::new()
                .name("rauta-trace".to_owned())
                .spawn(move || read(&kernel, events));
            if let Err(error) = read {
                inner.streams.all.clear();
                return Err(KernelError::Failed(Box::new(error)));
            }
            inner.streams.is_read = true;
        }
        inner.sample().map_err(failed)?;
        info!(one_in, streams = inner.streams.all.len(), "traces requests in the kernel");
        Ok(receiver)
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
        let every = self.streams.every().unwrap_or(1);
        let before = self.streams.all.len();
        let mut streams = std::mem::take(&mut self.streams.all);
        // Without programs nothing comes any more: the streams end.
        streams.retain(|stream| self.datapath.is_some() && !stream.to.is_closed());
        for event in events {
            let mut shown = None;
            for stream in &mut streams {
                if !stream.share.take(every, stream.one_in) {
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
        if self.streams.all.len() != before
            && let Err(error) = self.sample()
        {
            warn!("the kernel's sampling of requests is not up to date: {:#}", anyhow::Error::from(error));
        }
        self.streams.is_read = !self.streams.all.is_empty();
        if !self.streams.is_read {
            info!("traces nothing any more");
        }
        self.streams.is_read
    }

    /// Tells the programs how much is wanted.
    fn sample(&mut self) -> Result<(), loader::MapError> {
        let every = self.streams.every();
        let Some(datapath) = &mut self.datapath else { return Ok(()) };
        let settings = *datapath.settings();
        let flags = match every {
            Some(_) => settings.flags | Settings::TRACE,
            None => settings.flags & !Settings::TRACE,
        };
        datapath.set_settings(&Settings { flags, trace_every: every.unwrap_or(0), ..settings })
    }

    /// An event with the names of what it tells of.
    fn event(&self, event: &Event) -> TraceEvent {
        let reason = Reason::ALL.into_iter().find(|reason| *reason as u8 == event.reason);
        let routing = self.routing.as_ref();
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
            lost: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::OnExit;

    #[test]
    fn each_stream_gets_its_share_of_the_finest_sample() {
        for (every, one_in, expected) in [(1, 1, 60), (1, 4, 15), (4, 4, 60), (4, 10, 24), (2, 3, 40)] {
            let mut share = Share::default();
            let taken = (0..60).filter(|_| share.take(every, one_in)).count();
            assert_eq!(taken, expected, "1 in {one_in} of 1 in {every}");
        }
    }

    #[test]
    fn streams_end_with_the_programs() {
        let kernel = Kernel::without("off", OnExit::Detach);
        let (to, mut receiver) = mpsc::channel(1);
        let mut inner = kernel.lock();
        inner.streams.all.push(Stream { one_in: 1, share: Share::default(), lost: 0, to });
        assert!(!inner.tell(&[Event::default()]));
        assert!(receiver.try_recv().is_err());
    }
}
