use std::collections::HashMap;
use std::time::Duration;

use wire::{CAPTURES_MAX, HEADER_NAME_MAX};

use crate::Why;
use crate::ids::{Ids, REST};

/// The numbers of header names that routes match on.
///
/// A request is scanned before it is looked up. So a name is put into the map first, and used in conditions only when no
/// request is left that was scanned without it: at once where the writer of the tables waits for that, or after a while.
#[derive(Debug)]
pub(crate) struct Names {
    ids: Ids<[u8; HEADER_NAME_MAX]>,
    since: HashMap<[u8; HEADER_NAME_MAX], Duration>,
    /// [`crate::Facts::names_at_once`].
    at_once: bool,
}

/// Fields that say how a message is framed, passed on or addressed. The scan keeps them for itself.
const KEPT: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "http2-settings",
    "forwarded",
    "x-real-ip",
];

impl Names {
    pub(crate) fn new() -> Self {
        // CAPTURES_MAX is 16.
        Self { ids: Ids::new(0, CAPTURES_MAX.try_into().unwrap_or(0)), since: HashMap::new(), at_once: false }
    }

    pub(crate) fn begin(&mut self) {
        self.ids.begin();
    }

    /// Whether new names may be used at once.
    pub(crate) fn may_be_used_at_once(&mut self, at_once: bool) {
        self.at_once = at_once;
    }

    /// The number of a name, in lower case.
    pub(crate) fn number(&mut self, name: &str, now: Duration) -> Result<u32, Why> {
        let padded = padded(name).ok_or(Why::HeaderName)?;
        let (number, is_new) = self.ids.get(&padded).ok_or(Why::ManyHeaderNames)?;
        if is_new && !self.at_once {
            self.since.insert(padded, now);
        }
        match self.since.get(&padded) {
            Some(&since) if now < since + REST => Err(Why::NewHeaderName),
            _ => Ok(number),
        }
    }

    /// Ends a compilation; gives when something changes by time alone.
    pub(crate) fn finish(&mut self, now: Duration) -> Option<Duration> {
        let (left, next) = self.ids.finish(now);
        for (name, _) in &left {
            self.since.remove(name);
        }
        let usable = self.since.values().map(|&since| since + REST).filter(|&at| at > now).min();
        [next, usable].into_iter().flatten().min()
    }

    /// Asks again for all that are in use.
    pub(crate) fn touch_all(&mut self) {
        self.ids.touch_all();
    }

    /// Those in use and those that rest.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ([u8; HEADER_NAME_MAX], u32)> {
        self.ids.iter().map(|(name, number, _)| (*name, number))
    }

    /// Leaves a number to a name from before, if it is one and nobody's.
    pub(crate) fn adopt(&mut self, name: [u8; HEADER_NAME_MAX], number: u32) {
        let is_number = usize::try_from(number).is_ok_and(|number| number < CAPTURES_MAX);
        if is_number && self.ids.key(number).is_none() {
            self.ids.adopt(name, number);
        }
    }
}

fn padded(name: &str) -> Option<[u8; HEADER_NAME_MAX]> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_kept = KEPT.contains(&name) || name.starts_with("proxy-") || name.starts_with("x-forwarded-");
    if name.is_empty() || is_kept || !name.bytes().all(is_plain) {
        return None;
    }
    let mut padded = [0; HEADER_NAME_MAX];
    padded.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_is_looked_for_before_it_counts() {
        let mut names = Names::new();
        names.begin();
        assert_eq!(names.number("x-a", Duration::ZERO), Err(Why::NewHeaderName));
        assert_eq!(names.finish(Duration::ZERO), Some(REST));
        assert_eq!(names.iter().count(), 1);
        names.begin();
        assert_eq!(names.number("x-a", REST), Ok(0));
        assert_eq!(names.finish(REST), None);
    }

    #[test]
    fn a_new_name_counts_at_once_where_the_writer_waits() {
        let mut names = Names::new();
        names.may_be_used_at_once(true);
        names.begin();
        assert_eq!(names.number("x-a", Duration::ZERO), Ok(0));
        assert_eq!(names.finish(Duration::ZERO), None);
    }

    #[test]
    fn names_that_the_scan_does_not_give_are_refused() {
        let mut names = Names::new();
        names.begin();
        for name in ["host", "x-forwarded-for", "proxy-x", "x_y", "X", "", &"x".repeat(33)] {
            assert_eq!(names.number(name, REST), Err(Why::HeaderName), "{name:?}");
        }
        for n in 0..16 {
            assert_eq!(names.number(&format!("x-{n}"), REST), Err(Why::NewHeaderName));
        }
        assert_eq!(names.number("x-16", REST), Err(Why::ManyHeaderNames));
    }
}
