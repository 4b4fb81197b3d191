//! Where values of Pods come from: Secrets, ConfigMaps, tokens.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::cluster::Client;

/// Something that a container waits for; the Pod's status shows it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Missing(pub(super) String);

/// Keys and their bytes.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// Reads what a Pod refers to.
pub(super) trait Sources {
    /// The data of the Secret or ConfigMap `name` in the Pod's namespace; nothing where it is `optional` and missing.
    fn data(&self, pod: &Value, kind: &str, name: &str, optional: bool) -> Result<Data, Missing>;

    /// A token of the Pod's service account for `audience`.
    fn token(&self, pod: &Value, audience: Option<&str>, seconds: u64) -> Result<String, Missing>;
}

impl Sources for Client {
    fn data(&self, pod: &Value, kind: &str, name: &str, optional: bool) -> Result<Data, Missing> {
        let namespace = namespace(pod);
        let plural = format!("{}s", kind.to_ascii_lowercase());
        let object = match self.get(&format!("/api/v1/namespaces/{namespace}/{plural}/{name}")) {
            Ok(object) => object,
            Err(error) if error.status() == Some(404) && optional => return Ok(Data::new()),
            Err(error) if error.status() == Some(404) => return Err(missing(kind, namespace, name)),
            Err(error) => return Err(Missing(error.to_string())),
        };
        let mut data = Data::new();
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            data.insert(key.clone(), if kind == "Secret" { decode(text)? } else { text.into() });
        }
        for (key, value) in object["binaryData"].as_object().into_iter().flatten() {
            data.insert(key.clone(), decode(value.as_str().unwrap_or_default())?);
        }
        Ok(data)
    }

    fn token(&self, pod: &Value, audience: Option<&str>, seconds: u64) -> Result<String, Missing> {
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", namespace(pod));
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"],
                           "uid": pod["metadata"]["uid"]});
        let mut request = json!({"spec": {"expirationSeconds": seconds, "boundObjectRef": bound}});
        if let Some(audience) = audience {
            request["spec"]["audiences"] = json!([audience]);
        }
        let answer = self.create(&path, &request).map_err(|error| Missing(error.to_string()))?;
        Ok(answer["status"]["token"].as_str().unwrap_or_default().to_owned())
    }
}

/// The namespace of `pod`.
pub(super) fn namespace(pod: &Value) -> &str {
    pod["metadata"]["namespace"].as_str().unwrap_or("default")
}

fn missing(kind: &str, namespace: &str, name: &str) -> Missing {
    Missing(format!("{kind} {namespace}/{name} is missing"))
}

fn decode(text: &str) -> Result<Vec<u8>, Missing> {
    BASE64_STANDARD.decode(text).map_err(|error| Missing(format!("a value is not base64: {error}")))
}

#[cfg(test)]
pub(super) mod test {
    use super::*;

    /// Kind, name, key and value of what there is.
    pub(in super::super) struct Fixed<'t>(pub(in super::super) &'t [(&'t str, &'t str, &'t str, &'t str)]);

    impl Sources for Fixed<'_> {
        fn data(&self, pod: &Value, kind: &str, name: &str, optional: bool) -> Result<Data, Missing> {
            let of_it = self.0.iter().filter(|entry| (entry.0, entry.1) == (kind, name));
            let data: Data = of_it.map(|entry| (entry.2.to_owned(), entry.3.into())).collect();
            if data.is_empty() && !optional {
                return Err(missing(kind, namespace(pod), name));
            }
            Ok(data)
        }

        fn token(&self, _pod: &Value, audience: Option<&str>, seconds: u64) -> Result<String, Missing> {
            Ok(format!("token for {} of {seconds} s", audience.unwrap_or("the API server")))
        }
    }
}
