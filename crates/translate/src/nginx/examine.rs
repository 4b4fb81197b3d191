use model::ObjectKind;
use serde_json::Value;

use super::table::{PREFIX, annotation};
use super::values::field;
use crate::object::Object;
use crate::report::Report;

/// What an Ingress of ingress-nginx comes to here.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its annotations of ingress-nginx, by name.
    pub annotations: Vec<Finding>,
}

/// What one annotation comes to.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Without [`PREFIX`].
    pub name: String,
    /// As [`super::Support::as_str`] has it; `unknown`: ingress-nginx has no such annotation.
    pub support: &'static str,
    /// Whether the Ingress is served as the annotation has it.
    pub is_understood: bool,
    /// What is otherwise, or what to do instead.
    pub note: &'static str,
    /// What is wrong with its value.
    pub problem: Option<String>,
}

/// Examines a decoded YAML document by the table and the reader that the translation itself uses. None: it is no Ingress that can
/// be read.
pub fn examine(document: &Value) -> Option<Examined> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let kind = Object::kind_of(text("apiVersion")?, text("kind")?).ok()?;
    if kind != ObjectKind::Ingress {
        return None;
    }
    let object = Object::decode(kind, document).ok()?;
    let key = object.key();
    let Object::Ingress(ingress) = &object else { return None };
    let has_tls = ingress.spec.iter().any(|spec| spec.tls.as_ref().is_some_and(|tls| !tls.is_empty()));
    let mut said = Vec::new();
    super::read(&ingress.metadata, has_tls, &mut Report::new(&key, &mut said));
    super::canary(&ingress.metadata, &mut Report::new(&key, &mut said));
    let names = ingress.metadata.annotations.iter().flatten();
    let names = names.filter_map(|(key, _)| key.strip_prefix(PREFIX));
    let annotations = names.map(|name| {
        let known = annotation(name);
        let is_understood = known.is_some_and(|known| known.support.is_understood());
        // Of others the note says it all.
        let mut problems = said.iter().filter(|found| is_understood && found.field == field(name));
        Finding {
            name: name.to_owned(),
            support: known.map_or("unknown", |known| known.support.as_str()),
            is_understood,
            note: known
                .map_or("ingress-nginx has no such annotation: look at its spelling", |known| known.note),
            problem: problems.next().map(|found| found.message.clone()),
        }
    });
    Some(Examined {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        annotations: annotations.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ingress_is_told_what_becomes_of_each_annotation() {
        let document = serde_json::json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "shop", "namespace": "web", "annotations": {
                format!("{PREFIX}app-root"): "/app",
                format!("{PREFIX}proxy-body-size"): "8mb",
                format!("{PREFIX}server-snippet"): "deny all;",
                format!("{PREFIX}app-rot"): "/app",
                "example.com/other": "x",
            }},
            "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
        });
        let found = examine(&document).unwrap();
        let all: Vec<_> = found
            .annotations
            .iter()
            .map(|one| (one.name.as_str(), one.support, one.is_understood, one.problem.is_some()))
            .collect();
        assert_eq!(
            all,
            [
                ("app-root", "same", true, false),
                ("app-rot", "unknown", false, false),
                ("proxy-body-size", "differs", true, true),
                ("server-snippet", "closed", false, false),
            ]
        );
        assert!(examine(&serde_json::json!({"apiVersion": "v1", "kind": "Service"})).is_none());
    }
}
