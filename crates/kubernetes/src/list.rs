//! Objects of a kind as they are now, read once.

use std::time::Duration;

use kube::core::Request;
use kube::core::params::ListParams;
use model::ObjectKind;
use serde_json::{Value, json};
use tokio::time::timeout;
use translate::Object;

use crate::client::client;
use crate::scope::{Scope, plural};
use crate::trouble::words;
use crate::{ClientError, Connection};

/// Objects of one answer; more come in further ones.
const PAGE: u32 = 500;
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Why objects cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The connection's certificates or credentials cannot be used.
    #[error("cannot use the certificates or credentials for the API server")]
    Client(#[source] Box<ClientError>),
    /// The API server refused it, or could not be asked.
    #[error(
        "cannot list {what}: {why}; it takes the right to list {what}, here or in one namespace (--namespace)"
    )]
    Refused {
        /// The collection.
        what: String,
        /// The API server's words, or what came instead.
        why: String,
    },
    /// No answer in time.
    #[error("the API server at {url} has not answered within {} s", ANSWER_MAX.as_secs())]
    Late {
        /// The API server.
        url: String,
    },
}

/// All Ingresses of the cluster, or of a namespace, as manifests.
///
/// # Errors
/// [`ListError`]: not all of them were read.
pub async fn ingresses(connection: &Connection, namespace: Option<&str>) -> Result<Vec<Value>, ListError> {
    let kind = ObjectKind::Ingress;
    let client = client(&connection.config).map_err(|error| ListError::Client(Box::new(error)))?;
    let scope = match namespace {
        Some(namespace) => Scope::One(model::ObjectRef::new(kind, namespace, "")),
        None => Scope::All(kind),
    };
    let refused = |error: &kube::Error| ListError::Refused { what: plural(kind), why: words(error) };
    let mut parameters = ListParams { limit: Some(PAGE), ..ListParams::default() };
    let mut all = Vec::new();
    loop {
        let request = Request::new(scope.path()).list(&parameters).map_err(kube::Error::BuildRequest);
        let request = request.map_err(|error| refused(&error))?;
        let answer = timeout(ANSWER_MAX, client.request::<Value>(request)).await;
        let answer = answer.map_err(|_| ListError::Late { url: connection.url() })?;
        let mut page = match answer {
            Ok(page) => page,
            // They have changed too much since the first page: from the beginning.
            Err(kube::Error::Api(status)) if status.code == 410 && parameters.continue_token.is_some() => {
                parameters.continue_token = None;
                all.clear();
                continue;
            }
            Err(error) => return Err(refused(&error)),
        };
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            all.extend(items.into_iter().map(|item| manifest(kind, item)));
        }
        match page["metadata"]["continue"].as_str().unwrap_or_default() {
            "" => return Ok(all),
            token => parameters.continue_token = Some(token.to_owned()),
        }
    }
}

/// An entry of a list with what the list says of all of them.
fn manifest(kind: ObjectKind, mut item: Value) -> Value {
    item["apiVersion"] = json!(Object::api_version(kind));
    item["kind"] = json!(kind.as_str());
    item
}
