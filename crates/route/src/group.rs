use std::cmp::Reverse;

use crate::conditions::Conditions;
use crate::selector::Selectors;
use crate::{Headers, Request};

/// No conditions, or no selectors.
const NONE: u32 = u32::MAX;
/// From this many candidates on, those that ask for a header or parameter are found by its value.
const SELECTORS_FROM: usize = 9;

/// A match of a route, filed under a host and a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The route's place in its shard.
    pub(crate) route: u32,
    /// Which of the route's matches.
    pub(crate) match_index: u32,
    /// Its conditions' place; [`NONE`]: there are none.
    conditions: u32,
}

/// The order of candidates that share host and path; the smallest wins.
pub(crate) type Rank = (bool, Reverse<usize>, Reverse<usize>, u32, u32);

/// Candidates that share host and path, in order of precedence.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    /// The most common case, at hand.
    One(Candidate),
    /// Any number of them, by their places, and their selectors' place.
    Many { start: u32, end: u32, selectors: u32 },
}

impl Group {
    pub(crate) const EMPTY: Self = Self::Many { start: 0, end: 0, selectors: NONE };

    pub(crate) fn is_empty(self) -> bool {
        matches!(self, Self::Many { start, end, .. } if start == end)
    }
}

/// Where the groups of a listener keep their candidates.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    all: Vec<Candidate>,
    /// Each once: many routes ask for the same.
    conditions: Vec<Conditions>,
    selectors: Vec<Selectors>,
}

impl Candidates {
    /// Keeps conditions; gives their place.
    pub(crate) fn keep(&mut self, conditions: Conditions) -> u32 {
        if conditions.is_empty() {
            return NONE;
        }
        self.conditions.push(conditions);
        number(self.conditions.len() - 1)
    }

    /// Makes a match with the conditions at this place a candidate.
    pub(crate) fn candidate(&self, route: u32, match_index: u32, conditions: u32) -> (Rank, Candidate) {
        let rank = match self.conditions.get(conditions as usize) {
            Some(kept) => rank(kept, route, match_index),
            None => rank(&Conditions::none(), route, match_index),
        };
        (rank, Candidate { route, match_index, conditions })
    }

    /// Files candidates, which are in order of precedence, as a group.
    pub(crate) fn group(&mut self, candidates: impl ExactSizeIterator<Item = Candidate>) -> Group {
        let mut candidates = candidates.peekable();
        if let (1, Some(&only)) = (candidates.len(), candidates.peek()) {
            return Group::One(only);
        }
        let start = self.all.len();
        self.all.extend(candidates);
        let members = &self.all[start..];
        let mut selectors = NONE;
        if members.len() >= SELECTORS_FROM {
            let built = Selectors::new(members.iter().map(|c| self.conditions.get(c.conditions as usize)));
            selectors = number(self.selectors.len());
            self.selectors.push(built);
        }
        Group::Many { start: number(start), end: number(self.all.len()), selectors }
    }

    /// The first candidate of a group whose conditions the request meets.
    #[inline]
    pub(crate) fn pick<H: Headers>(&self, group: Group, request: &Request<'_, H>) -> Option<Candidate> {
        match group {
            Group::One(only) => self.meets(only, request).then_some(only),
            Group::Many { start, end, selectors } => {
                self.pick_of(&self.all[start as usize..end as usize], selectors, request)
            }
        }
    }

    fn pick_of<H: Headers>(
        &self,
        members: &[Candidate],
        selectors: u32,
        request: &Request<'_, H>,
    ) -> Option<Candidate> {
        match self.selectors.get(selectors as usize) {
            None => members.iter().copied().find(|&c| self.meets(c, request)),
            Some(selectors) => {
                let member = |position: u32| members[position as usize];
                selectors.find(request, |position| self.meets(member(position), request)).map(member)
            }
        }
    }

    /// Whether the request meets the candidate's conditions.
    #[inline]
    pub(crate) fn meets<H: Headers>(&self, candidate: Candidate, request: &Request<'_, H>) -> bool {
        self.conditions.get(candidate.conditions as usize).is_none_or(|c| c.unmet(request).is_none())
    }

    /// Gives back what building took in advance.
    pub(crate) fn shrink(&mut self) {
        self.all.shrink_to_fit();
        self.conditions.shrink_to_fit();
        self.selectors.shrink_to_fit();
    }
}

/// Gateway API v1.6.1, `HTTPRouteRule.matches`: "Method match", "Largest number of header matches", "Largest number of query
/// param matches"; then the order of the snapshot, which is that of the remaining rules.
pub(crate) fn rank(conditions: &Conditions, route: u32, match_index: u32) -> Rank {
    let (headers, queries) = (Reverse(conditions.headers.len()), Reverse(conditions.queries.len()));
    (conditions.method.is_none(), headers, queries, route, match_index)
}

/// Places have 32 bits: memory ends long before them.
pub(crate) fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}
