//! The rows that `rauta doctor` prints.

use std::fmt;

/// What the doctor found, in the order in which to read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Report {
    /// One row per thing looked at.
    pub rows: Vec<Row>,
}

impl Report {
    /// How many rows are in `state`.
    pub fn count(&self, state: State) -> usize {
        self.rows.iter().filter(|row| row.state == state).count()
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }
}

/// One thing that RAUTA uses or will use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Row {
    /// The group: `kernel`, `helper`, `hook`, `sysctl`, `capability`, `mount`, `interface`, `policy`, `rauta`.
    pub area: &'static str,
    /// The thing.
    pub item: String,
    /// How it is.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What it means for RAUTA; empty when all is well.
    pub effect: String,
    /// What to do about it; empty when there is nothing to do.
    pub mend: String,
}

impl Row {
    pub(crate) fn new(
        area: &'static str,
        item: impl Into<String>,
        state: State,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            area,
            item: item.into(),
            state,
            detail: detail.into(),
            effect: String::new(),
            mend: String::new(),
        }
    }

    pub(crate) fn effect(mut self, effect: impl Into<String>) -> Self {
        self.effect = effect.into();
        self
    }

    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = mend.into();
        self
    }
}

/// The verdict on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum State {
    /// There, as it should be.
    Ok,
    /// Not there: something stays off.
    Missing,
    /// There, but not as it should be, or not visible to this user.
    Degraded,
    /// Neither good nor bad.
    Info,
}

impl State {
    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Degraded => "degraded",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
