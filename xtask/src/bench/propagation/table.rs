//! Medians and 99th percentiles, as a table and as JSON.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::agent::Change;
use super::manifests::{Edit, Layout};
use crate::bench::machine::Machine;
use crate::paths::root;

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    routes: usize,
    layout: String,
    edit: String,
    changes: Vec<Change>,
}

/// Memory of an agent after its start.
#[derive(Debug, Serialize)]
struct Memory {
    routes: usize,
    layout: String,
    resident_kib: u64,
}

/// Everything measured in one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    changes: usize,
    rows: Vec<Row>,
    memory: Vec<Memory>,
}

/// A part of a change's time.
type Figure = fn(&Change) -> f64;

/// The columns: name and figure.
const COLUMNS: [(&str, Figure); 8] = [
    ("waited", |c| c.waited),
    ("read", |c| c.read),
    ("transl.", |c| c.translated),
    ("swapped", |c| c.swapped),
    ("facts", |c| c.facts),
    ("compiled", |c| c.compiled),
    ("compared", |c| c.compared),
    ("written", |c| c.written),
];

impl Row {
    pub(super) fn new(routes: usize, layout: Layout, edit: Edit, changes: Vec<Change>) -> Self {
        Self { routes, layout: layout.to_string(), edit: edit.to_string(), changes }
    }

    /// The smallest value that so many of a hundred do not exceed.
    fn percentile(&self, hundredths: usize, figure: Figure) -> f64 {
        let mut all: Vec<f64> = self.changes.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        let place = (all.len() * hundredths).div_ceil(100).saturating_sub(1);
        all.get(place).copied().unwrap_or(f64::NAN)
    }
}

impl Report {
    pub(super) fn new(machine: Machine, changes: usize) -> Self {
        Self { machine, changes, rows: Vec::new(), memory: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn note_memory(&mut self, routes: usize, layout: Layout, resident_kib: u64) {
        self.memory.push(Memory { routes, layout: layout.to_string(), resident_kib });
    }

    /// Prints the table.
    pub(super) fn print(&self) {
        let Machine { kernel, processor, cores, memory_mib, load_before, .. } = &self.machine;
        println!(
            "\n{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}; load before: {load_before}"
        );
        println!(
            "milliseconds from the end of the write to the last map; then medians of its parts; {} changes each",
            self.changes
        );
        let headings: String = COLUMNS.iter().map(|(name, _)| format!("{name:>9}")).collect();
        println!(
            "\n{:>6}  {:<11}{:<23}{:>8}{:>8}{headings}{:>8}",
            "routes", "", "change", "p50", "p99", "writes"
        );
        for row in &self.rows {
            let parts: String =
                COLUMNS.iter().map(|(_, figure)| format!("{:>9.2}", row.percentile(50, *figure))).collect();
            println!(
                "{:>6}  {:<11}{:<23}{:>8.1}{:>8.1}{parts}{:>8.0}",
                row.routes,
                row.layout,
                row.edit,
                row.percentile(50, |c| c.total),
                row.percentile(99, |c| c.total),
                row.percentile(50, |c| c.writes),
            );
        }
        println!("\nresident memory of the agent before the first change, MiB");
        for Memory { routes, layout, resident_kib } in &self.memory {
            println!("{routes:>6}  {layout:<11}{:>8}", resident_kib.div_ceil(1024));
        }
    }

    /// Writes `bench/results/propagation.json`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self) -> Result<PathBuf> {
        let folder = root().join("bench/results");
        fs::create_dir_all(&folder)?;
        let path = folder.join("propagation.json");
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let change = |total| Change { total: f64::from(total), ..Change::default() };
        let row = Row::new(1, Layout::OneFile, Edit::Route, (1..=50).rev().map(change).collect());
        assert!((row.percentile(50, |c| c.total) - 25.0).abs() < 1e-9);
        assert!((row.percentile(99, |c| c.total) - 50.0).abs() < 1e-9);
        let one = Row::new(1, Layout::OneFile, Edit::Route, vec![change(3)]);
        assert!((one.percentile(50, |c| c.total) - 3.0).abs() < 1e-9);
    }
}
