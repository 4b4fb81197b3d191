//! The archive: blobs by their digests, and what leads to them.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use testkit::sha256_hex;

use super::content::PROGRAM;
use super::tar::tar;
use crate::tree::{Entry, Tree};

/// What has no time: the same content is the same image.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The image of `layers`, the lowest first, as `name:tag`.
///
/// # Errors
/// A layer does not fit into the formats.
pub(super) fn archive(layers: &[Tree], name: &str, tag: &str) -> Result<Vec<u8>> {
    let mut blobs = Tree::new();
    let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
    for layer in layers {
        let packed = tar(layer.iter().map(|(path, entry)| (path.as_str(), entry)))?;
        diff_ids.push(format!("sha256:{}", sha256_hex(&packed)));
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        descriptors.push(blob(&mut blobs, kind, gzip(&packed)?));
    }
    let labels = labels(tag);
    let config = json!({
        "architecture": architecture(), "os": "linux", "created": EPOCH,
        "config": {
            "User": "0:0", "WorkingDir": "/", "Env": ["PATH=/usr/bin"],
            "Entrypoint": [format!("/{PROGRAM}")], "Cmd": ["--help"], "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| json!({"created": EPOCH, "created_by": "./x image"})).collect::<Vec<_>>(),
    });
    let config =
        blob(&mut blobs, "application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors, "annotations": labels,
    });
    let of_docker = json!([{
        "Config": path(&config), "RepoTags": [format!("{name}:{tag}")],
        "Layers": descriptors.iter().map(path).collect::<Vec<_>>(),
    }]);
    let mut manifest = blob(&mut blobs, MANIFEST, manifest.to_string().into_bytes());
    manifest["platform"] = json!({"architecture": architecture(), "os": "linux"});
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": tag,
        "io.containerd.image.name": format!("{}:{tag}", full(name)),
    });
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest],
    });
    for (file, content) in [
        ("index.json", index),
        ("manifest.json", of_docker),
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
    ] {
        blobs.insert(file.to_owned(), Entry::File(0o644, content.to_string().into_bytes()));
    }
    for folder in ["blobs", "blobs/sha256"] {
        blobs.insert(folder.to_owned(), Entry::Folder(0o755));
    }
    tar(blobs.iter().map(|(path, entry)| (path.as_str(), entry)))
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Puts `content` among the blobs; its descriptor.
fn blob(blobs: &mut Tree, media_type: &str, content: Vec<u8>) -> Value {
    let digest = format!("sha256:{}", sha256_hex(&content));
    let descriptor = json!({"mediaType": media_type, "digest": digest, "size": content.len()});
    blobs.insert(path(&descriptor), Entry::File(0o644, content));
    descriptor
}

/// Where the blob of a descriptor is.
fn path(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Names of the image-spec's annotations.md.
fn labels(tag: &str) -> Value {
    json!({
        "org.opencontainers.image.title": "RAUTA",
        "org.opencontainers.image.description": "Kubernetes ingress and Gateway API data plane",
        "org.opencontainers.image.version": tag,
        "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
        "org.opencontainers.image.licenses": "Apache-2.0 AND (MIT OR GPL-2.0-only)",
    })
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The name as containerd keeps it: what names no registry is of Docker's.
fn full(name: &str) -> String {
    let first = name.split('/').next().unwrap_or(name);
    let has_registry = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    match (has_registry, name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_runtimes() {
        for (name, whole) in [
            ("rauta", "docker.io/library/rauta"),
            ("team/rauta", "docker.io/team/rauta"),
            ("registry.example/rauta", "registry.example/rauta"),
            ("localhost/rauta", "localhost/rauta"),
        ] {
            assert_eq!(full(name), whole);
        }
    }
}
