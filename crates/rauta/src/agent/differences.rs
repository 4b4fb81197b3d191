//! What to log: only what appears and disappears.

use std::collections::BTreeSet;

use model::{Diagnostic, Severity};
use proxy::ListenProblem;
use tracing::{error, info, warn};

/// What was logged last and still holds.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    diagnostics: BTreeSet<Diagnostic>,
    problems: BTreeSet<String>,
}

impl Differences {
    /// Logs diagnostics that are new, and those that are gone.
    pub(crate) fn log_diagnostics(&mut self, now: &[Diagnostic]) {
        let now: BTreeSet<Diagnostic> = now.iter().cloned().collect();
        for new in now.difference(&self.diagnostics) {
            match new.severity {
                Severity::Error => error!("{new}"),
                Severity::Warning => warn!("{new}"),
            }
        }
        for gone in self.diagnostics.difference(&now) {
            info!("no longer: {gone}");
        }
        self.diagnostics = now;
    }

    /// Logs addresses that cannot be listened on now, and those that can again.
    pub(crate) fn log_problems(&mut self, now: &[ListenProblem]) {
        let now: BTreeSet<String> = now.iter().map(ToString::to_string).collect();
        now.difference(&self.problems).for_each(|new| error!("{new}. Trying again every few seconds"));
        self.problems.difference(&now).for_each(|gone| info!("no longer: {gone}"));
        self.problems = now;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use model::{ObjectKind, ObjectRef, Reason};
    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(run: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        with_default(subscriber, run);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_diagnostic_is_logged_when_it_appears_and_when_it_goes() {
        let object = ObjectRef::new(ObjectKind::HttpRoute, "shop", "web");
        let broken = Diagnostic::error(Reason::BackendNotFound, &object, "spec", "no Service shop/cart");
        let mut differences = Differences::default();
        let first = logged(|| differences.log_diagnostics(std::slice::from_ref(&broken)));
        assert!(first.contains("ERROR") && first.contains("no Service shop/cart"), "{first}");
        assert_eq!(logged(|| differences.log_diagnostics(std::slice::from_ref(&broken))), "");
        let gone = logged(|| differences.log_diagnostics(&[]));
        assert!(gone.contains("INFO") && gone.contains("no longer: error: HTTPRoute shop/web"), "{gone}");
    }
}
