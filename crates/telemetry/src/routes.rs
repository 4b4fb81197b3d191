use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use crate::GatewayMetrics;
use crate::family::OTHER;

/// The counters of routes: as many as are asked for have their own, the others share one.
#[derive(Debug, Default)]
pub(crate) struct RouteCounters {
    max: AtomicUsize,
    counted: RwLock<BTreeMap<String, Arc<GatewayMetrics>>>,
}

impl RouteCounters {
    /// From now on so many routes have counters of their own; 0: none are counted.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    /// The counters of each of these routes, which are all there are: those of others go. Who has counters keeps them; what is
    /// free goes to the first that have none, and the rest count as [`OTHER`]. Empty if none are counted.
    pub(crate) fn of_all(
        &self,
        routes: impl Iterator<Item = String>,
        shards: usize,
    ) -> Vec<Arc<GatewayMetrics>> {
        let max = self.max.load(Relaxed);
        if max == 0 {
            return Vec::new();
        }
        let routes: Vec<String> = routes.collect();
        let mut counted = self.counted.write().unwrap_or_else(PoisonError::into_inner);
        let known: BTreeSet<&str> = routes.iter().map(String::as_str).collect();
        counted.retain(|route, _| route == OTHER || known.contains(route.as_str()));
        let mut own = counted.keys().filter(|route| *route != OTHER).count();
        let mut of = |route: String| {
            let name = if counted.contains_key(&route) {
                route
            } else if own < max {
                own += 1;
                route
            } else {
                OTHER.to_owned()
            };
            counted.entry(name).or_insert_with(|| Arc::new(GatewayMetrics::new(shards))).clone()
        };
        routes.into_iter().map(&mut of).collect()
    }

    /// Every route that is counted by itself, and the others, sorted by name.
    pub(crate) fn all(&self) -> Vec<(String, Arc<GatewayMetrics>)> {
        let counted = self.counted.read().unwrap_or_else(PoisonError::into_inner);
        counted.iter().map(|(route, metrics)| (route.clone(), Arc::clone(metrics))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(counters: &RouteCounters) -> Vec<String> {
        counters.all().into_iter().map(|(name, _)| name).collect()
    }

    fn of(counters: &RouteCounters, routes: &[&str]) -> Vec<Arc<GatewayMetrics>> {
        counters.of_all(routes.iter().map(ToString::to_string), 1)
    }

    #[test]
    fn so_many_have_their_own_and_keep_them_and_what_goes_makes_room() {
        let counters = RouteCounters::default();
        assert!(of(&counters, &["a"]).is_empty());
        counters.set_max(2);
        let first = of(&counters, &["a", "b", "c", "d"]);
        assert_eq!(names(&counters), ["a", "b", "other"]);
        assert!(Arc::ptr_eq(&first[2], &first[3]) && !Arc::ptr_eq(&first[0], &first[1]));
        let second = of(&counters, &["0", "b", "c"]);
        assert_eq!(names(&counters), ["0", "b", "other"]);
        assert!(Arc::ptr_eq(&first[1], &second[1]), "what stays goes on counting");
        assert!(Arc::ptr_eq(&first[2], &second[2]));
    }
}
