use std::env::var_os;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Our folder of the cache: `rauta` below `XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// Neither that nor HOME is set.
pub fn cache() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(var_os("HOME")?).join(".cache"));
    let cache = var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("rauta"))
}

/// A program of others that `./x setup` put there, by its place in [`cache`]: `grpc-1.62.2/server`.
///
/// # Errors
/// It is not there.
pub fn set_up(place: &str) -> Result<PathBuf> {
    let program = cache()?.join(place);
    ensure!(program.exists(), "{} is not there: run ./x setup", program.display());
    Ok(program)
}
