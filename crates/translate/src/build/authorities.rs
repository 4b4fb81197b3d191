use std::collections::BTreeSet;

use model::{ObjectKind, ObjectRef, Reason};

use super::certificates::entry;
use super::grants::permits;
use crate::objects::Objects;

/// The entry that holds a bundle.
const CA_CRT: &str = "ca.crt";

/// How an object names a bundle of authorities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference<'r> {
    pub(super) group: &'r str,
    pub(super) kind: &'r str,
    pub(super) namespace: &'r str,
    pub(super) name: &'r str,
}

/// The bundle of a ConfigMap or Secret, entry `ca.crt`, checked to hold certificates; `owner` is the object that names it. What it looked for goes into `looked_for`.
///
/// # Errors
/// Why there is none.
pub(super) fn bundle(
    reference: &Reference<'_>,
    owner: &ObjectRef,
    objects: &Objects,
    looked_for: &mut BTreeSet<ObjectRef>,
) -> Result<Vec<u8>, (Reason, String)> {
    let kind = match (reference.group, reference.kind) {
        ("", "ConfigMap") => ObjectKind::ConfigMap,
        ("", "Secret") => ObjectKind::Secret,
        (_, other) => {
            let message = format!("{other} is no kind that holds authorities: name a ConfigMap or a Secret");
            return Err((Reason::InvalidKind, message));
        }
    };
    let key = ObjectRef::new(kind, reference.namespace, reference.name);
    let is_own = reference.namespace == &*owner.namespace;
    if !is_own && !permits(objects, owner, reference.kind, reference.namespace, reference.name) {
        let message = format!(
            "{key} is in another namespace without a ReferenceGrant there for {} of namespace {}: add one, or move it",
            owner.kind, owner.namespace
        );
        return Err((Reason::RefNotPermitted, message));
    }
    looked_for.insert(key.clone());
    let invalid = |message: String| Err((Reason::InvalidCaCertificateRef, message));
    let text = match kind {
        ObjectKind::Secret => match objects.secrets.get(&key) {
            Some(secret) => entry(secret, CA_CRT),
            None => return invalid(format!("there is no {key}")),
        },
        _ => match objects.config_maps.get(&key) {
            Some(map) => {
                let text = map.data.as_ref().and_then(|data| data.get(CA_CRT)).map(|text| text.as_bytes());
                let bytes = map.binary_data.as_ref().and_then(|data| data.get(CA_CRT));
                text.or(bytes.map(|bytes| bytes.0.as_slice())).map(<[u8]>::to_vec)
            }
            None => return invalid(format!("there is no {key}")),
        },
    };
    let Some(text) = text else { return invalid(format!("{key} has no entry {CA_CRT}")) };
    match tls::Authorities::from_pem(&text) {
        Ok(_) => Ok(text),
        Err(error) => invalid(format!("{CA_CRT} of {key} {error}")),
    }
}
