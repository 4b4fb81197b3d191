use std::collections::{HashMap, HashSet};
use std::time::Instant;

use model::{ObjectKind, ObjectRef};

/// Kinds that are not written for a while, since one of their objects could not be: one missing right must not be asked for once an
/// object, nor hold up the kinds behind it.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    until: HashMap<ObjectKind, Instant>,
    /// What could not be written. It comes last, so that what is refused to one object alone is not refused to its kind.
    failed: HashSet<ObjectRef>,
}

impl Pauses {
    /// Until when nothing of a kind is written, if so.
    pub(crate) fn until(&self, kind: ObjectKind, now: Instant) -> Option<Instant> {
        self.until.get(&kind).copied().filter(|until| *until > now)
    }

    /// An object could not be written: its kind rests.
    pub(crate) fn fail(&mut self, object: &ObjectRef, until: Instant) {
        self.until.insert(object.kind, until);
        self.failed.insert(object.clone());
    }

    /// An object was written.
    pub(crate) fn succeed(&mut self, object: &ObjectRef) {
        self.failed.remove(object);
    }

    /// Forgets objects that nothing is to be written of any more.
    pub(crate) fn retain(&mut self, is_planned: impl Fn(&ObjectRef) -> bool) {
        self.failed.retain(is_planned);
    }

    /// Whether it could not be written the last time.
    pub(crate) fn has_failed(&self, object: &ObjectRef) -> bool {
        self.failed.contains(object)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rule(name: &str) -> ObjectRef {
        ObjectRef::new(ObjectKind::RoutingRule, "shop", name)
    }

    #[test]
    fn a_kind_rests_for_its_time_and_no_other_does() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        let end = now + Duration::from_secs(30);
        pauses.fail(&rule("a"), end);
        assert_eq!(pauses.until(ObjectKind::RoutingRule, now), Some(end));
        assert_eq!(pauses.until(ObjectKind::HttpRoute, now), None);
        assert_eq!(pauses.until(ObjectKind::RoutingRule, end), None);
    }
}
