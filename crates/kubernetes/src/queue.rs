use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use model::{ObjectKind, ObjectRef};

use crate::pauses::Pauses;
use crate::status::is_route;
use crate::writer::{Mark, Write};

/// Writes under way at once: enough to leave the pace to the API server.
pub(crate) const AT_ONCE: usize = 8;

/// What is to be written, and what of it comes next.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The plan.
    planned: HashMap<ObjectRef, Planned>,
    /// What of it is not under way and not done, the next one last.
    waiting: Vec<Arc<Write>>,
    busy: HashMap<ObjectRef, Mark>,
    /// Of objects in the plan what was written last.
    done: HashMap<ObjectRef, Mark>,
    pauses: Pauses,
    /// Kinds of which the last write succeeded: others are tried with one.
    proven: HashSet<ObjectKind>,
    plans: u64,
}

#[derive(Debug)]
struct Planned {
    write: Arc<Write>,
    mark: Mark,
    /// The plan in which it came.
    plan: u64,
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum End {
    Written,
    /// It cannot be written like this, however often.
    Unfit,
    /// It follows from a version that is no more: another plan comes.
    Stale,
    /// Its kind is not tried until then.
    Failed(Instant),
}

impl Queue {
    /// Takes in a plan in place of the one before. What is new in it comes before what has waited longer, and routes behind all else: who
    /// waits for a Gateway should not wait for a thousand routes.
    pub(crate) fn plan(&mut self, plan: &[Arc<Write>]) {
        self.plans += 1;
        let mut before = std::mem::take(&mut self.planned);
        let known = |write: &Arc<Write>| match before.remove(write.object()) {
            Some(known) if Arc::ptr_eq(&known.write, write) => known,
            _ => Planned { write: Arc::clone(write), mark: write.mark(), plan: self.plans },
        };
        self.planned = plan.iter().map(known).map(|one| (one.write.object().clone(), one)).collect();
        self.done.retain(|object, _| self.planned.contains_key(object));
        self.pauses.retain(|object| self.planned.contains_key(object));
        let is_left = |write: &&Arc<Write>| {
            let object = write.object();
            let mark = self.planned.get(object).map(|one| &one.mark);
            self.done.get(object) != mark && self.busy.get(object) != mark
        };
        let mut waiting: Vec<_> = plan.iter().filter(is_left).cloned().collect();
        waiting.sort_by_cached_key(|write| {
            let object = write.object();
            let plan = self.planned.get(object).map(|one| one.plan);
            (self.pauses.has_failed(object), is_route(object.kind), Reverse(plan))
        });
        waiting.reverse();
        self.waiting = waiting;
    }

    /// What is to be written now, if something is: [`Queue::end`] has to follow.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Arc<Write>> {
        if self.busy.len() >= AT_ONCE {
            return None;
        }
        let may = |write: &Arc<Write>| {
            let object = write.object();
            let is_first = || self.busy.keys().all(|other| other.kind != object.kind);
            self.pauses.until(object.kind, now).is_none()
                && (self.proven.contains(&object.kind) || is_first())
                && !self.busy.contains_key(object)
        };
        let at = self.waiting.iter().rposition(may)?;
        let write = self.waiting.remove(at);
        self.busy.insert(write.object().clone(), write.mark());
        Some(write)
    }

