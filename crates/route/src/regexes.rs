use std::collections::HashMap;

use model::{PathMatch, RegexPattern, Route, ValueMatch};
use regex::bytes::Regex;

use crate::PatternError;
use crate::pattern::compile;

/// All regular expressions of a table, each compiled once.
#[derive(Debug, Default)]
pub(crate) struct Regexes(HashMap<RegexPattern, Result<Regex, PatternError>>);

impl Regexes {
    /// Compiles what the routes need, but for what was compiled before.
    pub(crate) fn new<'r>(routes: impl IntoIterator<Item = &'r Route>, before: Option<&Self>) -> Self {
        let mut all = HashMap::new();
        for one in routes.into_iter().flat_map(|route| &route.matches) {
            for pattern in patterns(one) {
                if !all.contains_key(pattern) {
                    let known = before.and_then(|before| before.0.get(pattern)).cloned();
                    all.insert(pattern.clone(), known.unwrap_or_else(|| compile(pattern)));
                }
            }
        }
        Self(all)
    }

    /// The compiled pattern; none if it does not compile.
    pub(crate) fn get(&self, pattern: &RegexPattern) -> Option<&Regex> {
        self.0.get(pattern)?.as_ref().ok()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them does not compile.
    pub(crate) fn has_errors(&self) -> bool {
        self.0.values().any(Result::is_err)
    }

    /// What is wrong with the pattern, if anything.
    pub(crate) fn error(&self, pattern: &RegexPattern) -> Option<&PatternError> {
        self.0.get(pattern)?.as_ref().err()
    }
}

/// The regular expressions of a match.
pub(crate) fn patterns(one: &model::RouteMatch) -> impl Iterator<Item = &RegexPattern> {
    let path = match &one.path {
        PathMatch::Regex(pattern) => Some(pattern),
        _ => None,
    };
    let values = one.headers.iter().map(|h| &h.value).chain(one.queries.iter().map(|q| &q.value));
    path.into_iter().chain(values.filter_map(|value| match value {
        ValueMatch::Regex(pattern) => Some(pattern),
        ValueMatch::Exact(_) => None,
    }))
}
