//! The image is used once before it is written: what a library lacks is seen here, not on a node.

use std::fs::{self, File};
use std::os::unix::fs::chroot;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::content::PROGRAM;

/// What the program in the archive says of its version, run in the image's own root.
///
/// # Errors
/// The archive is not what it should be, or the program does not run.
pub(super) fn version(archive: &[u8]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let root = unpack(archive, folder.path())?;
    let output = run(&root, &["--version"])?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        output.status.success() && !said.is_empty(),
        "the program does not run in the image ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(said)
}

/// Unpacks the archive below `folder`, then its layers as a runtime does; the root.
fn unpack(archive: &[u8], folder: &Path) -> Result<std::path::PathBuf> {
    let (layout, root) = (folder.join("layout"), folder.join("root"));
    for made in [&layout, &root] {
        fs::create_dir(made)?;
    }
    let file = folder.join("image.tar");
    fs::write(&file, archive)?;
    extract(&file, &layout, &[])?;
    let index = json(&layout.join("index.json"))?;
    let manifest = json(&place(&layout, &index["manifests"][0])?)?;
    for layer in manifest["layers"].as_array().context("a manifest without layers")? {
        extract(&place(&layout, layer)?, &root, &["--gzip"])?;
    }
    Ok(root)
}

/// The file of a descriptor in the layout.
fn place(layout: &Path, descriptor: &Value) -> Result<std::path::PathBuf> {
    let digest = descriptor["digest"].as_str().context("a descriptor without a digest")?;
    Ok(layout.join("blobs").join(digest.replace(':', "/")))
}

fn json(path: &Path) -> Result<Value> {
    let file = File::open(path).with_context(|| format!("the image has no {}", path.display()))?;
    Ok(serde_json::from_reader(file)?)
}

fn extract(archive: &Path, folder: &Path, options: &[&str]) -> Result<()> {
    let mut command = Command::new("tar");
    command.arg("--extract").args(options).arg("--file").arg(archive).arg("--directory").arg(folder);
    let output = command.output().context("cannot run tar")?;
    ensure!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Runs the program with `root` as its root: as root, or in a user namespace of its own.
fn run(root: &Path, words: &[&str]) -> Result<Output> {
    let program = format!("/{PROGRAM}");
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new(&program);
        let root = root.to_owned();
        // SAFETY: between fork and exec only chroot and chdir are called, which are async-signal-safe (signal-safety(7)).
        unsafe {
            command.pre_exec(move || {
                chroot(&root)?;
                std::env::set_current_dir("/")
            });
        }
        command
    } else {
        let mut command = Command::new("unshare");
        command.arg("--map-root-user").arg("--root").arg(root).arg(&program);
        command
    };
    command.args(words).env_clear().output().context("cannot run the program in the image")
}

#[cfg(test)]
mod tests {
    use testkit::sha256_hex;

    use super::super::{archive::archive, content::layers};
    use super::*;

    fn image() -> Vec<u8> {
        // Linked with a library beside the usual ones, and on every Debian.
        let layers = layers(Path::new("/bin/ls"), "{}").unwrap();
        archive(&layers, "team/ls", "v1").unwrap()
    }

    #[test]
    fn an_image_runs_where_nothing_but_itself_is() {
        let said = version(&image()).unwrap();
        assert!(said.starts_with("ls (GNU coreutils)"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        let root = unpack(&image(), folder.path()).unwrap();
        let output = run(&root, &["-1", "/", "/etc"]).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        for name in ["etc", "proc", "tmp", "usr", "passwd", "rauta", "ssl"] {
            assert!(said.lines().any(|line| line == name), "no {name} in {said}");
        }
    }

    #[test]
    fn digests_and_sizes_are_those_of_what_they_name_and_the_same_image_is_the_same_bytes() {
        let image = image();
        assert!(image == self::image(), "two archives of the same content differ");
        let folder = tempfile::tempdir().unwrap();
        unpack(&image, folder.path()).unwrap();
        let layout = folder.path().join("layout");
        let index = json(&layout.join("index.json")).unwrap();
        let manifest = json(&place(&layout, &index["manifests"][0]).unwrap()).unwrap();
        let config = json(&place(&layout, &manifest["config"]).unwrap()).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        for descriptor in layers.iter().chain([&manifest["config"], &index["manifests"][0]]) {
            let content = fs::read(place(&layout, descriptor).unwrap()).unwrap();
            assert_eq!(descriptor["size"], content.len());
            assert_eq!(descriptor["digest"], format!("sha256:{}", sha256_hex(&content)));
        }
        let ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        assert_eq!(ids.len(), layers.len());
        for (id, layer) in ids.iter().zip(layers) {
            let mut command = Command::new("gzip");
            let packed = File::open(place(&layout, layer).unwrap()).unwrap();
            let unpacked = command.arg("--decompress").stdin(packed).output().unwrap().stdout;
            assert_eq!(*id, format!("sha256:{}", sha256_hex(&unpacked)));
        }
        assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/bin/rauta"]));
        assert_eq!(config["config"]["User"], "0:0");
        let name = &index["manifests"][0]["annotations"]["io.containerd.image.name"];
        assert_eq!(name, "docker.io/team/ls:v1");
        assert_eq!(json(&layout.join("manifest.json")).unwrap()[0]["RepoTags"][0], "team/ls:v1");
        assert_eq!(json(&layout.join("oci-layout")).unwrap()["imageLayoutVersion"], "1.0.0");
    }
}
