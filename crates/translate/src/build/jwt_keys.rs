use std::collections::BTreeSet;

use model::{Jwks, ObjectKind, ObjectRef, Reason};
use resources::LocalObjectRef;

use super::certificates::entry;
use crate::objects::Objects;
use crate::own::{jwt, route_policy::CLOSES};
use crate::report::Report;

/// The entry that holds keys, where there are several.
const JWKS: &str = "jwks";

/// The keys in a ConfigMap or Secret of `policy`'s namespace; none: they cannot be had, which is reported. What it looked for goes into
/// `looked_for`.
pub(super) fn read(
    reference: &LocalObjectRef,
    policy: &ObjectRef,
    objects: &Objects,
    looked_for: &mut BTreeSet<ObjectRef>,
    field: &str,
    report: &mut Report<'_>,
) -> Option<Jwks> {
    let field = format!("{field}.valueRef");
    let kind = match (reference.group.as_deref().unwrap_or_default(), reference.kind.as_str()) {
        ("", "ConfigMap") => ObjectKind::ConfigMap,
        ("", "Secret") => ObjectKind::Secret,
        (_, other) => {
            let message =
                format!("{other} is no kind that holds keys, {CLOSES}: name a ConfigMap or a Secret");
            report.error(Reason::InvalidKind, field, message);
            return None;
        }
    };
    let object = ObjectRef::new(kind, &policy.namespace, &reference.name);
    let text = text(&object, objects);
    looked_for.insert(object.clone());
    match text {
        Ok(json) => jwt::key_set(&json, (&format!("{object} "), Reason::InvalidJwksRef), &field, report),
        Err(problem) => {
            report.error(Reason::InvalidJwksRef, field, format!("{problem}, {CLOSES}"));
            None
        }
    }
}

fn text(object: &ObjectRef, objects: &Objects) -> Result<Vec<u8>, String> {
    let gone = || format!("there is no {object}");
    let no_entry = || format!("{object} has several entries and none called {JWKS}, or none at all");
    if object.kind == ObjectKind::Secret {
        let secret = objects.secrets.get(object).ok_or_else(gone)?;
        let texts = secret.string_data.iter().flat_map(|data| data.keys());
        let names: BTreeSet<_> = texts.chain(secret.data.iter().flat_map(|data| data.keys())).collect();
        return entry(secret, the_one(names.into_iter())).ok_or_else(no_entry);
    }
    let map = objects.config_maps.get(object).ok_or_else(gone)?;
    let name = the_one(map.data.iter().flat_map(|data| data.keys()));
    let text = map.data.as_ref().and_then(|data| data.get(name));
    text.map(|text| text.as_bytes().to_vec()).ok_or_else(no_entry)
}

/// The name of an only entry, or of the one that holds keys.
fn the_one<'n>(mut names: impl Iterator<Item = &'n String>) -> &'n str {
    match (names.next(), names.next()) {
        (Some(only), None) => only,
        _ => JWKS,
    }
}
