//! Spliced connections and their legs.

use wire::{Closed, EndpointHealth, EndpointRecord, Flow, Leg, Tuple};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    BACKEND_FAILURES, CLOSED, ENDPOINTS, FLOWS, LEGS, Maps,
    raw::{BPF_F_LOCK, BPF_NOEXIST},
};
use crate::{InUse, MapError};

impl Maps {
    /// Shows every flow to `see`, each copied under its lock.
    pub(crate) fn each_flow(&self, mut see: impl FnMut(&Flow)) -> Result<(), MapError> {
        let flows = self.raw(FLOWS)?;
        flows.check::<Tuple, Flow>()?;
        flows.each(BPF_F_LOCK, |_, value| {
            // Copied: the bytes of a batch need not be aligned.
            if let Ok(flow) = Flow::read_from_bytes(value) {
                see(&flow);
            }
        })
    }

    /// How many flows and how many legs there are, and for how many there is room.
    pub(crate) fn in_use(&self) -> Result<InUse, MapError> {
        let (flows, legs) = (self.raw(FLOWS)?, self.raw(LEGS)?);
        let mut in_use = InUse { flows_max: flows.capacity(), legs_max: legs.capacity(), ..InUse::default() };
        flows.each(0, |_, _| in_use.flows += 1)?;
        legs.each(0, |_, _| in_use.legs += 1)?;
        in_use.waiting = self.waiting_legs()?;
        Ok(in_use)
    }

    /// The flow of that client connection.
    pub(crate) fn flow(&self, client: &Tuple) -> Result<Option<Flow>, MapError> {
        self.raw(FLOWS)?.get(client, BPF_F_LOCK)
    }

    /// Adds a flow, unless the client has begun another connection since.
    pub(crate) fn insert_flow(&self, flow: &Flow) -> Result<(), MapError> {
        match self.raw(FLOWS)?.put(flow.client.as_bytes(), flow.as_bytes(), BPF_NOEXIST) {
            Err(MapError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result,
        }
    }

    /// Removes a flow and the leg that is still its own; the record as it was in the end.
    pub(crate) fn remove_flow(&self, client: &Tuple) -> Result<Option<Flow>, MapError> {
        let Some(flow) = self.flow(client)? else { return Ok(None) };
        // As the programs do: a late copy of its first request must not begin it anew, not even just behind the removal. Who
        // finds the record meanwhile does not look for this.
        self.note_closed(&flow)?;
        let noted = flow.isn;
        let Some(flow) = self.raw(FLOWS)?.take::<Tuple, Flow>(client, BPF_F_LOCK)? else { return Ok(None) };
        if flow.isn != noted {
            // Another connection of the client took its place in between.
            self.note_closed(&flow)?;
        }
        if flow.leg != Tuple::default() {
            let legs = self.raw(LEGS)?;
            if legs.get::<Tuple, Leg>(&flow.leg, 0)?.is_some_and(|leg| leg.client == *client) {
                legs.remove(flow.leg.as_bytes())?;
            }
        }
        Ok(Some(flow))
    }

    /// Remembers a connection that is over.
    fn note_closed(&self, flow: &Flow) -> Result<(), MapError> {
        let closed = Closed { isn: flow.isn, is_over: 1 };
        self.raw(CLOSED)?.put(flow.client.as_bytes(), closed.as_bytes(), 0)
    }

    /// Removes the legs that were given up before `before` (nanoseconds, the programs' clock), and returns them.
    pub(crate) fn take_left_legs(&self, before: u64) -> Result<Vec<(Tuple, Leg)>, MapError> {
        let legs = self.raw(LEGS)?;
        legs.check::<Tuple, Leg>()?;
        let mut left = Vec::new();
        legs.each(0, |key, value| {
            if let (Ok(key), Ok(leg)) = (Tuple::read_from_bytes(key), Leg::read_from_bytes(value))
                && leg.client == Tuple::default()
                && leg.opened < before
            {
                left.push((key, leg));
            }
        })?;
        let mut taken = Vec::with_capacity(left.len());
        for (key, leg) in left {
            if legs.remove(key.as_bytes())? {
                taken.push((key, leg));
            }
        }
        Ok(taken)
    }

    /// Removes remembered legs without a flow that were opened before `before` (nanoseconds, the programs' clock). How
    /// many.
    pub(crate) fn forget_legs(&self, before: u64) -> Result<usize, MapError> {
        let legs = self.raw(LEGS)?;
        legs.check::<Tuple, Leg>()?;
        let mut old = Vec::new();
        legs.each(0, |key, value| {
            if let (Ok(key), Ok(leg)) = (Tuple::read_from_bytes(key), Leg::read_from_bytes(value))
                && leg.opened < before
            {
                old.push((key, leg));
            }
        })?;
        let mut forgotten = 0;
        for (key, leg) in old {
            // A long-lived connection's leg is old too, and so is one that waits for the next.
            let is_used = leg.client != Tuple::default()
                && (self.flow(&leg.client)?.is_some_and(|flow| flow.leg == key) || self.is_waiting(&key)?);
            // One that waited may be a client's by now: then the entry is another.
            let goes = !is_used && legs.get::<Tuple, Leg>(&key, 0)? == Some(leg);
            forgotten += usize::from(goes && legs.remove(key.as_bytes())?);
        }
        Ok(forgotten)
    }

    /// Every endpoint's record, by its index.
    pub(crate) fn endpoints(&self) -> Result<Vec<EndpointRecord>, MapError> {
        let map = self.raw(ENDPOINTS)?;
        map.check::<u32, EndpointRecord>()?;
        let mut endpoints = Vec::with_capacity(wire::ENDPOINTS_MAX);
        // An array's batches come in the order of its indices.
        map.each(0, |_, value| endpoints.extend(EndpointRecord::read_from_bytes(value)))?;
        Ok(endpoints)
    }

    /// How the endpoint of that index fares; `None` for an index that the map does not have.
    pub(crate) fn endpoint_health(&self, endpoint: u32) -> Result<Option<EndpointHealth>, MapError> {
        self.raw(BACKEND_FAILURES)?.get(&endpoint, 0)
    }
}
