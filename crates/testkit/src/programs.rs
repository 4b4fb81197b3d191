use std::env::var_os;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// A program of others that `./x setup` put there, by its place in our folder of the cache: `grpc-1.62.2/server`.
///
/// # Errors
/// It is not there.
pub fn set_up(place: &str) -> Result<PathBuf> {
    let home = || Some(PathBuf::from(var_os("HOME")?).join(".cache"));
    let cache = var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let program = cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("rauta").join(place);
    ensure!(program.exists(), "{} is not there: run ./x setup", program.display());
    Ok(program)
}
