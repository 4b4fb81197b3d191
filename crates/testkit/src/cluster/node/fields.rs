//! What the downward API gives of a Pod.

use serde_json::Value;

/// The field `path` of `pod`, such as `metadata.labels['app']` or `status.podIP`; none if it has no value.
///
/// Source: Kubernetes, `pkg/fieldpath/fieldpath.go` and `pkg/kubelet/kubelet_pods.go`.
pub(super) fn field(pod: &Value, path: &str) -> Option<String> {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        return Some(lookup(pod, map)?.get(key).map(text).unwrap_or_default());
    }
    match path {
        "status.podIPs" | "status.hostIPs" => {
            let addresses = lookup(pod, path)?.as_array()?;
            Some(addresses.iter().map(|entry| text(&entry["ip"])).collect::<Vec<_>>().join(","))
        }
        "metadata.labels" | "metadata.annotations" => {
            let map = lookup(pod, path)?.as_object()?;
            let lines = map.iter().map(|(key, value)| format!("{key}={:?}", text(value)));
            Some(lines.collect::<Vec<_>>().join("\n"))
        }
        _ => lookup(pod, path).map(text),
    }
}

fn lookup<'v>(pod: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(pod, |value, part| value.get(part))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_read_by_their_paths() {
        let pod = json!({
            "metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x", "b": "c"}},
            "spec": {"nodeName": "node0"},
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
        });
        for (path, value) in [
            ("metadata.name", Some("a")),
            ("metadata.labels['app.kubernetes.io/name']", Some("x")),
            ("metadata.labels['none']", Some("")),
            ("metadata.labels", Some("app.kubernetes.io/name=\"x\"\nb=\"c\"")),
            ("spec.nodeName", Some("node0")),
            ("status.podIPs", Some("10.0.0.1,fd00::1")),
            ("status.hostIP", None),
        ] {
            assert_eq!(field(&pod, path).as_deref(), value, "{path}");
        }
    }
}
