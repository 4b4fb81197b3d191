//! What this machine offers, asked of the machine itself: features are tried, never derived from a version.
//!
//! Every check also works without privileges; it then says what it could not see.

mod report;

pub use report::{Report, Row, State};

/// Looks at everything RAUTA uses, and at `interfaces` (empty: those it would attach to).
pub fn checks(_interfaces: &[String]) -> Report {
    let mut report = Report::default();
    report.push(Row::new(
        "rauta",
        "kernel programs",
        State::Info,
        if crate::is_built() { "built in" } else { "not built in" },
    ));
    report
}
