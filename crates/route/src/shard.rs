use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::{HeaderMatch, PathMatch, QueryMatch, RegexPattern, Route, RouteMatch};
use regex::bytes::Regex;

use crate::conditions::Conditions;
use crate::group::{Candidate, Candidates, Rank};
use crate::paths::{Entry, Kind, Paths};
use crate::pattern::literal_prefix;
use crate::regexes::Regexes;
use crate::{Headers, Request};

/// The compiled routes of some hosts, each of which is a scope of it: what is compiled together, and stays as long as none of
/// these routes changes.
#[derive(Debug)]
pub(crate) struct Shard {
    /// In the order of the snapshot. Candidates name them by their place here.
    routes: Box<[Arc<Route>]>,
    members: Box<[Member]>,
    /// How many scopes have routes.
    live: usize,
    paths: Paths,
    /// By scope, in order of precedence.
    by_regex: Box<[Box<[ByRegex]>]>,
    candidates: Candidates,
}

/// A route of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The route's place in the shard.
    pub(crate) route: u32,
    /// The scope.
    pub(crate) scope: u32,
}

/// A candidate whose path is a regular expression.
#[derive(Debug)]
struct ByRegex {
    regex: Regex,
    /// Every matching path begins with it.
    literal: Box<str>,
    /// Equal numbers are equal patterns.
    pattern: usize,
    candidate: Candidate,
}

impl Shard {
    /// Compiles routes, which are in the order of the snapshot; `members` are in order, too.
    pub(crate) fn new(routes: Box<[Arc<Route>]>, members: Box<[Member]>, regexes: &Regexes) -> Self {
        let scopes = members.iter().map(|member| member.scope as usize + 1).max().unwrap_or(0);
        let mut builder = Builder::default();
        for of_route in members.chunk_by(|a, b| a.route == b.route) {
            if let Some((first, route)) =
                of_route.first().and_then(|m| Some((m, routes.get(m.route as usize)?)))
            {
                builder.add(first.route, route, of_route, regexes);
            }
        }
        let (paths, by_regex, candidates) = builder.finish(scopes);
        let live = members.iter().map(|member| member.scope).collect::<BTreeSet<_>>().len();
        Self { routes, members, live, paths, by_regex, candidates }
    }

    /// The routes and the scopes that they are of.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many scopes have routes.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Whether it was made from the same.
    pub(crate) fn is_of(&self, routes: &[Arc<Route>], members: &[Member]) -> bool {
        *self.members == *members
            && self.routes.len() == routes.len()
            && self.routes.iter().zip(routes).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// The candidate of a scope that takes the request.
    #[inline(never)] // One of three calls is made: code for each would only take room in the cache.
    pub(crate) fn lookup<H: Headers>(&self, scope: u32, request: &Request<'_, H>) -> Option<Candidate> {
        let path = request.path.as_bytes();
        let pick = |group| self.candidates.pick(group, request);
        let exact = self.paths.exact(scope, path).and_then(pick);
        exact.or_else(|| self.paths.prefixes(scope, path, pick)).or_else(|| self.by_regex(scope, request))
    }

    fn by_regex<H: Headers>(&self, scope: u32, request: &Request<'_, H>) -> Option<Candidate> {
        // Those with the same pattern often follow each other.
        let mut last = None;
        let fits = |one: &&ByRegex| {
            if !request.path.starts_with(&*one.literal) || !self.candidates.meets(one.candidate, request) {
                return false;
            }
            match last {
                Some((pattern, fits)) if pattern == one.pattern => fits,
                _ => {
                    let fits = one.regex.is_match(request.path.as_bytes());
                    last = Some((one.pattern, fits));
                    fits
                }
            }
        };
        self.by_regex.get(scope as usize)?.iter().find(fits).map(|one| one.candidate)
    }
}

#[derive(Default)]
struct Builder<'m> {
    by_path: Vec<(u32, &'m str, Kind, Rank, Candidate)>,
    by_regex: Vec<RegexEntry<'m>>,
    conditions: HashMap<ConditionsKey<'m>, Option<u32>>,
    candidates: Candidates,
}

/// What conditions are made of.
type ConditionsKey<'m> = (Option<&'m str>, &'m [HeaderMatch], &'m [QueryMatch]);

