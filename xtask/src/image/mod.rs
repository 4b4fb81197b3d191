//! `./x image`: an image for container runtimes, without one: program, the libraries that it needs, and what says so.
//!
//! The archive is an OCI image layout (image-spec v1.1, image-layout.md) in a tar file, with the `manifest.json` that Docker
//! before version 25 asks for. The same content makes the same archive, byte for byte.

mod archive;
mod check;
mod content;
mod sbom;
mod tar;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::paths::target;
use crate::run::{Profile, build_rauta};

/// Options of `./x image`.
#[derive(Args)]
pub(crate) struct Options {
    /// This program instead of one that is built now, with optimization.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The image's name.
    #[arg(long, default_value = "rauta")]
    name: String,
    /// The image's tag.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Where the archive goes [default: image/NAME-TAG.tar in the target folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the archive, and runs the program out of it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => build_rauta(Profile::Release)?,
    };
    let layers = content::layers(&program, &sbom::sbom()?)?;
    let bytes = archive::archive(&layers, &options.name, &options.tag)?;
    let version = check::version(&bytes)?;
    let output = options.output.clone().unwrap_or_else(|| {
        target().join("image").join(format!("{}-{}.tar", options.name.replace('/', "-"), options.tag))
    });
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(&output, &bytes).with_context(|| format!("cannot write {}", output.display()))?;
    println!(
        "{path}: {name}:{tag} ({version}), {size} MiB

  ctr --namespace k8s.io images import {path}       # onto a node with containerd, for its Pods
  skopeo copy oci-archive:{path} docker://REGISTRY/{name}:{tag}
  docker load --input {path}",
        path = output.display(),
        name = options.name,
        tag = options.tag,
        size = bytes.len() >> 20,
    );
    Ok(())
}
