use std::sync::Arc;

use model::{Diagnostic, ObjectKind, ObjectRef, Place, Reason, Severity};
use resources::strict::Problem;
use serde_json::Value;
use translate::{Object, UnknownKind};

use crate::place;
use crate::yaml::{Content, Node};

/// Longest name of an object.
const NAME_BYTES_MAX: usize = 253;
/// Longest name of a namespace.
const LABEL_BYTES_MAX: usize = 63;

/// What a document, or one item of a `List`, holds.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The object's name, where it can be told.
    pub(crate) key: Option<ObjectRef>,
    /// The object, or what stands for one that cannot be read; none if nothing does.
    pub(crate) object: Option<Object>,
    /// Why not, or what else is to be said.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Which document of its part, from 0.
    pub(crate) document: usize,
    /// The path of the object within the document: empty, or `items[3]`.
    pub(crate) prefix: String,
}

/// Reads the objects of one document. Places name no file, and count lines from the document's part.
pub(crate) fn items(node: &Node, document: usize) -> Vec<Item> {
    if node.is_null() {
        return Vec::new();
    }
    let reader = Reader { document };
    let is_list = node.text("kind").is_some_and(|kind| kind.ends_with("List"));
    match node.get("items").map(|entry| &entry.value.content) {
        Some(Content::List(items)) if is_list => {
            items.iter().enumerate().map(|(i, item)| reader.item(item, format!("items[{i}]"))).collect()
        }
        _ if is_list => vec![reader.bad(node, "", None, Reason::Malformed, "a List needs items".to_owned())],
        _ => vec![reader.item(node, String::new())],
    }
}

impl Item {
    /// Line and column of a field of this object in its document.
    pub(crate) fn place(&self, document: &Node, field: &str) -> (u32, u32) {
        match (self.prefix.is_empty(), field.is_empty()) {
            (true, _) => place::find(document, field),
            (false, true) => place::find(document, &self.prefix),
            (false, false) => place::find(document, &format!("{}.{field}", self.prefix)),
        }
    }
}

struct Reader {
    document: usize,
}

impl Reader {
    fn item(&self, node: &Node, prefix: String) -> Item {
        let mut item = self.object(node);
        item.prefix = prefix;
        item
    }

    fn object(&self, node: &Node) -> Item {
        if !matches!(node.content, Content::Map(_)) {
            let message =
                "is no Kubernetes object: it must be a map with apiVersion, kind and metadata".to_owned();
            return self.bad(node, "", None, Reason::Malformed, message);
        }
        let (Some(version), Some(kind)) = (node.text("apiVersion"), node.text("kind")) else {
            let missing = if node.text("apiVersion").is_none() { "apiVersion" } else { "kind" };
            let message = format!("{missing} is missing or no text, so this is no Kubernetes object");
            return self.bad(node, missing, None, Reason::Malformed, message);
        };
        let kind = match Object::kind_of(version, kind) {
            Ok(kind) => kind,
            Err(error) => return self.unknown(node, version, kind, error),
        };
        let metadata = node.get("metadata").map(|entry| &entry.value);
        let Some(name) = metadata.and_then(|metadata| metadata.text("name")).filter(|name| !name.is_empty())
        else {
            let message = format!("metadata.name is missing or no text: give the {kind} a name");
            return self.bad(node, "metadata.name", None, Reason::InvalidField, message);
        };
        if !is_name(name, NAME_BYTES_MAX, true) {
            let message = format!(
                "metadata.name {name:?} is no name: small letters, digits, inner hyphens and dots, at most {NAME_BYTES_MAX}"
            );
            return self.bad(node, "metadata.name", None, Reason::InvalidField, message);
        }
        let namespace = metadata.and_then(|metadata| metadata.text("namespace"));
        let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or("default");
        if !is_name(namespace, LABEL_BYTES_MAX, false) {
            let message = format!(
                "metadata.namespace {namespace:?} is no name: small letters, digits and inner hyphens, at most \
                 {LABEL_BYTES_MAX}"
            );
            return self.bad(node, "metadata.namespace", None, Reason::InvalidField, message);
        }
        let key = ObjectRef::new(kind, namespace, name);
        let mut json = node.to_json();
        drop_status(&mut json, kind);
        match Object::decode(kind, &json) {
            Ok(object) => Item {
                key: Some(key),
                object: Some(object),
                diagnostics: Vec::new(),
                document: self.document,
                prefix: String::new(),
            },
            Err(errors) => {
                let diagnostics = errors
                    .into_iter()
                    .map(|error| {
                        let message = explain(&error.problem);
                        let place = self.place(node, &error.path);
                        Diagnostic::error(Reason::InvalidField, &key, error.path, message).at(place)
                    })
                    .collect();
                let document = self.document;
                let object = Object::stand_in(kind, &json);
                Item { key: Some(key), object, diagnostics, document, prefix: String::new() }
            }
        }
    }

    fn unknown(&self, node: &Node, version: &str, kind: &str, error: UnknownKind) -> Item {
        let message = format!("{version} {kind}: {error}");
        let mut item = self.bad(node, "kind", None, Reason::UnknownKind, message);
        if error == UnknownKind::NotNeeded {
            item.diagnostics[0].severity = Severity::Warning;
        }
        item
    }

    fn bad(&self, node: &Node, field: &str, key: Option<ObjectRef>, reason: Reason, message: String) -> Item {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            reason,
            object: key.clone(),
            field: String::new(),
            place: Some(self.place(node, field)),
            message,
        };
        Item {
            key,
            object: None,
            diagnostics: vec![diagnostic],
            document: self.document,
            prefix: String::new(),
        }
    }

    fn place(&self, node: &Node, field: &str) -> Place {
        let (line, column) = place::find(node, field);
        Place { file: Arc::default(), line, column }
    }
}

/// Whether the API server would take a name: RFC 1123 labels in small letters, with dots between them where `dots` are
/// allowed (apimachinery, `IsDNS1123Subdomain` and `IsDNS1123Label`).
fn is_name(name: &str, bytes_max: usize, dots: bool) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= bytes_max && if dots { name.split('.').all(is_label) } else { is_label(name) }
}

/// The gateway reads no status, and one that another version wrote must not keep an exported object out.
fn drop_status(json: &mut Value, kind: ObjectKind) {
    let has_status = matches!(
        kind,
        ObjectKind::GatewayClass
            | ObjectKind::Gateway
            | ObjectKind::HttpRoute
            | ObjectKind::GrpcRoute
            | ObjectKind::Ingress
            | ObjectKind::Service
            | ObjectKind::BackendTlsPolicy
            | ObjectKind::RoutePolicy
            | ObjectKind::BackendPolicy
    );
    if let (true, Value::Object(object)) = (has_status, json) {
        object.remove("status");
    }
}

fn explain(problem: &Problem) -> String {
    let text = problem.to_string();
    let is_unquoted = text.starts_with("invalid type: ")
        && text.ends_with("expected a string")
        && !text.starts_with("invalid type: map")
        && !text.starts_with("invalid type: seq");
    if is_unquoted { format!("{text}: put it in quotes") } else { text }
}
