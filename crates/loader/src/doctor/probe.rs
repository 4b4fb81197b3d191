//! Trying a feature, and what the answers mean.

use std::{error::Error, io};

use super::{Row, State};

/// The answer to a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// It works.
    Yes,
    /// The kernel does not know it.
    No,
    /// Only a privileged user can try.
    Hidden,
    /// It could not be tried.
    Failed,
}

impl Probe {
    /// From a probe's result; no permission to try is no answer.
    pub(super) fn of<E: Error + 'static>(result: Result<bool, E>) -> Self {
        match result {
            Ok(true) => Self::Yes,
            Ok(false) => Self::No,
            Err(error) if is_refused(&error) => Self::Hidden,
            Err(_) => Self::Failed,
        }
    }

    /// The row for a feature whose lack has `effect`.
    pub(super) fn row(self, area: &'static str, item: String, needs: &str, effect: &str, mend: &str) -> Row {
        match self {
            Self::Yes => Row::new(area, item, State::Ok, "the kernel accepts it"),
            Self::No => {
                Row::new(area, item, State::Missing, "the kernel does not know it").effect(effect).mend(mend)
            }
            Self::Hidden => Row::new(area, item, State::Degraded, format!("not visible without {needs}"))
                .effect("unknown")
                .mend("run the doctor as root to see it"),
            Self::Failed => Row::new(area, item, State::Degraded, "could not be tried").effect("unknown"),
        }
    }
}

/// Whether the error, or one below it, is a lack of permission.
pub(super) fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(this) = cause {
        if this.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = this.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_permission_is_no_answer() {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(Probe::of(Err(refused())), Probe::Hidden);
        assert_eq!(Probe::of::<io::Error>(Ok(false)), Probe::No);
        assert_eq!(Probe::of(Err(io::Error::from(io::ErrorKind::NotFound))), Probe::Failed);
        let row = Probe::Hidden.row("hook", "tcx".into(), "CAP_BPF", "counts nothing", "upgrade");
        assert_eq!((row.state, row.detail.as_str()), (State::Degraded, "not visible without CAP_BPF"));
    }
}
