//! Policies that attach to other objects by `targetRefs` (GEP-713): who is meant, and who wins.
//!
//! Every field counts by itself. Of policies for the same target the older one that sets a field wins, then the first by
//! name; of targets the most specific one (docs/adr/0015).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::core::ObjectMeta;
use model::{ObjectKind, ObjectRef, Reason};
use resources::PolicyTargetRef;

use super::created_unix_s;
use crate::objects::Objects;
use crate::report::Report;

/// What a kind of policy says, field by field.
pub(crate) trait Fields: Clone + Default + PartialEq {
    /// Takes each field that is not set here from `other`. Says the names of those that both set, `fooBar`.
    fn fill(&mut self, other: &Self) -> Vec<&'static str>;
}

/// Takes `other` where `mine` is not set; its name goes into `taken` if both are.
pub(crate) fn fill<T: Clone>(
    name: &'static str,
    mine: &mut Option<T>,
    other: &Option<T>,
    taken: &mut Vec<&'static str>,
) {
    match (&mine, other) {
        (Some(_), Some(_)) => taken.push(name),
        (None, Some(other)) => *mine = Some(other.clone()),
        (_, None) => {}
    }
}

/// A kind that policies may be for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetKind {
    pub(crate) group: &'static str,
    pub(crate) kind: ObjectKind,
    /// What its sectionName names, `listener`; none: it has no parts.
    pub(crate) section: Option<&'static str>,
}

/// What the policies of one kind say of each target.
#[derive(Debug)]
pub(crate) struct Attached<F> {
    targets: BTreeMap<ObjectRef, BTreeMap<Option<Arc<str>>, Target<F>>>,
}

#[derive(Debug, PartialEq)]
struct Target<F> {
    fields: F,
    by: Vec<ObjectRef>,
}

impl<F> Default for Attached<F> {
    fn default() -> Self {
        Self { targets: BTreeMap::new() }
    }
}

impl<F: Fields> Attached<F> {
    /// Attaches a policy to each of its targets. Policies come in the order of [`by_age`].
    pub(crate) fn attach(
        &mut self,
        key: &ObjectRef,
        (references, fields): (&[PolicyTargetRef], &F),
        kinds: &[TargetKind],
        objects: &Objects,
        report: &mut Report<'_>,
    ) {
        let mut seen = BTreeSet::new();
        for (i, reference) in references.iter().enumerate() {
            let field = format!("spec.targetRefs[{i}]");
            let Some((object, section)) = target(key, reference, kinds, objects, &field, report) else {
                continue;
            };
            if !seen.insert((object.clone(), section.clone())) {
                continue;
            }
            let all = self.targets.entry(object.clone()).or_default();
            let at = section.clone();
            let known = all.entry(at).or_insert_with(|| Target { fields: F::default(), by: Vec::new() });
            for name in known.fields.fill(fields) {
                let part = section.as_deref().map(|section| format!(" {section:?}")).unwrap_or_default();
                let others: Vec<_> = known.by.iter().map(ToString::to_string).collect();
                let message =
                    format!("{} says it of {object}{part} already, and counts instead", others.join(" or "));
                report.error(Reason::Conflicted, format!("spec.{name}"), message);
            }
            known.by.push(key.clone());
        }
    }

    /// Whether no policy is for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// What holds where all of `levels` do, the most specific first, and which policies say it, sorted. None: nothing.
    ///
    /// A level is an object and a part of it; none: the object as a whole.
    pub(crate) fn merged<'l>(
        &self,
        levels: impl IntoIterator<Item = (&'l ObjectRef, Option<&'l str>)>,
    ) -> Option<(F, Vec<ObjectRef>)> {
        let (mut fields, mut by) = (F::default(), BTreeSet::new());
        for (object, section) in levels {
            let Some(parts) = self.targets.get(object) else { continue };
            let found = parts.iter().find(|(part, _)| part.as_deref() == section);
            let Some((_, found)) = found else { continue };
            fields.fill(&found.fields);
            by.extend(found.by.iter().cloned());
        }
        (!by.is_empty()).then(|| (fields, by.into_iter().collect()))
    }

    /// The targets of which `other` says something else.
    pub(crate) fn difference(&self, other: &Self) -> BTreeSet<ObjectRef> {
        let of = |a: &Self, b: &Self| -> Vec<ObjectRef> {
            let differ = a.targets.iter().filter(|(target, said)| b.targets.get(target) != Some(said));
            differ.map(|(target, _)| target.clone()).collect()
        };
        of(self, other).into_iter().chain(of(other, self)).collect()
    }

    /// Whether some policy is for an object, be it there or not.
    pub(crate) fn is_for(&self, object: &ObjectRef) -> bool {
        self.targets.contains_key(object)
    }
}

