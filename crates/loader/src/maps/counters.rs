//! What the programs counted.

use std::collections::HashSet;

use aya::{
    maps::{self, PerCpuValues},
    sys::SyscallError,
    util::nr_cpus,
};
use wire::{ListenerCounters, ListenerKey, Metrics, Reason, Responses};

use super::{Answered, LISTENER_COUNTERS, METRICS, Maps, REASONS, RESPONSES, Record, access};
use crate::{ListenerAddress, MapError};

impl Maps {
    /// The six counters, summed over CPUs.
    pub(crate) fn metrics(&self) -> Result<Metrics, MapError> {
        let values = self.metrics.get(&0, 0).map_err(access(METRICS))?;
        Ok(values.iter().fold(Metrics::default(), |sum, value| sum.merged(value.0)))
    }

    /// Counters per listener, summed over CPUs, in the order of address and port.
    pub(crate) fn listener_counters(&self) -> Result<Vec<(ListenerAddress, ListenerCounters)>, MapError> {
        let mut counters = Vec::new();
        for entry in self.listeners.iter() {
            let (key, values) = entry.map_err(access(LISTENER_COUNTERS))?;
            let sum = values.iter().fold(ListenerCounters::default(), |sum, value| sum.merged(value.0));
            counters.push((ListenerAddress::from_key(&key.0), sum));
        }
        counters.sort_unstable_by_key(|(listener, _)| *listener);
        Ok(counters)
    }

    /// Makes the map hold exactly `wanted`: removes what is gone, adds what is new, leaves the counters of the rest.
    pub(crate) fn set_listeners(&mut self, wanted: &[ListenerAddress]) -> Result<(), MapError> {
        let wanted: HashSet<ListenerKey> = wanted.iter().map(|listener| listener.key()).collect();
        let present: Result<HashSet<ListenerKey>, _> =
            self.listeners.keys().map(|key| key.map(|key| key.0)).collect();
        let present = present.map_err(access(LISTENER_COUNTERS))?;
        for gone in present.difference(&wanted) {
            self.listeners.remove(&Record(*gone)).map_err(access(LISTENER_COUNTERS))?;
        }
        let cpus =
            nr_cpus().map_err(|(_, error)| access(LISTENER_COUNTERS)(maps::MapError::IoError(error)))?;
        for new in wanted.difference(&present) {
            let zero = PerCpuValues::try_from(vec![Record(ListenerCounters::default()); cpus])
                .map_err(|error| access(LISTENER_COUNTERS)(maps::MapError::IoError(error)))?;
            self.listeners.insert(Record(*new), zero, 0).map_err(full_or_access)?;
        }
        Ok(())
    }

    /// How often each reason was given, summed over CPUs, by its number; empty in a build that only counts packets.
    pub(crate) fn reasons(&self) -> Result<Vec<u64>, MapError> {
        let Some(reasons) = &self.reasons else { return Ok(Vec::new()) };
        reasons
            .iter()
            .map(|values| {
                Ok(values.map_err(access(REASONS))?.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n)))
            })
            .collect()
    }

    /// How often this reason was given, summed over CPUs.
    pub(crate) fn counted(&self, reason: Reason) -> Result<u64, MapError> {
        let Some(reasons) = &self.reasons else { return Ok(0) };
        let values = reasons.get(&(reason as u32), 0).map_err(access(REASONS))?;
        Ok(values.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n)))
    }

    /// What was answered, summed over CPUs; none where nothing is counted.
    pub(crate) fn responses(&self, of: Answered) -> Result<Option<Responses>, MapError> {
        let (place, index) = match of {
            Answered::AtListener(index) => (0, index),
            Answered::ByRoute(index) => (1, index),
            Answered::ByEndpoint(index) => (2, index),
        };
        let (Some(map), Some(name)) =
            (self.responses.get(place).and_then(Option::as_ref), RESPONSES.get(place))
        else {
            return Ok(None);
        };
        if index >= map.len() {
            return Ok(None);
        }
        let cpus = map.get(&index, 0).map_err(access(name))?;
        Ok(Some(cpus.iter().fold(Responses::default(), |sum, Record(cpu)| sum.merged(cpu))))
    }
}

fn full_or_access(error: maps::MapError) -> MapError {
    match &error {
        maps::MapError::SyscallError(SyscallError { io_error, .. })
            if io_error.raw_os_error() == Some(libc::E2BIG) =>
        {
            MapError::Full
        }
        _ => access(LISTENER_COUNTERS)(error),
    }
}
