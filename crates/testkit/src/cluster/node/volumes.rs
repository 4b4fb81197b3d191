//! The volumes of a Pod, as folders of the machine.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::fields::field;
use super::sources::{Data, Missing, Sources};

/// How long a token lasts unless its volume says; the kubelet's own figure.
const TOKEN_SECONDS: u64 = 3607;

/// Makes the volumes of `pod` below `folder`, each in the folder of its name. A `hostPath` is a folder of the node, below
/// `node`: nodes that share a machine share no files.
///
/// # Errors
/// Something it refers to is missing, or it is of a kind that a node without containers does not have.
pub(super) fn make(pod: &Value, folder: &Path, node: &Path, sources: &impl Sources) -> Result<(), Missing> {
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let name = volume["name"].as_str().unwrap_or_default();
        let place = folder.join(name);
        make_one(pod, volume, &place, node, sources).map_err(|Missing(why)| {
            // With its name: a Pod may have many.
            Missing(format!("volume {name}: {why}"))
        })?;
    }
    Ok(())
}

/// Where the volume `name` of `pod` is.
pub(super) fn place(pod: &Value, name: &str, folder: &Path, node: &Path) -> PathBuf {
    let volumes = pod["spec"]["volumes"].as_array();
    let volume = volumes.into_iter().flatten().find(|volume| volume["name"] == name);
    match volume.and_then(|volume| volume["hostPath"]["path"].as_str()) {
        Some(path) => host_path(path, node),
        None => folder.join(name),
    }
}

fn make_one(
    pod: &Value,
    volume: &Value,
    place: &Path,
    node: &Path,
    sources: &impl Sources,
) -> Result<(), Missing> {
    if let Some(path) = volume["hostPath"]["path"].as_str() {
        return make_folder(&host_path(path, node));
    }
    make_folder(place)?;
    if let Some(secret) = volume.get("secret") {
        write_data(pod, "Secret", &secret["secretName"], secret, place, sources)
    } else if let Some(map) = volume.get("configMap") {
        write_data(pod, "ConfigMap", &map["name"], map, place, sources)
    } else if let Some(fields) = volume.get("downwardAPI") {
        write_fields(pod, fields, place)
    } else if let Some(projected) = volume.get("projected") {
        for source in projected["sources"].as_array().into_iter().flatten() {
            if let Some(secret) = source.get("secret") {
                write_data(pod, "Secret", &secret["name"], secret, place, sources)?;
            } else if let Some(map) = source.get("configMap") {
                write_data(pod, "ConfigMap", &map["name"], map, place, sources)?;
            } else if let Some(fields) = source.get("downwardAPI") {
                write_fields(pod, fields, place)?;
            } else if let Some(token) = source.get("serviceAccountToken") {
                let seconds = token["expirationSeconds"].as_u64().unwrap_or(TOKEN_SECONDS);
                let text = sources.token(pod, token["audience"].as_str(), seconds)?;
                write(place, token["path"].as_str().unwrap_or("token"), text.as_bytes(), None)?;
            }
        }
        Ok(())
    } else if volume.get("emptyDir").is_some() {
        Ok(())
    } else {
        Err(Missing("a kind that the cluster lab's nodes do not have".to_owned()))
    }
}

/// All keys of a Secret or ConfigMap, or those of `items`.
fn write_data(
    pod: &Value,
    kind: &str,
    name: &Value,
    reference: &Value,
    place: &Path,
    sources: &impl Sources,
) -> Result<(), Missing> {
    let name = name.as_str().unwrap_or_default();
    let optional = reference["optional"] == true;
    let data: Data = sources.data(pod, kind, name, optional)?;
    let Some(items) = reference["items"].as_array() else {
        let mode = reference["defaultMode"].as_u64();
        return data.iter().try_for_each(|(key, bytes)| write(place, key, bytes, mode));
    };
    for item in items {
        let key = item["key"].as_str().unwrap_or_default();
        match data.get(key) {
            Some(bytes) => {
                let mode = item["mode"].as_u64().or(reference["defaultMode"].as_u64());
                write(place, item["path"].as_str().unwrap_or(key), bytes, mode)?;
            }
            None if optional => {}
            None => return Err(Missing(format!("{kind} {name} has no key {key}"))),
        }
    }
    Ok(())
}

