//! How much of the verifier's budget each program takes: a ratchet.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::lockstep::Both;

/// The counts that were accepted, by kernel (its first two numbers) and program.
const FILE: &str = "tests/golden/instructions.txt";

/// Set to anything, the counts of this kernel are written down.
const UPDATE: &str = "RAUTA_UPDATE_INSTRUCTIONS";

/// The verifier gives up here (BPF_COMPLEXITY_LIMIT_INSNS).
const LIMIT: u32 = 1_000_000;

#[test]
fn programs_stay_as_easy_to_verify_as_they_were() {
    let counts = Both::shared().program.verified();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let file = fs::read_to_string(&path).unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let kernel = release.trim().split('.').take(2).collect::<Vec<_>>().join(".");
    let accepted = |kernel: &str, program: &str| {
        let line = file.lines().find(|line| line.starts_with(&format!("{kernel} {program} ")))?;
        line.rsplit(' ').next()?.parse::<u32>().ok()
    };
    if std::env::var_os(UPDATE).is_some() {
        let mut text: String = file
            .lines()
            .filter(|line| {
                !counts.iter().any(|(program, _)| line.starts_with(&format!("{kernel} {program} ")))
            })
            .map(|l| format!("{l}\n"))
            .collect();
        for (program, count) in &counts {
            writeln!(text, "{kernel} {program} {count}").unwrap();
        }
        fs::write(&path, text).unwrap();
        return;
    }
    // Kernels verify differently: one that was never recorded has half as much again as the hardest one.
    let kernels: Vec<&str> = file.lines().filter_map(|line| line.split(' ').next()).collect();
    let is_known = kernels.contains(&kernel.as_str());
    let mut wrong = String::new();
    for (program, count) in counts {
        let before = if is_known {
            accepted(&kernel, program)
        } else {
            kernels.iter().filter_map(|kernel| accepted(kernel, program)).max().map(|most| most + most / 2)
        };
        let slack = before.unwrap_or(0) / 20;
        let is_right = count < LIMIT
            && before.is_some_and(|before| count <= before + slack && (!is_known || count + slack >= before));
        if !is_right {
            writeln!(wrong, "  {program}: {count} instructions walked, accepted are {before:?}").unwrap();
        }
    }
    assert!(
        wrong.is_empty(),
        "the verifier's work changed by more than 5 % on Linux {kernel}:\n{wrong}\
         If that is meant, accept it: {UPDATE}=1 cargo test -p loader --test golden instructions, and commit {FILE}."
    );
}
