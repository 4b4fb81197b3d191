//! What the filters of a rule and one of its backends come to: planned when a snapshot is taken up, used by every request.

use std::borrow::Cow;
use std::sync::Arc;

use http1::{LineEdits, RequestHead};
use model::{AnswerRewrites, Filters, HeaderModifier, PathRewrite};
use route::Captures;

use crate::changes::Changes;

/// What becomes of the heads of a request to one backend of a route, and of its responses.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    request: LineEdits,
    response: LineEdits,
    host: Option<Arc<str>>,
    path: Option<PathRewrite>,
    captures: Option<Captures>,
    answers: Option<Box<AnswerRewrites>>,
}

impl Plan {
    /// The rule's filters, then the backend's.
    pub(crate) fn new(rule: &Filters, backend: &Filters) -> Self {
        let mut plan = Self { answers: rule.answers.clone(), ..Self::default() };
        for filters in [rule, backend] {
            modify(&mut plan.request, &filters.request_headers);
            modify(&mut plan.response, &filters.response_headers);
            if let Some(rewrite) = &filters.url_rewrite {
                plan.host = rewrite.hostname.clone().or(plan.host);
                plan.path = rewrite.path.clone().or(plan.path);
            }
            // A pattern that cannot be is refused before it comes here: the route matches by it.
            let captures = filters.captures.as_ref().and_then(|said| Captures::new(said).ok());
            plan.captures = captures.or(plan.captures);
        }
        plan
    }

    /// Changes in the request's head, behind those of policies; none: it goes on as it is.
    pub(crate) fn request_lines(&self, changes: Option<&Changes>) -> Option<Cow<'_, LineEdits>> {
        let own = Some(&self.request).filter(|lines| !lines.is_empty());
        let Some(first) = changes.map(Changes::lines).filter(|lines| !lines.is_empty()) else {
            return own.map(Cow::Borrowed);
        };
        let mut lines = first.clone();
        own.into_iter().for_each(|own| lines.extend(own));
        Some(Cow::Owned(lines))
    }

    /// The value of `Host`, where it is another.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The request target, where it is another: the new path, and the query as it came, or as `changes` has it.
    pub(crate) fn target(&self, head: &RequestHead, changes: Option<&Changes>) -> Option<String> {
        let other_query = changes.and_then(Changes::query);
        let mut target = String::new();
        let captured = self.captures.as_ref().and_then(|captures| captures.rewritten(head.path()));
        match &self.path {
            _ if captured.is_some() => target.extend(captured),
            Some(rewrite) => policy::write_path(rewrite, head.path(), &mut target),
            None if other_query.is_some() => target.push_str(head.path()),
            None => return None,
        }
        let query = other_query.map(|query| Some(query).filter(|query| !query.is_empty()));
        if let Some(query) = query.unwrap_or_else(|| head.query()) {
            // `rewrite` of nginx: what came follows what the replacement says.
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(query);
        }
        Some(target)
    }

    /// Changes in the head of the final response.
    pub(crate) fn response_lines(&self) -> Option<&LineEdits> {
        Some(&self.response).filter(|lines| !lines.is_empty())
    }

    /// What becomes of places that the final response names; none: they stay.
    pub(crate) fn answers(&self) -> Option<&AnswerRewrites> {
        self.answers.as_deref()
    }
}

fn modify(lines: &mut LineEdits, modifier: &HeaderModifier) {
    for name in &modifier.remove {
        lines.remove(name);
    }
    for line in &modifier.set {
        lines.set(&line.name, line.value.as_bytes());
    }
    for line in &modifier.add {
        lines.add(&line.name, line.value.as_bytes());
    }
}
