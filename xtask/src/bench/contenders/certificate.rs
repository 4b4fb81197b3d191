//! The certificate that all contenders show: P-256, signed by itself, for nobody checks it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Files of a certificate and its key (PEM).
pub(super) struct Certificate {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
    /// Both in one file, as haproxy wants them.
    pub(super) both: PathBuf,
}

impl Certificate {
    /// Makes one in `folder`.
    ///
    /// # Errors
    /// The files cannot be written.
    pub(super) fn write(folder: &Path) -> Result<Self> {
        let files = Self {
            chain: folder.join("bench-chain.pem"),
            key: folder.join("bench-key.pem"),
            both: folder.join("bench-both.pem"),
        };
        let (chain, key) = pair()?;
        fs::write(&files.chain, &chain)?;
        fs::write(&files.both, format!("{chain}{key}"))?;
        fs::write(&files.key, key)?;
        Ok(files)
    }
}

/// A certificate and its key.
///
/// # Errors
/// None is to be expected.
pub(super) fn pair() -> Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed(vec!["bench.example".to_owned()])?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}
