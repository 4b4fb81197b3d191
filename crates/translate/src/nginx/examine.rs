use model::{Diagnostic, ObjectKind};
use resources::strict::Problem;
use serde_json::Value;

use super::asked::is_nothing_asked;
use super::table::{PREFIX, Support, annotation};
use super::values::field;
use crate::annotations;
use crate::object::Object;
use crate::report::Report;

/// API groups of Ingresses, of today and of former versions.
const GROUPS: [&str; 2] = ["networking.k8s.io", "extensions"];

/// What an Ingress of ingress-nginx comes to here.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its annotations of ingress-nginx, by name.
    pub annotations: Vec<Finding>,
    /// Why it cannot be read; then nothing is known of its annotations.
    pub error: Option<String>,
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

/// Examines a decoded YAML document by the table and the reader that the translation itself uses. None: it is no Ingress. Fields
/// that are not known are no matter.
pub fn examine(document: &Value) -> Option<Examined> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let version = text("apiVersion");
    let group = version.and_then(|version| version.rsplit_once('/')).map(|(group, _)| group);
    // Other groups have kinds of that name, too.
    let is_it = text("kind") == Some("Ingress")
        && (version.is_none() || group.is_some_and(|group| GROUPS.contains(&group)));
    if !is_it {
        return None;
    }
    let decoded = match Object::kind_of(version.unwrap_or_default(), "Ingress") {
        Ok(kind) => Object::decode_known(kind, document).map_err(|errors| {
            let errors = errors.iter().filter(|error| !matches!(error.problem, Problem::Unknown { .. }));
            let errors: Vec<_> = errors.map(|error| format!("{}: {}", error.path, error.problem)).collect();
            errors.join("; ")
        }),
        Err(_) => Err(format!("apiVersion must be {}", Object::api_version(ObjectKind::Ingress))),
    };
    match decoded {
        Ok((object @ Object::Ingress(_), _)) => Some(examined(&object)),
        Ok(_) => None,
        Err(error) => {
            let name = |name: &str| document.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
            Some(Examined {
                namespace: name("namespace").unwrap_or("default").to_owned(),
                name: name("name").unwrap_or("(without a name)").to_owned(),
                annotations: Vec::new(),
                error: Some(error),
            })
        }
    }
}

fn examined(object: &Object) -> Examined {
    let key = object.key();
    let mut said = Vec::new();
    let mut annotations = Vec::new();
    if let Object::Ingress(ingress) = object {
        annotations::read(&ingress.metadata, true, &mut Report::new(&key, &mut said));
        let nginx = super::read(&ingress.metadata, &mut Report::new(&key, &mut said));
        super::canary(&ingress.metadata, &mut Report::new(&key, &mut said));
        super::report_wildcards(&nginx, ingress, &mut Report::new(&key, &mut said));
        let all = ingress.metadata.annotations.iter().flatten();
        let all = all.filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)));
        annotations = all.map(|(name, value)| finding(name, value, &said)).collect();
    }
    Examined { namespace: key.namespace.to_string(), name: key.name.to_string(), annotations, error: None }
}

fn finding(name: &str, value: &str, said: &[Diagnostic]) -> Finding {
    let of = |support, is_understood, note| Finding {
        name: name.to_owned(),
        support,
        is_understood,
        note,
        // Of others the note says it all.
        problem: said
            .iter()
            .find(|found| is_understood && found.field == field(name))
            .map(|found| found.message.clone()),
    };
    match annotation(name) {
        None => of("unknown", false, "ingress-nginx has no such annotation: look at its spelling"),
        Some(known) if known.support.is_understood() => of(known.support.as_str(), true, known.note),
        Some(_) if is_nothing_asked(name, value) => {
            of(Support::NoEffect.as_str(), true, "with this value it asks for nothing")
        }
        Some(known) => of(known.support.as_str(), false, known.note),
    }
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
                ("app-root", "differs", true, false),
                ("app-rot", "unknown", false, false),
                ("proxy-body-size", "differs", true, true),
                ("server-snippet", "closed", false, false),
            ]
        );
        assert!(examine(&serde_json::json!({"apiVersion": "v1", "kind": "Service"})).is_none());
        let other = serde_json::json!({"apiVersion": "config.openshift.io/v1", "kind": "Ingress"});
        assert!(examine(&other).is_none());
    }

    fn ingress(annotations: Value) -> Value {
        serde_json::json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "shop", "annotations": annotations},
            "spec": {"rules": [{"host": "*.shop.test"}]},
        })
    }

    #[test]
    fn an_ingress_that_cannot_be_read_says_why_and_unknown_fields_do_not_matter() {
        let mut document = ingress(serde_json::json!({format!("{PREFIX}app-root"): "/app"}));
        document["spec"]["later"] = 1.into();
        let found = examine(&document).unwrap();
        assert_eq!((found.annotations.len(), found.error), (1, None));
        document["spec"]["rules"] = "none".into();
        let error = examine(&document).unwrap().error.unwrap();
        assert!(error.contains("spec.rules") && !error.contains("later"), "{error}");
        for version in ["extensions/v1beta1", "networking.k8s.io/v1beta1"] {
            document["apiVersion"] = version.into();
            let found = examine(&document).unwrap();
            let is_told = found.error.is_some_and(|error| error.contains("networking.k8s.io/v1"));
            assert!(found.name == "shop" && is_told, "{version}");
        }
    }

    #[test]
    fn values_count_as_they_do_for_the_translation() {
        for (name, value, expected) in [
            ("backend-protocol", "HTTP", (true, false)),
            ("backend-protocol", "GRPC", (true, false)),
            ("backend-protocol", "FCGI", (true, true)),
            ("proxy-ssl-verify", "on", (true, true)),
            ("enable-modsecurity", "false", (true, false)),
            ("ssl-passthrough", "False", (true, false)),
            ("auth-tls-verify-client", "off", (true, false)),
            ("auth-tls-verify-client", "on", (false, false)),
            ("server-snippet", "", (true, false)),
            ("enable-cors", "T", (true, false)),
            ("enable-cors", "yes", (true, true)),
            ("canary", "yes", (true, true)),
            ("use-regex", "yes", (true, true)),
            ("from-to-www-redirect", "true", (true, true)),
        ] {
            let found = examine(&ingress(serde_json::json!({format!("{PREFIX}{name}"): value}))).unwrap();
            let one = &found.annotations[0];
            assert_eq!((one.is_understood, one.problem.is_some()), expected, "{name}: {value}");
        }
    }
}
