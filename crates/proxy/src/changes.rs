//! What policies change in a request on its way to an endpoint, before the rule's filters do.

use std::rc::Rc;

use http1::LineEdits;

/// Changes of one request.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    lines: LineEdits,
    query: Option<String>,
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

    /// To be used by copies, too; none: nothing changes.
    pub(crate) fn into_shared(self) -> Option<Rc<Self>> {
        (self.query.is_some() || !self.lines.is_empty()).then(|| Rc::new(self))
    }
}
