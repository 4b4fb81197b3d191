use std::time::{Duration, Instant};

/// What newly named Secrets and ConfigMaps hold is waited for so long: without them listeners would close that are to have
/// another certificate.
const LONGEST: Duration = Duration::from_secs(1);

/// Holds changes back while something that they name is not read yet.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// Since when something is not read.
    since: Option<Instant>,
    /// When the first change was heard of that is held back.
    first: Option<Instant>,
}

impl Hold {
    /// Of a change that was heard of at `noticed`: when the first of those was that are to be published at `now`; none: they wait.
    pub(crate) fn release(&mut self, is_known: bool, noticed: Instant, now: Instant) -> Option<Instant> {
        let first = *self.first.get_or_insert(noticed);
        if is_known {
            self.since = None;
        } else if now < *self.since.get_or_insert(now) + LONGEST {
            return None;
        }
        self.first = None;
        Some(first)
    }

    /// When what waits is published in any case; none: nothing waits.
    pub(crate) fn ends(&self) -> Option<Instant> {
        self.first.and(self.since).map(|since| since + LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_wait_for_what_they_name_but_not_for_ever() {
        let (mut hold, start) = (Hold::default(), Instant::now());
        assert_eq!(hold.release(true, start, start), Some(start));
        assert_eq!(hold.ends(), None);
        let (first, second) = (start + LONGEST, start + LONGEST + LONGEST / 2);
        assert_eq!(hold.release(false, first, first), None);
        assert_eq!(hold.ends(), Some(first + LONGEST));
        assert_eq!(hold.release(false, second, second), None);
        // It has been read: both changes go out, since the first one.
        assert_eq!(hold.release(true, second, second), Some(first));
        assert_eq!(hold.ends(), None);

        assert_eq!(hold.release(false, first, first), None);
        let end = first + LONGEST;
        assert_eq!(hold.release(false, end, end), Some(first));
        // What is still not read holds nothing else back.
        assert_eq!(hold.ends(), None);
        assert_eq!(hold.release(false, end, end), Some(end));
    }
}
