use model::{Diagnostic, ObjectRef, Reason, RegexPattern};

/// Collects diagnostics about one object.
pub(crate) struct Report<'a> {
    object: &'a ObjectRef,
    found: Option<&'a mut Vec<Diagnostic>>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(object: &'a ObjectRef, found: &'a mut Vec<Diagnostic>) -> Self {
        Self { object, found: Some(found) }
    }

    /// For reading an object that was checked when it came in: says nothing a second time.
    pub(crate) fn muted(object: &'a ObjectRef) -> Self {
        Self { object, found: None }
    }

    /// The same, for reading a second time what was reported once.
    pub(crate) fn muted_again(&self) -> Self {
        Self::muted(self.object)
    }

    pub(crate) fn error(&mut self, reason: Reason, field: impl Into<String>, message: impl Into<String>) {
        if let Some(found) = &mut self.found {
            found.push(Diagnostic::error(reason, self.object, field, message));
        }
    }

    pub(crate) fn warning(&mut self, reason: Reason, field: impl Into<String>, message: impl Into<String>) {
        if let Some(found) = &mut self.found {
            found.push(Diagnostic::warning(reason, self.object, field, message));
        }
    }

    /// The most common error: a value that cannot be.
    pub(crate) fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.error(Reason::InvalidField, field, message);
    }

    /// Checks that a regular expression compiles; once, as it costs most of all checks.
    pub(crate) fn pattern(&mut self, field: &str, pattern: &RegexPattern) {
        if self.found.is_none() {
            return;
        }
        if let Err(error) = route::check_pattern(pattern) {
            // The regex crate draws a picture over several lines; its last one says what is wrong.
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            self.invalid(field, format!("{:?} is no usable regular expression: {why}", pattern.pattern));
        }
    }
}