/// Policies in the order in which they count: the older first, then by namespace and name. One without an age is younger than
/// any with one.
pub(crate) fn by_age<P>(
    policies: &BTreeMap<ObjectRef, Arc<P>>,
    meta: impl Fn(&P) -> &ObjectMeta,
) -> Vec<(&ObjectRef, &P)> {
    let mut sorted: Vec<_> = policies.iter().map(|(key, policy)| (key, &**policy)).collect();
    sorted.sort_by_key(|(_, policy)| created_unix_s(meta(policy)).unwrap_or(i64::MAX));
    sorted
}

/// Whom a targetRef means. What is not there is reported, and counts as soon as it is.
fn target(
    key: &ObjectRef,
    reference: &PolicyTargetRef,
    kinds: &[TargetKind],
    objects: &Objects,
    field: &str,
    report: &mut Report<'_>,
) -> Option<(ObjectRef, Option<Arc<str>>)> {
    let is_named =
        |kind: &&TargetKind| (kind.group, kind.kind.as_str()) == (&reference.group, &reference.kind);
    let Some(kind) = kinds.iter().find(is_named) else {
        let known: Vec<_> =
            kinds.iter().map(|kind| format!("{} (group {:?})", kind.kind, kind.group)).collect();
        let message = format!(
            "{} of group {:?} is no target of a {}: name one of {}",
            reference.kind,
            reference.group,
            key.kind,
            known.join(", ")
        );
        report.error(Reason::InvalidKind, format!("{field}.kind"), message);
        return None;
    };
    let object = ObjectRef::new(kind.kind, &key.namespace, &reference.name);
    let section = reference.section_name.as_deref().filter(|section| !section.is_empty());
    let sections = sections(&object, objects);
    match (section, &kind.section, sections) {
        (Some(_), None, _) => {
            let message = format!("{} has no parts to name: remove it", kind.kind);
            report.error(Reason::InvalidField, format!("{field}.sectionName"), message);
            return None;
        }
        (_, _, None) => {
            let message = format!("there is no {object}: nothing is done for it");
            report.error(Reason::TargetNotFound, field, message);
        }
        (Some(section), Some(what), Some(names)) if !names.iter().any(|name| name == section) => {
            let has = if names.is_empty() { "none with a name".to_owned() } else { names.join(", ") };
            let message =
                format!("{object} has no {what} {section:?}, so nothing is done for it; it has {has}");
            report.error(Reason::TargetNotFound, format!("{field}.sectionName"), message);
        }
        _ => {}
    }
    Some((object, section.map(Into::into)))
}

/// The names of an object's parts; none: there is no such object.
fn sections(object: &ObjectRef, objects: &Objects) -> Option<Vec<String>> {
    Some(match object.kind {
        ObjectKind::Gateway => {
            let gateway = objects.gateways.get(object)?;
            gateway.spec.listeners.iter().map(|listener| listener.name.clone()).collect()
        }
        ObjectKind::HttpRoute => {
            let route = objects.http_routes.get(object)?;
            route.spec.rules.iter().flatten().filter_map(|rule| rule.name.clone()).collect()
        }
        ObjectKind::GrpcRoute => {
            let route = objects.grpc_routes.get(object)?;
            route.spec.rules.iter().flatten().filter_map(|rule| rule.name.clone()).collect()
        }
        ObjectKind::Service => {
            let service = objects.services.get(object)?;
            let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            ports.filter_map(|port| port.name.clone()).collect()
        }
        _ => objects.contains(object).then(Vec::new)?,
    })
}
