//! What the programs counted, for metrics and for `rauta status`.

use api::v1::{KernelTier, RunTime};
use loader::{Answered, Datapath, ListenerAddress};
use telemetry::{DatapathCounters, KernelCounters, KernelResponses, ListenerCounters};
use wire::{BUCKETS, Reason, Responses};

use super::{Inner, Kernel, room};

/// Programs and their counters may be older than the agent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Baseline {
    requests: u64,
    hand_offs: u64,
}

impl Baseline {
    pub(super) fn of(datapath: &Datapath) -> Self {
        let reasons = counts(datapath);
        let sum = |wanted: fn(Reason) -> bool| {
            reasons.iter().filter(|(reason, _)| wanted(*reason)).map(|(_, count)| count).sum()
        };
        Self {
            requests: sum(|reason| {
                matches!(reason, Reason::Bound | Reason::Reused | Reason::Rebound | Reason::Pooled)
            }),
            hand_offs: sum(Reason::is_hand_off),
        }
    }
}

/// The reasons that were given, and how often.
pub(super) fn counts(datapath: &Datapath) -> Vec<(Reason, u64)> {
    let counted = datapath.reasons().unwrap_or_default();
    let count = |reason: Reason| counted.get(usize::from(reason as u8)).copied().unwrap_or(0);
    Reason::ALL.into_iter().map(|reason| (reason, count(reason))).filter(|(_, count)| *count > 0).collect()
}

impl Kernel {
    /// What the kernel has counted; none without programs.
    pub(crate) fn counters(&self) -> Option<DatapathCounters> {
        let mut inner = self.lock();
        let kernel = inner.kernel_counters();
        let datapath = inner.datapath.as_ref()?;
        let total = datapath.metrics().ok()?;
        let counted = datapath.listener_counters().ok()?;
        let listener = |(at, counters): (ListenerAddress, wire::ListenerCounters)| ListenerCounters {
            listener: inner.listener_name(at),
            address: text(at),
            packets: counters.packets,
            connections: counters.connections,
        };
        Some(DatapathCounters {
            packets_total: total.packets_total,
            packets_tier1: total.packets_tier1,
            packets_tier2: total.packets_tier2,
            packets_tier3: total.packets_tier3,
            packets_dropped: total.packets_dropped,
            http_parse_errors: total.http_parse_errors,
            listeners: counted.into_iter().map(listener).collect(),
            kernel,
        })
    }

    /// What the kernel tier does; none where it does not route.
    pub(crate) fn tier(&self) -> Option<KernelTier> {
        let inner = self.lock();
        let datapath = inner.datapath.as_ref().filter(|_| inner.routing.is_some())?;
        let (now, before) = (Baseline::of(datapath), inner.before);
        let in_use = datapath.in_use().unwrap_or_default();
        Some(KernelTier {
            requests: now.requests.saturating_sub(before.requests),
            hand_offs: now.hand_offs.saturating_sub(before.hand_offs),
            flows: in_use.flows,
            flows_max: in_use.flows_max,
            legs: in_use.legs,
            legs_max: in_use.legs_max,
            run_time: datapath.run_time().map(|time| RunTime {
                measured: time.is_measured,
                nanoseconds: u64::try_from(time.total.as_nanos()).unwrap_or(u64::MAX),
                packets: time.packets,
            }),
        })
    }
}

impl Inner {
    /// The listeners at an address, joined by commas.
    pub(super) fn listener_name(&self, at: ListenerAddress) -> String {
        let ids = self.listeners.get(&at).map(Vec::as_slice).unwrap_or_default();
        ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// The listeners of an index that programs tell of.
    pub(super) fn listener_at(&self, index: u32) -> String {
        let found = self.routing.as_ref().and_then(|routing| routing.listeners().get(&index).copied());
        found.map(|(address, port)| self.listener_name(ListenerAddress { address, port })).unwrap_or_default()
    }

    fn kernel_counters(&mut self) -> Option<KernelCounters> {
        let [routes, endpoints] = self.routing.as_mut()?.answered(self.datapath.as_ref()?);
        let routes = routes.counted().map(|(name, counted)| series(vec![("route", name.clone())], counted));
        let endpoints =
            endpoints.counted().map(|(name, counted)| series(vec![("endpoint", name.clone())], counted));
        let (routes, endpoints) = (routes.collect(), endpoints.collect());
        let (datapath, routing) = (self.datapath.as_ref()?, self.routing.as_ref()?);
        let in_use = datapath.in_use().ok()?;
        let events = counts(datapath);
        let responses = routing.listeners().iter().filter_map(|(&index, &(address, port))| {
            let at = ListenerAddress { address, port };
            let counted = datapath.responses(Answered::AtListener(index)).ok()?.unwrap_or_default();
            Some(series(vec![("listener", self.listener_name(at)), ("address", text(at))], &counted))
        });
        Some(KernelCounters {
            events: events.into_iter().map(|(r, count)| (r.kind(), r.as_str(), count)).collect(),
            responses: responses.collect(),
            routes,
            endpoints,
            flows: in_use.flows,
            flows_max: in_use.flows_max.into(),
            legs: in_use.legs,
            legs_max: in_use.legs_max.into(),
            legs_waiting: in_use.waiting,
            table_writes: routing.table_writes(),
            tables: room::tables(routing).collect(),
            growths: self.growth.counted(),
            map_bytes: room::map_bytes(&datapath.memory()),
        })
    }
}

fn series(labels: Vec<(&'static str, String)>, counted: &Responses) -> KernelResponses {
    let [other, classes @ ..] = counted.classes;
    KernelResponses {
        labels,
        classes: [classes[0], classes[1], classes[2], classes[3], classes[4], other],
        first_byte: buckets(&counted.first_byte),
        first_byte_ns: counted.first_byte_ns,
    }
}

/// Upper bounds in microseconds, each with its own count; the last bucket has none.
fn buckets(counts: &[u64; BUCKETS]) -> Vec<(Option<u64>, u64)> {
    let bound = |bucket: usize| (bucket + 1 < BUCKETS).then(|| 1 << bucket);
    counts.iter().enumerate().map(|(bucket, count)| (bound(bucket), *count)).collect()
}

fn text(at: ListenerAddress) -> String {
    match at.address {
        Some(address) => std::net::SocketAddr::new(address, at.port).to_string(),
        None => format!("*:{}", at.port),
    }
}

#[cfg(test)]
mod tests {
    use wire::Responses;

    use super::*;

    #[test]
    fn a_time_is_below_the_bound_of_its_bucket() {
        let buckets = buckets(&[0; BUCKETS]);
        for us in [0, 1, 7, 900, 1_000_000, 4_000_000, u64::MAX / 1000] {
            let bucket = Responses::bucket(us * 1000);
            assert!(buckets[bucket].0.is_none_or(|bound| us < bound), "{us} in {bucket}");
            assert!(
                bucket == 0 || buckets[bucket - 1].0.is_some_and(|bound| us >= bound),
                "{us} in {bucket}"
            );
        }
        assert_eq!(buckets.iter().filter(|(bound, _)| bound.is_none()).count(), 1);
    }
}
