//! The environment, command and arguments of a container.

use serde_json::Value;

use super::expand::expand;
use super::fields::field;
use super::sources::{Missing, Sources};

/// Name and value, in the order of the container.
pub(super) type Environment = Vec<(String, String)>;

/// The environment of `container` in `pod`: `envFrom` first, then `env`, whose `$(VAR)` see what stands before them.
///
/// # Errors
/// A Secret, a ConfigMap or a key of theirs that is not optional is missing.
pub(super) fn environment(
    pod: &Value,
    container: &Value,
    sources: &impl Sources,
) -> Result<Environment, Missing> {
    let mut environment = Environment::new();
    for from in container["envFrom"].as_array().into_iter().flatten() {
        let prefix = from["prefix"].as_str().unwrap_or_default();
        for (kind, reference) in [("ConfigMap", &from["configMapRef"]), ("Secret", &from["secretRef"])] {
            let Some(name) = reference["name"].as_str() else { continue };
            let optional = reference["optional"] == true;
            for (key, value) in sources.data(pod, kind, name, optional)? {
                let value = String::from_utf8_lossy(&value).into_owned();
                set(&mut environment, &format!("{prefix}{key}"), value);
            }
        }
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let Some(name) = variable["name"].as_str() else { continue };
        let value = match &variable["valueFrom"] {
            Value::Null => {
                expand(variable["value"].as_str().unwrap_or_default(), |name| find(&environment, name))
            }
            from => match value_from(pod, from, sources)? {
                Some(value) => value,
                None => continue,
            },
        };
        set(&mut environment, name, value);
    }
    Ok(environment)
}

/// The words to run: `command`, or `entry_point` where the container has none, then `args`.
pub(super) fn command(container: &Value, entry_point: &str, environment: &Environment) -> Vec<String> {
    let words = |field: &str| -> Option<Vec<String>> {
        let words = container[field].as_array()?.iter().filter_map(Value::as_str);
        Some(words.map(|word| expand(word, |name| find(environment, name))).collect())
    };
    let mut command = words("command").unwrap_or_else(|| vec![entry_point.to_owned()]);
    command.extend(words("args").unwrap_or_default());
    command
}

fn value_from(pod: &Value, from: &Value, sources: &impl Sources) -> Result<Option<String>, Missing> {
    if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
        return Ok(Some(field(pod, path).unwrap_or_default()));
    }
    for (kind, reference) in [("ConfigMap", &from["configMapKeyRef"]), ("Secret", &from["secretKeyRef"])] {
        let (Some(name), Some(key)) = (reference["name"].as_str(), reference["key"].as_str()) else {
            continue;
        };
        let optional = reference["optional"] == true;
        let mut data = sources.data(pod, kind, name, optional)?;
        return match data.remove(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            None if optional => Ok(None),
            None => Err(Missing(format!("{kind} {name} has no key {key}"))),
        };
    }
    Ok(None)
}

fn set(environment: &mut Environment, name: &str, value: String) {
    environment.retain(|(known, _)| known != name);
    environment.push((name.to_owned(), value));
}

fn find(environment: &Environment, name: &str) -> Option<String> {
    environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sources::test::Fixed;
    use super::*;

    #[test]
    fn values_come_from_everywhere_and_see_those_before_them() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}});
        let container = json!({
            "envFrom": [{"prefix": "M_", "configMapRef": {"name": "map"}}],
            "env": [
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "ID", "value": "$(POD_NAME)-$(M_a)-$(LATER)"},
                {"name": "LATER", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "k"}}},
                {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": true}}},
                {"name": "M_a", "value": "again"},
            ],
            "args": ["--id", "$(ID)", "$(NONE)"],
        });
        let sources = Fixed(&[("ConfigMap", "map", "a", "1"), ("Secret", "secret", "k", "s")]);
        let environment = environment(&pod, &container, &sources).unwrap();
        let expected = [("POD_NAME", "p"), ("ID", "p-1-$(LATER)"), ("LATER", "s"), ("M_a", "again")];
        assert_eq!(environment, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(command(&container, "/x", &environment), ["/x", "--id", "p-1-$(LATER)", "$(NONE)"]);
        let own = json!({"command": ["sh", "-c"], "args": ["echo $(M_a)"]});
        assert_eq!(command(&own, "/x", &environment), ["sh", "-c", "echo again"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}});
        let sources = Fixed(&[("Secret", "secret", "k", "s")]);
        for (reference, message) in [
            (json!({"secretKeyRef": {"name": "secret", "key": "other"}}), "Secret secret has no key other"),
            (json!({"configMapKeyRef": {"name": "map", "key": "k"}}), "ConfigMap n/map is missing"),
        ] {
            let container = json!({"env": [{"name": "A", "valueFrom": reference}]});
            assert_eq!(environment(&pod, &container, &sources).unwrap_err().to_string(), message);
        }
    }
}
