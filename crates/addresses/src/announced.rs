use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What is announced, by whichever node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// The addresses that a living node announces, or did a moment ago.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether it was watched long enough to say that another address is announced by nobody.
    pub is_settled: bool,
}

/// Tells what nobody announces from what is on its way from one node to another.
#[derive(Clone, Debug)]
pub struct Recent {
    grace: Duration,
    began: Option<Instant>,
    /// When each address was seen to be announced last.
    seen: BTreeMap<IpAddr, Instant>,
}

impl Recent {
    /// Nothing seen yet. An address counts as announced for `grace` after it was: longer than any hand-over takes.
    pub fn new(grace: Duration) -> Self {
        Self { grace, began: None, seen: BTreeMap::new() }
    }

    /// At `now` these are announced.
    pub fn see(&mut self, announced: BTreeSet<IpAddr>, now: Instant) {
        self.began.get_or_insert(now);
        self.seen.retain(|_, last| now.duration_since(*last) < self.grace);
        self.seen.extend(announced.into_iter().map(|address| (address, now)));
    }

    /// What was announced when it was looked last.
    pub fn announced(&self, now: Instant) -> Announced {
        Announced {
            addresses: self.seen.keys().copied().collect(),
            is_settled: self.began.is_some_and(|began| now.duration_since(began) >= self.grace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn set(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_on_its_way_is_announced_and_one_that_stays_away_is_not() {
        let (mut recent, start) = (Recent::new(GRACE), Instant::now());
        assert_eq!(recent.announced(start), Announced::default());
        recent.see(set(&["10.0.0.1", "10.0.0.2"]), start);
        let almost = start + GRACE - Duration::from_millis(1);
        recent.see(set(&["10.0.0.2"]), almost);
        assert_eq!(recent.announced(almost).addresses, set(&["10.0.0.1", "10.0.0.2"]), "handed over");
        recent.see(set(&["10.0.0.2"]), start + GRACE);
        assert_eq!(recent.announced(start + GRACE).addresses, set(&["10.0.0.2"]));
    }

    #[test]
    fn who_has_just_begun_to_look_cannot_say_that_nobody_announces() {
        let (mut recent, start) = (Recent::new(GRACE), Instant::now());
        assert!(!recent.announced(start + GRACE).is_settled, "nothing was looked at");
        recent.see(set(&[]), start);
        recent.see(set(&[]), start + GRACE);
        assert!(!recent.announced(start + GRACE - Duration::from_millis(1)).is_settled);
        assert!(recent.announced(start + GRACE).is_settled);
    }
}
