//! What is said about the files: each diagnostic with its place.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use model::{Diagnostic, ObjectRef, Place, Reason};

use crate::claims::Claim;
use crate::file::unreadable;
use crate::parts::Part;
use crate::source::Source;

/// All that is to be said, sorted by place. `built`: what the objects in force do not serve.
pub(crate) fn diagnostics(source: &Source, built: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut all: Vec<_> = source.scan.unreadable.iter().map(|(path, e)| unreadable(path, e)).collect();
    let mut lines = Lines { source, files: HashMap::new() };
    let order = source.order();
    // All but the first of objects that stand in several places: file, part and place of each.
    let mut later: Vec<(&ObjectRef, &Claim, &Path)> = Vec::new();
    for key in source.claims.contested() {
        let mut claims = source.claims.of(key, &order).into_iter().filter(|claim| !claim.is_kept);
        if let Some(first) = claims.next() {
            later.extend(claims.map(|claim| (key, claim, &*first.file)));
        }
    }
    let later_ones: HashSet<_> = later.iter().map(|(_, c, _)| (Arc::as_ptr(&c.part), c.at)).collect();
    for file in source.noisy.iter().filter_map(|path| source.files.get(path)) {
        all.extend(file.error.as_deref().cloned());
        for part in &file.parts {
            all.extend(part.errors.iter().map(|error| lines.placed(error.clone(), &file.path, part)));
            for (at, item) in part.items.iter().enumerate() {
                if item.diagnostics.is_empty() || later_ones.contains(&(Arc::as_ptr(part), at)) {
                    continue;
                }
                let outcome = match &item.key {
                    None => "",
                    Some(key) if source.store.contains(key) => "; the version before it stays in force",
                    Some(_) => "; nothing of it is served",
                };
                all.extend(item.diagnostics.iter().map(|said| {
                    let message = format!("{}{outcome}", said.message);
                    lines.placed(Diagnostic { message, ..said.clone() }, &file.path, part)
                }));
            }
        }
    }
    for (key, claim, first) in later {
        let message = format!("stands in {} already, and that one is used: remove one", first.display());
        let said = Diagnostic::error(Reason::DuplicateObject, key, "", message);
        all.push(lines.found(said, claim));
    }
    let refused = source.refused.values().flatten().cloned();
    all.extend(built.into_iter().chain(refused).map(|said| {
        let key = said.object.as_ref().filter(|_| said.place.is_none());
        let claims = key.map(|key| source.claims.of(key, &order)).unwrap_or_default();
        match claims.into_iter().find(|claim| !claim.is_kept) {
            Some(claim) => lines.found(said, claim),
            None => said,
        }
    }));
    all.sort_by(|a, b| (&a.place, a).cmp(&(&b.place, b)));
    all
}

/// Where the parts of files begin.
struct Lines<'s> {
    source: &'s Source,
    files: HashMap<&'s Path, HashMap<*const Part, u32>>,
}

impl<'s> Lines<'s> {
    /// The diagnostic with its place in the file instead of that in its part.
    fn placed(&mut self, said: Diagnostic, file: &'s Arc<Path>, part: &Arc<Part>) -> Diagnostic {
        let before = self.before(file, part);
        let place = said.place.as_ref().map(|place| Place {
            file: Arc::new(file.to_path_buf()),
            line: place.line + before,
            column: place.column,
        });
        Diagnostic { place, ..said }
    }

    /// The diagnostic at its field of the object there.
    fn found(&mut self, said: Diagnostic, claim: &'s Claim) -> Diagnostic {
        let Some((line, column)) = claim.part.place(claim.at, &said.field) else { return said };
        let place = Some(Place { file: Arc::default(), line, column });
        self.placed(Diagnostic { place, ..said }, &claim.file, &claim.part)
    }

    /// The lines before a part.
    fn before(&mut self, file: &'s Path, part: &Arc<Part>) -> u32 {
        let source = self.source;
        let starts = self.files.entry(file).or_insert_with(|| {
            let parts = source.files.get(file).map(|file| file.parts.as_slice()).unwrap_or_default();
            let starts = parts.iter().scan(0, |lines, part| {
                let start = *lines;
                *lines += part.lines();
                Some((Arc::as_ptr(part), start))
            });
            starts.collect()
        });
        starts.get(&Arc::as_ptr(part)).copied().unwrap_or(0)
    }
}
