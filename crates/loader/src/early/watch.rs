//! Whether what XDP leaves to TC arrives there. A driver may take a note and not give it to the stack, which nobody can see before.

use std::fmt;

use wire::Notes;

/// Looks in a row at which something is wrong, of those at which there was something to see. A packet is on its way at times.
const LOOKS: u32 = 2;

/// What was seen of an interface's notes.
pub(super) struct Watch {
    before: Notes,
    wrong: u32,
}

/// What is wrong with an interface's notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Too few arrive.
    Lost(Notes),
    /// There is no room for any.
    Refused,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(Notes { left, taken, .. }) => write!(
                f,
                "of {left} packets that XDP left to TC in the last look {taken} came with their note: the driver loses notes"
            ),
            Self::Refused => {
                f.write_str("the driver has no room for notes from XDP to TC: XDP can do nothing")
            }
        }
    }
}

impl Watch {
    /// From here on.
    pub(super) const fn begin(now: Notes) -> Self {
        Self { before: now, wrong: 0 }
    }

    /// Looks again, a while later.
    pub(super) fn look(&mut self, now: Notes) -> Option<Fault> {
        let since = now.since(self.before);
        if since.left == 0 && since.refused == 0 {
            return None;
        }
        self.before = now;
        let fault = match since.left {
            0 => Some(Fault::Refused),
            // What is lost behind the driver, as under a flood, is no reason.
            left if since.taken < left - left / 4 => Some(Fault::Lost(since)),
            _ => None,
        };
        self.wrong = if fault.is_some() { self.wrong + 1 } else { 0 };
        fault.filter(|_| self.wrong >= LOOKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said at each look, from what was counted since the one before.
    fn said(looks: &[(u64, u64, u64)]) -> Vec<Option<Fault>> {
        let (mut sum, mut watch) = (Notes { left: 7, taken: 3, refused: 1 }, None);
        let watch = watch.get_or_insert_with(|| Watch::begin(sum));
        looks
            .iter()
            .map(|&(left, taken, refused)| {
                sum = sum.merged(Notes { left, taken, refused });
                watch.look(sum)
            })
            .collect()
    }

    fn is_said(looks: &[(u64, u64, u64)]) -> bool {
        said(looks).iter().any(Option::is_some)
    }

    #[test]
    fn notes_that_do_not_arrive_twice_are_lost() {
        let lost = Fault::Lost(Notes { left: 1, taken: 0, refused: 0 });
        assert_eq!(said(&[(4, 0, 0), (1, 0, 0)]), [None, Some(lost)]);
        assert_eq!(
            said(&[(1, 0, 0), (0, 0, 0), (1, 0, 0)]),
            [None, None, Some(lost)],
            "silence says nothing"
        );
        assert!(is_said(&[(100, 70, 0), (100, 74, 0)]), "of a driver that copies some frames alone");
    }

    #[test]
    fn what_arrives_a_moment_later_or_is_lost_under_load_is_no_reason() {
        assert!(!is_said(&[(8, 0, 0), (8, 8, 0), (8, 8, 0)]), "on its way");
        assert!(!is_said(&[(1, 0, 0), (0, 1, 0), (1, 1, 0)]), "counted later");
        assert!(!is_said(&[(1000, 800, 0), (1000, 750, 0), (3, 3, 0)]), "a full queue");
        assert!(!is_said(&[(1, 1, 0), (0, 0, 0), (900, 900, 0)]));
    }

    #[test]
    fn where_no_note_finds_room_there_is_no_use() {
        assert_eq!(said(&[(0, 0, 5), (0, 0, 1)]), [None, Some(Fault::Refused)]);
        assert!(!is_said(&[(3, 3, 5), (3, 3, 5), (3, 3, 5)]), "some do");
    }
}
