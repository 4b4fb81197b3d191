use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use model::ObjectRef;
use translate::Object;

use crate::parts::Part;

/// Where the objects stand: of each all parts of files that speak of it.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_key: HashMap<ObjectRef, Vec<Claim>>,
    /// Objects that stand in several places.
    contested: BTreeSet<ObjectRef>,
    changed: BTreeSet<ObjectRef>,
    objects: usize,
}

/// A place where an object stands.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) file: Arc<Path>,
    pub(crate) part: Arc<Part>,
    /// Its place in the part.
    pub(crate) at: usize,
    /// It stood there before the file became unreadable as YAML: it counts if it stands nowhere else.
    pub(crate) is_kept: bool,
}

impl Claim {
    /// What stands there; none if it cannot be read.
    pub(crate) fn object(&self) -> Option<&Object> {
        self.part.items.get(self.at)?.object.as_ref()
    }
}

impl Claims {
    /// Takes the parts of a file in, in the place of those that it had.
    pub(crate) fn exchange(&mut self, file: &Arc<Path>, old: &[Arc<Part>], new: &[Arc<Part>], is_kept: bool) {
        let same = |(a, b): &(&Arc<Part>, &Arc<Part>)| Arc::ptr_eq(a, b);
        let front = old.iter().zip(new).take_while(same).count();
        let (old, new) = (&old[front..], &new[front..]);
        let back = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
        let (old, new) = (&old[..old.len() - back], &new[..new.len() - back]);
        old.iter().for_each(|part| self.remove(part, is_kept));
        new.iter().for_each(|part| self.add(file, part, is_kept));
    }

    /// The objects whose places changed since this was asked last.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.changed)
    }

    /// The order of files is another one: of objects that stand in several another one may count.
    pub(crate) fn reordered(&mut self) {
        self.changed.extend(self.contested.iter().cloned());
    }

    /// Objects that stand in several places.
    pub(crate) fn contested(&self) -> impl Iterator<Item = &ObjectRef> {
        self.contested.iter()
    }

    /// The places of an object, the one that counts first.
    pub(crate) fn of(&self, key: &ObjectRef, order: impl Fn(&Claim) -> (usize, usize)) -> Vec<&Claim> {
        let mut claims: Vec<_> = self.by_key.get(key).into_iter().flatten().collect();
        if claims.len() > 1 {
            claims.sort_by_cached_key(|claim| (claim.is_kept, order(claim), claim.at));
        }
        claims
    }

    /// Objects in the files, good and bad.
    pub(crate) fn objects(&self) -> usize {
        self.objects
    }

    fn add(&mut self, file: &Arc<Path>, part: &Arc<Part>, is_kept: bool) {
        self.objects += if is_kept { 0 } else { part.items.len() };
        for (at, item) in part.items.iter().enumerate() {
            let Some(key) = &item.key else { continue };
            let claim = Claim { file: Arc::clone(file), part: Arc::clone(part), at, is_kept };
            self.by_key.entry(key.clone()).or_default().push(claim);
            self.touch(key);
        }
    }

    fn remove(&mut self, part: &Arc<Part>, is_kept: bool) {
        self.objects -= if is_kept { 0 } else { part.items.len() };
        for (at, item) in part.items.iter().enumerate() {
            let Some(key) = &item.key else { continue };
            if let Some(claims) = self.by_key.get_mut(key) {
                claims.retain(|claim| {
                    !Arc::ptr_eq(&claim.part, part) || claim.at != at || claim.is_kept != is_kept
                });
                if claims.is_empty() {
                    self.by_key.remove(key);
                }
            }
            self.touch(key);
        }
    }

    fn touch(&mut self, key: &ObjectRef) {
        self.changed.insert(key.clone());
        if self.by_key.get(key).is_some_and(|claims| claims.len() > 1) {
            self.contested.insert(key.clone());
        } else {
            self.contested.remove(key);
        }
    }
}
