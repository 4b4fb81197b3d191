use std::borrow::Cow;
use std::sync::Arc;

use model::{RouteMatch, ValueMatch};
use regex::bytes::Regex;

use crate::regexes::Regexes;
use crate::{Headers, Request, query};

/// What a match asks of a request besides host and path.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) method: Option<Arc<str>>,
    pub(crate) headers: Box<[Named]>,
    pub(crate) queries: Box<[Named]>,
}

/// A condition on a header or a query parameter.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: Arc<str>,
    pub(crate) value: Value,
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Exact(Arc<str>),
    Regex(Regex),
}

/// Which condition a request does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet<'c> {
    Method,
    Header(&'c Arc<str>),
    Query(&'c Arc<str>),
}

impl Conditions {
    /// Compiles them; none if a regular expression does not compile.
    pub(crate) fn new(one: &RouteMatch, regexes: &Regexes) -> Option<Self> {
        let named = |name: &Arc<str>, value: &ValueMatch| {
            let value = match value {
                ValueMatch::Exact(text) => Value::Exact(text.clone()),
                ValueMatch::Regex(pattern) => Value::Regex(regexes.get(pattern)?.clone()),
            };
            Some(Named { name: name.clone(), value })
        };
        Some(Self {
            method: one.method.clone(),
            headers: one.headers.iter().map(|h| named(&h.name, &h.value)).collect::<Option<_>>()?,
            queries: one.queries.iter().map(|q| named(&q.name, &q.value)).collect::<Option<_>>()?,
        })
    }

    /// Those that every request meets.
    pub(crate) fn none() -> Self {
        Self { method: None, headers: Box::default(), queries: Box::default() }
    }

    /// Whether every request meets them.
    pub(crate) fn is_empty(&self) -> bool {
        self.method.is_none() && self.headers.is_empty() && self.queries.is_empty()
    }

    /// The first condition that the request does not meet: the method, then headers, then query parameters.
    #[inline]
    pub(crate) fn unmet<H: Headers>(&self, request: &Request<'_, H>) -> Option<Unmet<'_>> {
        if self.method.as_deref().is_some_and(|method| method != request.method) {
            return Some(Unmet::Method);
        }
        if let Some(header) = self.headers.iter().find(|h| !h.meets_header(request.headers)) {
            return Some(Unmet::Header(&header.name));
        }
        self.queries.iter().find(|q| !q.meets_query(request.query)).map(|q| Unmet::Query(&q.name))
    }
}

impl Named {
    fn meets_header<H: Headers>(&self, headers: &H) -> bool {
        match &self.value {
            Value::Exact(wanted) => joined_equals(headers.values(&self.name), wanted.as_bytes()),
            Value::Regex(regex) => header(headers, &self.name).is_some_and(|value| regex.is_match(&value)),
        }
    }

    fn meets_query(&self, query: Option<&str>) -> bool {
        let Some(encoded) = query.and_then(|query| query::first(query, &self.name)) else { return false };
        match &self.value {
            Value::Exact(wanted) => query::is(encoded, wanted.as_bytes()),
            Value::Regex(regex) => regex.is_match(&query::decode(encoded)),
        }
    }
}

/// The value of a header; several field lines are joined with commas (RFC 9110 section 5.3).
pub(crate) fn header<'h, H: Headers>(headers: &'h H, name: &'h str) -> Option<Cow<'h, [u8]>> {
    let mut lines = headers.values(name);
    let mut value = Cow::Borrowed(lines.next()?);
    for line in lines {
        let joined = value.to_mut();
        joined.push(b',');
        joined.extend_from_slice(line);
    }
    Some(value)
}

/// Whether the lines, joined with commas, are `wanted`.
fn joined_equals<'h>(mut lines: impl Iterator<Item = &'h [u8]>, wanted: &[u8]) -> bool {
    let first = lines.next().and_then(|line| wanted.strip_prefix(line));
    let rest = lines.fold(first, |rest, line| rest?.strip_prefix(b",")?.strip_prefix(line));
    rest.is_some_and(<[u8]>::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pairs;

    fn lines(values: &[&str]) -> Vec<(String, String)> {
        values.iter().map(|v| ("x".into(), v.to_string())).collect()
    }

    #[test]
    fn lines_of_a_header_are_one_value() {
        for (values, wanted, is_equal) in [
            (&["a"][..], "a", true),
            (&["a", "b"], "a,b", true),
            (&["a", "b"], "a", false),
            (&["a"], "a,b", false),
            (&["a,b"], "a,b", true),
            (&["a", ""], "a,", true),
            (&[""], "", true),
            (&[], "", false),
        ] {
            let pairs = lines(values);
            let headers = Pairs(&pairs);
            assert_eq!(
                joined_equals(headers.values("x"), wanted.as_bytes()),
                is_equal,
                "{values:?} {wanted}"
            );
            let joined = header(&headers, "x");
            assert_eq!(joined.as_deref() == Some(wanted.as_bytes()), is_equal);
        }
    }
}