/// A match whose path is a regular expression, of one scope.
struct RegexEntry<'m> {
    scope: u32,
    pattern: &'m RegexPattern,
    rank: Rank,
    regex: Regex,
    candidate: Candidate,
}

impl<'m> Builder<'m> {
    fn add(&mut self, at: u32, route: &'m Route, scopes: &[Member], regexes: &Regexes) {
        if route.matches.is_empty() {
            let none = self.candidates.keep(Conditions::none());
            let (rank, candidate) = self.candidates.candidate(at, 0, none);
            self.by_path.extend(scopes.iter().map(|m| (m.scope, "", Kind::ByElement, rank, candidate)));
        }
        for (match_index, one) in (0..).zip(&route.matches) {
            self.add_match(at, match_index, one, scopes, regexes);
        }
    }

    fn add_match(
        &mut self,
        at: u32,
        match_index: u32,
        one: &'m RouteMatch,
        scopes: &[Member],
        regexes: &Regexes,
    ) {
        // A pattern that does not compile is among the table's errors.
        let Some(conditions) = self.conditions(one, regexes) else { return };
        let (kind, text) = match &one.path {
            PathMatch::Exact(text) => (Kind::Exact, text),
            PathMatch::Prefix(text) => (Kind::ByElement, text),
            PathMatch::StringPrefix(text) => (Kind::ByString, text),
            PathMatch::Regex(pattern) => {
                let Some(regex) = regexes.get(pattern) else { return };
                let (rank, candidate) = self.candidates.candidate(at, match_index, conditions);
                let entry = |m: &Member| RegexEntry {
                    scope: m.scope,
                    pattern,
                    rank,
                    regex: regex.clone(),
                    candidate,
                };
                self.by_regex.extend(scopes.iter().map(entry));
                return;
            }
        };
        let (rank, candidate) = self.candidates.candidate(at, match_index, conditions);
        self.by_path.extend(scopes.iter().map(|m| (m.scope, &**text, kind, rank, candidate)));
    }

    /// The place of the conditions of a match; none if a regular expression does not compile.
    fn conditions(&mut self, one: &'m RouteMatch, regexes: &Regexes) -> Option<u32> {
        if one.method.is_none() && one.headers.is_empty() && one.queries.is_empty() {
            return Some(self.candidates.keep(Conditions::none()));
        }
        let key = (one.method.as_deref(), &*one.headers, &*one.queries);
        if let Some(&known) = self.conditions.get(&key) {
            return known;
        }
        let place = Conditions::new(one, regexes).map(|new| self.candidates.keep(new));
        self.conditions.insert(key, place);
        place
    }

    fn finish(mut self, scopes: usize) -> (Paths, Box<[Box<[ByRegex]>]>, Candidates) {
        // The sort keys are unique but for the candidate, which the rank decides. Most routes come host by host: the stable sort
        // makes use of that.
        self.by_path.sort_by_key(|&(scope, text, kind, rank, _)| (scope, text, kind, rank));
        let entries: Vec<_> = self
            .by_path
            .chunk_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2))
            .filter_map(|chunk| {
                let &(scope, text, kind, ..) = chunk.first()?;
                let group = self.candidates.group(chunk.iter().map(|&(.., candidate)| candidate));
                Some(Entry { scope, kind, text, group })
            })
            .collect();
        let paths = Paths::new(&entries, scopes);
        let mut patterns = HashMap::new();
        let mut by_regex: Vec<Vec<ByRegex>> = (0..scopes).map(|_| Vec::new()).collect();
        self.by_regex.sort_by_key(|e| (e.scope, Reverse(e.pattern.pattern.len()), e.rank));
        for RegexEntry { scope, pattern, regex, candidate, .. } in self.by_regex {
            let next = patterns.len();
            let number = *patterns.entry(pattern).or_insert(next);
            if let Some(list) = by_regex.get_mut(scope as usize) {
                list.push(ByRegex {
                    regex,
                    literal: literal_prefix(pattern).into(),
                    pattern: number,
                    candidate,
                });
            }
        }
        self.candidates.shrink();
        (paths, by_regex.into_iter().map(Vec::into_boxed_slice).collect(), self.candidates)
    }
}
