//! The ring buffer of sampled events.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::Duration,
};

use aya::maps::{Map, MapData, RingBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wire::Event;
use zerocopy::FromBytes;

use crate::{Datapath, MapError, maps::EVENTS};

/// Reads what the programs tell of requests while [`wire::Settings::TRACE`] is set. One reader at a time: what one takes no
/// other sees.
pub struct Events {
    buffer: RingBuf<MapData>,
}

impl Datapath {
    /// A reader of the events to come; those that nobody took before are thrown away.
    ///
    /// # Errors
    ///
    /// [`MapError::Access`] when the pinned buffer cannot be opened or mapped.
    pub fn events(&self) -> Result<Events, MapError> {
        let access = |source| MapError::Access { map: EVENTS, source };
        let map = MapData::from_pin(self.pin(EVENTS)).map_err(access)?;
        let buffer = Map::RingBuf(map).try_into().map_err(access)?;
        let mut events = Events { buffer };
        while events.take().is_some() {}
        Ok(events)
    }
}

impl Events {
    /// Waits up to `patience` for an event. Whether there is one.
    pub fn wait(&self, patience: Duration) -> bool {
        let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        // An interrupted wait is a short one.
        poll(&mut polled, patience).is_ok_and(|ready| ready > 0)
    }

    /// The oldest event that was not taken.
    pub fn take(&mut self) -> Option<Event> {
        // Entries are of one size: another one would be another build's, whose map would have another layout version.
        self.buffer.next().and_then(|bytes| Event::read_from_bytes(&bytes).ok())
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the buffer owns the descriptor and outlives what is borrowed from `self`.
        unsafe { BorrowedFd::borrow_raw(self.buffer.as_raw_fd()) }
    }
}
