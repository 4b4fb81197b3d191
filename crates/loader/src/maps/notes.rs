//! What becomes of the notes that XDP leaves to TC.

use std::collections::BTreeSet;

use aya::{
    maps::{self, MapError as AyaError, PerCpuValues},
    util::nr_cpus,
};
use wire::Notes;

use super::{Maps, NOTES, Record, access};
use crate::MapError;

impl Maps {
    /// Makes the map count at exactly these interfaces; those that stay keep their counts.
    pub(crate) fn count_notes_at(&mut self, wanted: &BTreeSet<u32>) -> Result<(), MapError> {
        let Some(notes) = &mut self.notes else { return Ok(()) };
        let present: BTreeSet<u32> = notes.keys().collect::<Result<_, AyaError>>().map_err(access(NOTES))?;
        for gone in present.difference(wanted) {
            notes.remove(gone).map_err(access(NOTES))?;
        }
        let failed = |error| access(NOTES)(maps::MapError::IoError(error));
        let cpus = nr_cpus().map_err(|(_, error)| failed(error))?;
        for new in wanted.difference(&present) {
            let zero = PerCpuValues::try_from(vec![Record(Notes::default()); cpus]).map_err(failed)?;
            notes.insert(new, zero, 0).map_err(access(NOTES))?;
        }
        Ok(())
    }

    /// What was counted at an interface, summed over CPUs; nothing where nothing is counted.
    pub(crate) fn notes(&self, interface: u32) -> Result<Notes, MapError> {
        let Some(notes) = &self.notes else { return Ok(Notes::default()) };
        match notes.get(&interface, 0) {
            Ok(cpus) => Ok(cpus.iter().fold(Notes::default(), |sum, Record(cpu)| sum.merged(*cpu))),
            Err(AyaError::KeyNotFound) => Ok(Notes::default()),
            Err(error) => Err(access(NOTES)(error)),
        }
    }
}