    /// When there is something to write again that may not be written now; none: nothing is.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.waiting.iter().filter_map(|write| self.pauses.until(write.object().kind, now)).min()
    }

    /// A write has ended like this.
    pub(crate) fn end(&mut self, write: &Arc<Write>, end: End) {
        let object = write.object();
        let Some(mark) = self.busy.remove(object) else { return };
        match end {
            End::Written => {
                self.pauses.succeed(object);
                self.proven.insert(object.kind);
                self.done.insert(object.clone(), mark);
            }
            End::Unfit => drop(self.done.insert(object.clone(), mark)),
            End::Stale => {}
            End::Failed(until) => {
                self.pauses.fail(object, until);
                self.proven.remove(&object.kind);
                // Last of all, unless the plan has another for it by now.
                if self.planned.get(object).is_some_and(|one| one.mark == mark) {
                    self.waiting.insert(0, Arc::clone(write));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn write(kind: ObjectKind, name: &str, content: u32) -> Arc<Write> {
        Arc::new(Write::Object(ObjectRef::new(kind, "shop", name), json!(content)))
    }

    fn route(name: &str, content: u32) -> Arc<Write> {
        write(ObjectKind::HttpRoute, name, content)
    }

    /// The names of all that may be written at once.
    fn all(queue: &mut Queue, now: Instant) -> Vec<(Arc<Write>, String)> {
        std::iter::from_fn(|| queue.next(now))
            .map(|write| {
                let name = write.object().name.to_string();
                (write, name)
            })
            .collect()
    }

    fn names(started: &[(Arc<Write>, String)]) -> Vec<&str> {
        started.iter().map(|(_, name)| &**name).collect()
    }

    #[test]
    fn what_is_new_comes_first_and_routes_behind_all_else() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let (a, b) = (route("a", 0), route("b", 0));
        queue.plan(&[a.clone(), b.clone()]);
        queue.plan(&[write(ObjectKind::Gateway, "web", 0), a, b, route("c", 0)]);
        let mut order = Vec::new();
        while let Some(write) = queue.next(now) {
            queue.end(&write, End::Written);
            order.push(write.object().name.to_string());
        }
        assert_eq!(order, ["web", "c", "a", "b"]);
    }

    #[test]
    fn a_kind_is_tried_with_one_and_then_with_many_but_no_object_twice() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let plan: Vec<_> = (0..20).map(|at| route(&format!("r{at:02}"), 0)).collect();
        queue.plan(&plan);
        let first = all(&mut queue, now);
        assert_eq!(names(&first), ["r00"]);
        queue.end(&first[0].0, End::Written);
        let more = all(&mut queue, now);
        assert_eq!(more.len(), AT_ONCE);
        // Another plan for one that is under way waits until it has ended, and what is done is not done again.
        let mut again = plan.clone();
        again[1] = route("r01", 1);
        queue.plan(&again);
        assert!(queue.next(now).is_none());
        more[1..].iter().for_each(|(write, _)| queue.end(write, End::Written));
        assert!(!names(&all(&mut queue, now)).contains(&"r01"));
        queue.plan(&again);
        queue.end(&more[0].0, End::Stale);
        assert_eq!(names(&all(&mut queue, now)), ["r01"]);
    }

    #[test]
    fn a_kind_that_cannot_be_written_rests_and_holds_up_no_other() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let plan = [route("a", 0), route("b", 0), write(ObjectKind::GrpcRoute, "c", 0)];
        queue.plan(&plan);
        let first = all(&mut queue, now);
        assert_eq!(names(&first), ["a", "c"], "one of each kind");
        let end = now + Duration::from_secs(2);
        queue.end(&first[0].0, End::Failed(end));
        queue.end(&first[1].0, End::Written);
        assert_eq!(queue.due(now), Some(end));
        queue.plan(&plan);
        assert!(queue.next(now).is_none());
        // What failed comes last, so that what is refused to one object is not refused to its kind.
        assert_eq!(names(&all(&mut queue, end)), ["b"]);
        queue.end(&plan[1], End::Unfit);
        assert_eq!(names(&all(&mut queue, end)), ["a"]);
        queue.end(&plan[0], End::Written);
        queue.plan(&plan);
        assert!(queue.next(end).is_none() && queue.due(now).is_none());
    }

    #[test]
    fn what_left_the_plan_is_forgotten() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let one = route("a", 0);
        queue.plan(std::slice::from_ref(&one));
        let first = all(&mut queue, now);
        queue.plan(&[]);
        queue.end(&first[0].0, End::Failed(now));
        assert!(queue.next(now).is_none());
        // It may be another object by now.
        queue.plan(std::slice::from_ref(&one));
        queue.next(now).unwrap();
        queue.end(&one, End::Written);
        queue.plan(&[]);
        queue.plan(std::slice::from_ref(&one));
        assert!(queue.next(now).is_some());
    }
}
