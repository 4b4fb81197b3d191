use std::collections::BTreeSet;
use std::net::IpAddr;

/// How this node stands among those that announce: what its Lease says, and whether it may decide yet.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Whether it could announce anything.
    is_able: bool,
    /// How often the others were seen since it is able, at least. The first time they have not seen this one yet, and would not give way.
    looks: u8,
    has_decided: bool,
    /// What this node's Lease said at the first look, until it has decided: an earlier agent's, whose connections are to go on.
    inherited: BTreeSet<IpAddr>,
}

impl Standing {
    /// It can announce from now on, or no longer: what it inherited is then lost.
    pub(super) fn set_able(&mut self, is_able: bool) {
        *self = Self { is_able, ..Self::default() };
    }

    /// All were seen; `announced` is what this node's own Lease said, of what no other node announces.
    pub(super) fn look(&mut self, announced: BTreeSet<IpAddr>) {
        if self.is_able && self.looks == 0 {
            self.inherited = announced;
        }
        self.looks = self.looks.saturating_add(1);
    }

    pub(super) fn may_decide(&self) -> bool {
        self.is_able && self.looks >= 2
    }

    /// It decides; whether for the first time.
    pub(super) fn decide(&mut self) -> bool {
        self.inherited.clear();
        !std::mem::replace(&mut self.has_decided, true)
    }

    /// What others are to believe that it announces; none: nothing, and it could not.
    pub(super) fn announces(&self, held: BTreeSet<IpAddr>) -> Option<BTreeSet<IpAddr>> {
        self.is_able.then(|| &held | &self.inherited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_inherited_is_announced_until_the_first_decision() {
        let (before, none) = (addresses(&["10.0.0.1", "10.0.0.2"]), BTreeSet::new());
        let mut standing = Standing::default();
        standing.set_able(true);
        assert_eq!(standing.announces(none.clone()), Some(none.clone()));
        standing.look(before.clone());
        assert!(!standing.may_decide(), "the others have not seen this one yet");
        assert_eq!(standing.announces(none.clone()), Some(before.clone()), "the Lease would give them up");
        standing.look(none.clone());
        assert!(standing.may_decide());
        assert_eq!(standing.announces(none.clone()), Some(before));
        assert!(standing.decide());
        let held = addresses(&["10.0.0.1"]);
        assert_eq!(standing.announces(held.clone()), Some(held), "what is held alone");
        assert!(!standing.decide(), "the second time");
    }

    #[test]
    fn who_cannot_announce_takes_no_part() {
        let (before, none) = (addresses(&["10.0.0.1"]), BTreeSet::new());
        let mut standing = Standing::default();
        standing.look(before.clone());
        standing.look(before.clone());
        assert!(!standing.may_decide());
        assert_eq!(standing.announces(none.clone()), None);
        standing.set_able(true);
        assert_eq!(standing.announces(none.clone()), Some(none.clone()), "its Lease has lost them");
        assert!(!standing.may_decide(), "the others do not know yet that it is able");
        standing.look(before.clone());
        standing.look(before);
        assert!(standing.may_decide() && standing.decide());
        standing.set_able(false);
        assert_eq!(standing.announces(none.clone()), None);
        standing.set_able(true);
        standing.look(none.clone());
        standing.look(none);
        assert!(standing.decide(), "anew, and for the first time");
    }
}
