//! Canaries: Ingresses that take a share of the requests of other ones.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Action, BackendRef, BackendTarget, HeaderMatch, ObjectRef, Reason, Speaks};
use resources::core::{HTTPIngressPath, Ingress, IngressBackend, IngressRule};

use super::{Builder, created_unix_s};
use crate::nginx::{self, Canary};
use crate::report::Report;

/// A path of a canary: whose, what it takes, where that goes, and the field that says so.
pub(super) struct Taken {
    key: ObjectRef,
    canary: Canary,
    backend: IngressBackend,
    field: String,
}

impl Builder<'_> {
    /// The canary for a path of an Ingress: of several the oldest.
    pub(super) fn canary_of(
        &mut self,
        key: &ObjectRef,
        rule: &IngressRule,
        path: &HTTPIngressPath,
    ) -> Option<Taken> {
        let canaries = self.canaries_beside(key);
        canaries.into_iter().find_map(|(other, ingress)| {
            let (backend, field) = same_path(&ingress, rule, path)?;
            let canary = nginx::canary(&ingress.metadata, &mut Report::muted(&other))?;
            Some(Taken { key: other, canary, backend: backend.clone(), field })
        })
    }

    /// What becomes of the requests of a path, of which a canary takes some: conditions on headers, and actions. The first of those with
    /// a condition counts, and the last is for all others. Endpoints of the canary are spoken to as those beside it.
    pub(super) fn shared(
        &mut self,
        action: Action,
        taken: Taken,
        speaks: Option<&Arc<Speaks>>,
    ) -> Vec<(Option<HeaderMatch>, Action)> {
        let Taken { key, canary, backend, field } = taken;
        let other = match self.ingress_action(&key, &backend, &field, speaks) {
            Action::Forward(refs) => refs,
            _ => Vec::new(),
        };
        let target = other.into_iter().map(|one| one.target).find(is_there);
        // Who has nobody to send requests to takes none.
        let (Some(target), Action::Forward(main)) = (target, &action) else { return vec![(None, action)] };
        let to_canary = Action::Forward(vec![BackendRef::new(1, target.clone())]);
        let certain = canary.certain().into_iter();
        let mut ways: Vec<_> = certain
            .map(|(header, is_canary)| {
                (Some(header), if is_canary { to_canary.clone() } else { action.clone() })
            })
            .collect();
        let rest = canary.total - canary.weight;
        let mains =
            main.iter().map(|one| BackendRef { weight: one.weight.saturating_mul(rest), ..one.clone() });
        let all = match canary.weight {
            0 => action.clone(),
            weight => Action::Forward(mains.chain([BackendRef::new(weight, target)]).collect()),
        };
        ways.push((None, all));
        ways
    }

    /// Says of a canary what it takes nothing of.
    pub(super) fn report_canary(&mut self, key: &ObjectRef, ingress: &Ingress) {
        let objects = self.objects;
        let beside = |other: &ObjectRef| other.namespace == key.namespace && other != key;
        let mains: Vec<_> = objects
            .ingresses
            .iter()
            .filter(|(other, main)| beside(other) && !nginx::is_canary(&main.metadata))
            .filter(|(other, main)| self.classes.owns_ingress(main, &mut Report::muted(other)))
            .map(|(_, main)| &**main)
            .collect();
        let age = |key: &ObjectRef, one: &Ingress| {
            (created_unix_s(&one.metadata).unwrap_or(i64::MAX), key.name.clone())
        };
        let older: Vec<_> = self
            .canaries_beside(key)
            .into_iter()
            .filter(|(other, one)| age(other, one) < age(key, ingress))
            .collect();
        for (i, rule) in ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()).enumerate() {
            for (j, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                let field = format!("spec.rules[{i}].http.paths[{j}]");
                let message = if !mains.iter().any(|main| same_path(main, rule, path).is_some()) {
                    format!(
                        "no Ingress of namespace {} has this host, path and pathType, so the canary takes nothing here: write \
                         them as the Ingress beside it does",
                        key.namespace
                    )
                } else if let Some((other, _)) =
                    older.iter().find(|(_, one)| same_path(one, rule, path).is_some())
                {
                    format!(
                        "{other} is an older canary for it, so this one takes nothing here: a path has one canary"
                    )
                } else {
                    continue;
                };
                self.report(key).warning(Reason::TargetNotFound, field, message);
            }
        }
        if ingress.spec.as_ref().is_some_and(|spec| spec.default_backend.is_some()) {
            let message = "is left out: a canary takes requests of paths alone";
            self.report(key).warning(Reason::Unsupported, "spec.defaultBackend", message);
        }
    }

    /// Other Ingresses of the namespace that are canaries of ours; the oldest first.
    fn canaries_beside(&self, key: &ObjectRef) -> Vec<(ObjectRef, Arc<Ingress>)> {
        let beside =
            self.beside.canaries.iter().filter(|other| other.namespace == key.namespace && *other != key);
        let mut found: Vec<_> = beside
            .filter_map(|other| Some((other.clone(), Arc::clone(self.objects.ingresses.get(other)?))))
            .filter(|(other, ingress)| self.classes.owns_ingress(ingress, &mut Report::muted(other)))
            .filter(|(other, ingress)| nginx::canary(&ingress.metadata, &mut Report::muted(other)).is_some())
            .collect();
        found.sort_by_key(|(other, ingress)| {
            (created_unix_s(&ingress.metadata).unwrap_or(i64::MAX), other.name.clone())
        });
        found
    }
}

/// The backend that an Ingress has for the same host, path and type, and its field.
fn same_path<'i>(
    ingress: &'i Ingress,
    rule: &IngressRule,
    path: &HTTPIngressPath,
) -> Option<(&'i IngressBackend, String)> {
    let host = |rule: &IngressRule| rule.host.clone().unwrap_or_default();
    let text = |path: &HTTPIngressPath| path.path.clone().filter(|path| !path.is_empty());
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()).enumerate();
    rules.filter(|(_, one)| host(one) == host(rule)).find_map(|(i, one)| {
        let paths = one.http.iter().flat_map(|http| &http.paths).enumerate();
        let mut same = paths.filter(|(_, one)| {
            one.path_type == path.path_type
                && text(one).as_deref().unwrap_or("/") == text(path).as_deref().unwrap_or("/")
        });
        same.next().map(|(j, one)| (&one.backend, format!("spec.rules[{i}].http.paths[{j}].backend")))
    })
}

fn is_there(target: &BackendTarget) -> bool {
    matches!(target, BackendTarget::Backend(_))
}

/// The namespaces in which an Ingress came, went or changed that is a canary, or is beside one.
pub(crate) fn affected<'o>(
    changed: &'o BTreeSet<ObjectRef>,
    before: &'o BTreeSet<ObjectRef>,
    now: &'o BTreeSet<ObjectRef>,
) -> BTreeSet<&'o str> {
    let namespaces: BTreeSet<&str> = before.iter().chain(now).map(|key| &*key.namespace).collect();
    let ingresses = changed.iter().filter(|key| key.kind == model::ObjectKind::Ingress);
    ingresses.map(|key| &*key.namespace).filter(|namespace| namespaces.contains(namespace)).collect()
}
