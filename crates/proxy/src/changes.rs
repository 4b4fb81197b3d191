//! What policies change in a request on its way to an endpoint, before the rule's filters do.

use std::rc::Rc;
use std::sync::Arc;

use http1::{LineEdits, is_alike};

/// Changes of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    lines: LineEdits,
    query: Option<String>,
    /// Headers that pass, and were checked: what comes behind the body under their names was not.
    checked: Vec<Arc<str>>,
    /// Cookies that its client gets with the answer.
    cookies: Option<Cookies>,
    /// Values of `WWW-Authenticate` that it gets with the answer.
    challenges: Vec<Vec<u8>>,
}

/// Cookies of a service that let a request in.
#[derive(Clone, Debug)]
pub(crate) struct Cookies {
    /// Values of `Set-Cookie`; one at least.
    pub(crate) values: Vec<Vec<u8>>,
    /// Whether they are set with every status.
    pub(crate) always: bool,
}

/// "If the response code equals 200, 201 (1.3.10), 204, 206, 301, 302, 303, 304, 307 (1.1.16, 1.0.13), or 308": `add_header` of
/// ngx_http_headers_module.
const STATUSES_WITH_HEADERS: [u16; 10] = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308];

impl Cookies {
    /// Those that an answer with this status sets.
    pub(crate) fn with(&self, status: u16) -> &[Vec<u8>] {
        if self.always || STATUSES_WITH_HEADERS.contains(&status) { &self.values } else { &[] }
    }
}

impl Changes {
    /// Changes in its header lines.
    pub(crate) fn lines(&self) -> &LineEdits {
        &self.lines
    }

    /// The same, to add to.
    pub(crate) fn lines_mut(&mut self) -> &mut LineEdits {
        &mut self.lines
    }

    /// The query instead of the one that came; empty: none.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Puts another query in the place of the one that came.
    pub(crate) fn set_query(&mut self, query: String) {
        self.query = Some(query);
    }

    /// Lets no trailer pass that endpoints may take for the header `name`, which passes.
    pub(crate) fn forbid_trailer(&mut self, name: &Arc<str>) {
        self.checked.push(name.clone());
    }

    /// Whether a trailer called `name` could stand for a header that policies take out or have checked.
    pub(crate) fn forbids_trailer(&self, name: &[u8]) -> bool {
        self.lines.removes(name) || self.checked.iter().any(|header| is_alike(header.as_bytes(), name))
    }

    /// Has the client get these cookies.
    pub(crate) fn set_cookies(&mut self, cookies: Cookies) {
        self.cookies = Some(cookies);
    }

    /// Has the client asked who it is by these, whoever answers.
    pub(crate) fn set_challenges(&mut self, challenges: Vec<Vec<u8>>) {
        self.challenges = challenges;
    }

    /// Lines that the client gets with an answer of this status, beside those of the answer.
    pub(crate) fn answer_lines(&self, status: u16) -> impl Iterator<Item = (&str, &[u8])> {
        let cookies = self.cookies.as_ref().map_or(&[][..], |cookies| cookies.with(status));
        let cookies = cookies.iter().map(|value| ("Set-Cookie", &**value));
        cookies.chain(self.challenges.iter().map(|value| ("WWW-Authenticate", &**value)))
    }

    /// To be used by copies, too; none: nothing changes.
    pub(crate) fn into_shared(self) -> Option<Rc<Self>> {
        let has_some = self.query.is_some()
            || !self.lines.is_empty()
            || !self.checked.is_empty()
            || self.cookies.is_some()
            || !self.challenges.is_empty();
        has_some.then(|| Rc::new(self))
    }
}
