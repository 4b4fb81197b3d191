use anyhow::{Result, bail};
use clap::Args;

use crate::paths::root;
use crate::run::{cargo, pass};

/// Options of `./x fuzz`.
#[derive(Args)]
pub(crate) struct Options {
    /// Which one; without it, the list.
    target: Option<String>,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many requests; for the target `kernel`, which runs the loaded programs (root).
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
}

/// The differential fuzz of the loaded programs against the matcher: a test with seeds of its own, only longer.
const KERNEL: &str = "kernel";

/// The coverage that libFuzzer steers by, and the address sanitizer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds and runs a fuzz target on its corpus.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = root().join("fuzz");
    let Some(target) = &options.target else {
        println!("Fuzz targets (./x fuzz TARGET --seconds N):");
        for entry in std::fs::read_dir(folder.join("fuzz_targets"))?.flatten() {
            if let Some(name) = entry.path().file_stem() {
                println!("  {}", name.to_string_lossy());
            }
        }
        println!("  {KERNEL} (the loaded programs beside the matcher; --requests N, as root)");
        return Ok(());
    };
    if target == KERNEL {
        let mut command = cargo(&["test", "--locked", "-p", "loader", "--test", "differential"]);
        command.args(["--", "--nocapture"]);
        command.env("RAUTA_EBPF", "required").env("RAUTA_FUZZ_REQUESTS", options.requests.to_string());
        return pass(command);
    }
    if !folder.join("fuzz_targets").join(format!("{target}.rs")).exists() {
        bail!("there is no fuzz target {target}: `./x fuzz` lists them");
    }
    let mut build = std::process::Command::new("rustup");
    build
        .current_dir(&folder)
        .args(["run", "nightly", "cargo", "build", "--release", "--target", TRIPLE, "--bin", target])
        .arg("--target-dir")
        .arg(folder.join("target"))
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("RUSTFLAGS", FLAGS);
    pass(build)?;
    let binary = folder.join("target").join(TRIPLE).join("release").join(target);
    // What the fuzzer finds goes to the first folder; the committed corpus is only read.
    let found = folder.join("target/work").join(target);
    std::fs::create_dir_all(&found)?;
    let mut command = std::process::Command::new(binary);
    command
        .current_dir(&folder)
        .arg(format!("-max_total_time={}", options.seconds))
        .args(["-timeout=5", "-max_len=4096", "-artifact_prefix=target/work/"])
        .arg(found)
        .arg(folder.join("corpus").join(target));
    pass(command)
}
