//! What must hold whatever objects say.

use serde_json::Value;
use translate::{Object, Options, Store};

/// Documents as JSON, one a line: none panics, each mistake has a text, and what comes out depends neither on the order of
/// the documents nor on how often it is asked for.
pub(crate) fn objects(data: &[u8]) {
    let documents: Vec<Value> =
        data.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    documents_hold(&documents);
}

/// The same for documents that are read already. Of one object only the last document counts, so that there is an order to change.
pub(crate) fn documents_hold(documents: &[Value]) {
    let mut decoded: Vec<Object> = Vec::new();
    for document in documents {
        let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
        let Ok(kind) = Object::kind_of(text("apiVersion"), text("kind")) else { continue };
        let object = match Object::decode(kind, document) {
            Ok(object) => object,
            Err(errors) => {
                assert!(!errors.is_empty());
                let Some(object) = Object::stand_in(kind, document) else { continue };
                object
            }
        };
        decoded.retain(|other| other.key() != object.key());
        decoded.push(object);
    }
    let forwards = built(decoded.iter().cloned());
    let backwards = built(decoded.iter().rev().cloned());
    assert_eq!(forwards, backwards, "the order of objects matters");
}

fn built(objects: impl Iterator<Item = Object>) -> (Value, Vec<String>) {
    let mut store = Store::new(Options::for_files());
    for object in objects {
        for diagnostic in store.apply(object).err().unwrap_or_default() {
            assert!(!diagnostic.message.is_empty(), "{diagnostic:?}");
        }
    }
    let (first, again) = (store.build(), store.build());
    assert!(std::sync::Arc::ptr_eq(&first.snapshot, &again.snapshot), "nothing changed");
    let told = first.diagnostics.iter().map(ToString::to_string).collect();
    (serde_json::to_value(&*first.snapshot).unwrap_or_default(), told)
}
