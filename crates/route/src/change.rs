use std::sync::Arc;

use model::Route;

/// What became of a list of routes: those between two ends that stayed as they were are others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// So many stand at the beginning of both.
    pub(crate) head: usize,
    /// Where the end begins that both have: before,
    pub(crate) old_tail: usize,
    /// and now.
    pub(crate) new_tail: usize,
}

impl Change {
    /// Of equal records one is shared: comparing them would take as long as compiling.
    pub(crate) fn between(before: &[Arc<Route>], now: &[Arc<Route>]) -> Self {
        let is_same = |(a, b): &(&Arc<Route>, &Arc<Route>)| Arc::ptr_eq(a, b);
        let head = before.iter().zip(now).take_while(is_same).count();
        let (old, new) = (&before[head..], &now[head..]);
        let tail = old.iter().rev().zip(new.iter().rev()).take_while(is_same).count();
        Self { head, old_tail: before.len() - tail, new_tail: now.len() - tail }
    }

    /// Whether nothing is another.
    pub(crate) fn is_none(&self) -> bool {
        self.head == self.old_tail && self.head == self.new_tail
    }

    /// Where the route stands that stood at `place`; none: it is gone.
    pub(crate) fn moved(&self, place: u32) -> Option<u32> {
        let at = place as usize;
        if at < self.head {
            return Some(place);
        }
        let behind = at.checked_sub(self.old_tail)?;
        u32::try_from(self.new_tail + behind).ok()
    }

    /// Of places before, in order: those whose routes are gone.
    pub(crate) fn gone<'p>(&self, places: &'p [u32]) -> &'p [u32] {
        &places[below(places, self.head)..below(places, self.old_tail)]
    }

    /// The places of routes some of which stood at `before`, and of those that came stand at `new`. All are in order.
    pub(crate) fn places(&self, before: &[u32], new: &[u32]) -> Box<[u32]> {
        let (head, tail) = (&before[..below(before, self.head)], &before[below(before, self.old_tail)..]);
        let moved = tail.iter().filter_map(|&place| self.moved(place));
        head.iter().copied().chain(new.iter().copied()).chain(moved).collect()
    }
}

/// How many of these places, which are in order, are below `end`.
fn below(places: &[u32], end: usize) -> usize {
    places.partition_point(|&place| (place as usize) < end)
}

#[cfg(test)]
mod tests {
    use model::{Action, ObjectKind, ObjectRef, RouteId};

    use super::*;

    fn routes(names: &[&str]) -> Vec<Arc<Route>> {
        let route = |name: &&str| {
            let id = RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", name), rule: 0 };
            Arc::new(Route::new(id, Action::Respond { status: 200, reason: "test".into() }))
        };
        names.iter().map(route).collect()
    }

    #[test]
    fn what_stands_behind_a_change_moves() {
        let before = routes(&["a", "b", "c", "d"]);
        let now: Vec<_> = [&before[..1], &routes(&["x", "y", "z"]), &before[2..]].concat();
        let change = Change::between(&before, &now);
        assert_eq!(change, Change { head: 1, old_tail: 2, new_tail: 4 });
        assert_eq!([0, 1, 2, 3].map(|place| change.moved(place)), [Some(0), None, Some(4), Some(5)]);
        assert_eq!(change.gone(&[0, 1, 3]), [1]);
        assert_eq!(*change.places(&[0, 1, 3], &[1, 3]), [0, 1, 3, 5]);
    }

    #[test]
    fn equal_neighbours_are_not_counted_twice() {
        let one = routes(&["a"]);
        let two = [one.clone(), one.clone()].concat();
        let grown = Change::between(&one, &two);
        assert_eq!(grown, Change { head: 1, old_tail: 1, new_tail: 2 });
        assert_eq!(Change::between(&two, &one), Change { head: 1, old_tail: 2, new_tail: 1 });
        assert!(Change::between(&two, &two).is_none());
        assert!(!grown.is_none());
    }
}
