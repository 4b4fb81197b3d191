use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind};

use crate::source::{Hints, Source};

/// Events that come this close together are one change.
const QUIET: Duration = Duration::from_millis(2);
/// A stream of events delays a change no longer than this.
const DELAY_MAX: Duration = Duration::from_millis(50);
/// A file that is being written is read when its writer closes it, or after this time.
const WRITING_MAX: Duration = Duration::from_secs(2);
/// A file that lost its content is taken for half written for this time.
const EMPTY_MAX: Duration = Duration::from_millis(500);

/// The event that ends a writing.
const CLOSED_BY_WRITER: AccessKind = AccessKind::Close(AccessMode::Write);

/// What events told since the last load.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    changed: BTreeSet<PathBuf>,
    /// Files that are being written, and until when that is believed.
    unfinished: BTreeMap<PathBuf, Instant>,
    /// Files that their writer left without content.
    emptied: BTreeSet<PathBuf>,
    /// An event did not say what changed.
    is_vague: bool,
    /// First and last event that are worth a load.
    since: Option<(Instant, Instant)>,
}

impl Pending {
    /// Takes an event in; whether it tells of a change of manifests.
    pub(crate) fn note(&mut self, event: &Event, source: &Source, now: Instant) -> bool {
        let mut is_ours = event.need_rescan();
        if event.need_rescan() {
            self.is_vague = true;
            self.touch(now);
        }
        for path in &event.paths {
            let real = real(path);
            if !source.concerns(path, &real) {
                continue;
            }
            // Reading, as the source itself does, is no change.
            is_ours |= !matches!(event.kind, EventKind::Access(kind) if kind != CLOSED_BY_WRITER);
            match event.kind {
                EventKind::Access(CLOSED_BY_WRITER) => self.finished(real, source, now),
                EventKind::Access(_) => {}
                EventKind::Modify(ModifyKind::Data(_)) => {
                    self.unfinished.entry(real.clone()).or_insert(now + WRITING_MAX);
                    self.changed.insert(real);
                }
                EventKind::Create(_) if is_new_file(path) => {
                    self.unfinished.entry(real.clone()).or_insert(now + WRITING_MAX);
                    self.changed.insert(real);
                }
                EventKind::Modify(ModifyKind::Name(RenameMode::To)) => self.finished(real, source, now),
                _ => {
                    self.unfinished.remove(&real);
                    self.changed.insert(real);
                    self.touch(now);
                }
            }
        }
        is_ours
    }

    /// How long to wait for more events; none: for ever.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let due = self.since.map(|(first, last)| (last + QUIET).min(first + DELAY_MAX));
        let believed = self.unfinished.values().min().copied();
        due.into_iter().chain(believed).min().map(|at| at.saturating_duration_since(now))
    }

    /// What to load now, and since when; none if it is too early.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(Hints, Instant)> {
        let before = self.unfinished.len();
        self.unfinished.retain(|_, until| *until > now);
        if self.unfinished.len() < before {
            self.touch(now);
        }
        let (first, last) = self.since?;
        if now < (last + QUIET).min(first + DELAY_MAX) {
            // What just ceased to be believed has waited long enough.
            if self.unfinished.len() == before {
                return None;
            }
        }
        self.since = None;
        let unfinished: BTreeSet<_> = self.unfinished.keys().cloned().collect();
        let changed = std::mem::take(&mut self.changed);
        self.changed = changed.intersection(&unfinished).cloned().collect();
        let emptied = self.emptied.difference(&unfinished).cloned().collect();
        self.emptied = self.emptied.intersection(&unfinished).cloned().collect();
        let is_all = !std::mem::take(&mut self.is_vague);
        Some((Hints { changed, unfinished, emptied, is_quiet: false, is_all }, first))
    }

    fn finished(&mut self, real: PathBuf, source: &Source, now: Instant) {
        let is_empty = fs::metadata(&real).is_ok_and(|metadata| metadata.len() == 0);
        if is_empty && source.has_objects(&real) {
            self.unfinished.insert(real.clone(), now + EMPTY_MAX);
            self.emptied.insert(real.clone());
        } else {
            self.unfinished.remove(&real);
            self.emptied.remove(&real);
            self.touch(now);
        }
        self.changed.insert(real);
    }

    fn touch(&mut self, now: Instant) {
        let first = self.since.map_or(now, |(first, _)| first);
        self.since = Some((first, now));
    }
}

/// Whether a path was created by opening it for writing: links are complete at once.
fn is_new_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1)
}

/// The path without links; of a path that is gone, its folder's.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    match (path.parent().and_then(|folder| fs::canonicalize(folder).ok()), path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}