fn write_fields(pod: &Value, fields: &Value, place: &Path) -> Result<(), Missing> {
    for item in fields["items"].as_array().into_iter().flatten() {
        let path = item["fieldRef"]["fieldPath"].as_str().unwrap_or_default();
        let text = field(pod, path).unwrap_or_default();
        write(place, item["path"].as_str().unwrap_or(path), text.as_bytes(), item["mode"].as_u64())?;
    }
    Ok(())
}

/// `path` below the node's own folder, apart from what the kernel shows of itself.
fn host_path(path: &str, node: &Path) -> PathBuf {
    let of_the_kernel = ["/sys", "/proc", "/dev", "/lib/modules"];
    if of_the_kernel.iter().any(|root| Path::new(path).starts_with(root)) {
        return PathBuf::from(path);
    }
    // Whatever leads out of the folder is left out.
    let inside: PathBuf =
        Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    node.join(inside)
}

fn make_folder(path: &Path) -> Result<(), Missing> {
    fs::create_dir_all(path).map_err(|error| failed(path, &error))
}

fn write(folder: &Path, name: &str, bytes: &[u8], mode: Option<u64>) -> Result<(), Missing> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    let write = || -> io::Result<()> {
        fs::write(&path, bytes)?;
        let mode = mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
    };
    write().map_err(|error| failed(&path, &error))
}

fn failed(path: &Path, error: &io::Error) -> Missing {
    Missing(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sources::test::Fixed;
    use super::*;

    const SOURCES: Fixed<'_> = Fixed(&[
        ("Secret", "tls", "tls.crt", "certificate"),
        ("Secret", "tls", "tls.key", "key"),
        ("ConfigMap", "ca", "ca.crt", "authority"),
    ]);

    fn pod(volume: &Value) -> Value {
        json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"volumes": [volume]}})
    }

    #[test]
    fn volumes_become_files() {
        let folder = tempfile::tempdir().unwrap();
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).ok();
        let make = |volume: Value| make(&pod(&volume), folder.path(), folder.path(), &SOURCES).unwrap();

        make(json!({"name": "all", "secret": {"secretName": "tls", "defaultMode": 0o400}}));
        assert_eq!(read("all/tls.key").as_deref(), Some("key"));
        let mode = fs::metadata(folder.path().join("all/tls.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);

        make(
            json!({"name": "some", "configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "a/b"}]}}),
        );
        assert_eq!(read("some/a/b").as_deref(), Some("authority"));
        assert_eq!(read("some/ca.crt"), None);

        let projected = json!([
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
            {"configMap": {"name": "ca"}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]);
        make(json!({"name": "account", "projected": {"sources": projected}}));
        assert_eq!(read("account/token").as_deref(), Some("token for the API server of 600 s"));
        assert_eq!(read("account/namespace").as_deref(), Some("n"));

        make(json!({"name": "host", "hostPath": {"path": "/run/../etc/rauta"}}));
        assert!(folder.path().join("run/etc/rauta").is_dir());
    }

    #[test]
    fn what_a_volume_lacks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (volume, message) in [
            (json!({"name": "v", "secret": {"secretName": "gone"}}), "volume v: Secret n/gone is missing"),
            (
                json!({"name": "v", "secret": {"secretName": "tls", "items": [{"key": "k", "path": "k"}]}}),
                "volume v: Secret tls has no key k",
            ),
            (json!({"name": "v", "nfs": {}}), "volume v: a kind that the cluster lab's nodes do not have"),
        ] {
            let error = make(&pod(&volume), folder.path(), folder.path(), &SOURCES).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
