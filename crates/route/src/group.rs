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
    /// The route's place in `snapshot.routes`.
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
pub(crate) struct Group {
    start: u32,
    end: u32,
    selectors: u32,
}

impl Group {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0, selectors: NONE };

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Where the groups of a listener keep their candidates.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    all: Vec<Candidate>,
    conditions: Vec<Conditions>,
    selectors: Vec<Selectors>,
}

impl Candidates {
    /// Keeps the conditions of a match and makes it a candidate.
    pub(crate) fn candidate(
        &mut self,
        route: u32,
        match_index: u32,
        conditions: Conditions,
    ) -> (Rank, Candidate) {
        let rank = rank(&conditions, route, match_index);
        let mut candidate = Candidate { route, match_index, conditions: NONE };
        if !conditions.is_empty() {
            candidate.conditions = number(self.conditions.len());
            self.conditions.push(conditions);
        }
        (rank, candidate)
    }

    /// Files candidates, which are in order of precedence, as a group.
    pub(crate) fn group(&mut self, candidates: impl IntoIterator<Item = Candidate>) -> Group {
        let start = self.all.len();
        self.all.extend(candidates);
        let members = &self.all[start..];
        let mut selectors = NONE;
        if members.len() >= SELECTORS_FROM {
            let built = Selectors::new(members.iter().map(|c| self.conditions.get(c.conditions as usize)));
            selectors = number(self.selectors.len());
            self.selectors.push(built);
        }
        Group { start: number(start), end: number(self.all.len()), selectors }
    }

    /// The first candidate of a group whose conditions the request meets.
    #[inline]
    pub(crate) fn pick<H: Headers>(&self, group: Group, request: &Request<'_, H>) -> Option<Candidate> {
        let members = &self.all[group.start as usize..group.end as usize];
        match self.selectors.get(group.selectors as usize) {
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
