//! `./x bench failover`: how long an address of the pool does not answer when the node dies that announces it.

mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use testkit::cluster::{Program, build};

use super::machine::Machine;
use crate::run::{Profile, build_rauta};
use world::{Death, World};

/// What a take-over may cost.
const TARGET: Duration = Duration::from_secs(2);

/// Options of `./x bench failover`.
#[derive(Args)]
pub(crate) struct Options {
    /// Deaths of each kind.
    #[arg(long, default_value_t = 20)]
    deaths: usize,
    /// Measure this binary instead of building one: to compare two versions.
    #[arg(long, value_name = "FILE")]
    rauta: Option<PathBuf>,
}

/// Measures and prints the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let rauta = match &options.rauta {
        Some(binary) => binary.canonicalize().with_context(|| format!("no binary {}", binary.display()))?,
        None => build_rauta(Profile::Release)?,
    };
    ensure!(options.deaths > 0, "--deaths must be 1 or more");
    build(&Program::CONTROL_PLANE)?;
    let Machine { kernel, processor, cores, memory_mib, load_before, .. } = Machine::look();
    println!("{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}; load before: {load_before}");
    println!("longest time without an answer at take-overs, in milliseconds; {} of each", options.deaths);
    println!("\n{:<14}{:<46}{:>8}{:>8}{:>8}{:>8}", "programs", "death", "best", "median", "worst", "late");
    for hook in ["off", "tc"] {
        let mut world = World::new(&rauta, hook)?;
        for death in Death::ALL {
            let silences = (0..options.deaths).map(|_| world.die(death)).collect::<Result<Vec<_>>>()?;
            let Summary { best, median, worst, late } = Summary::of(silences);
            let [best, median, worst] = [best, median, worst].map(|time| time.as_millis());
            println!("{hook:<14}{:<46}{best:>8}{median:>8}{worst:>8}{late:>8}", death.to_string());
        }
    }
    println!("\nlate: more than {} ms", TARGET.as_millis());
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Summary {
    best: Duration,
    median: Duration,
    worst: Duration,
    /// How many took longer than they may.
    late: usize,
}

impl Summary {
    /// Of one value at least.
    fn of(mut values: Vec<Duration>) -> Self {
        values.sort_unstable();
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        Self {
            best: at(0),
            median: at((values.len().saturating_sub(1)) / 2),
            worst: at(values.len().saturating_sub(1)),
            late: values.iter().filter(|value| **value > TARGET).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_of_values_that_were_measured() {
        let ms = Duration::from_millis;
        let summary = Summary::of(vec![ms(2001), ms(900), ms(1500), ms(2000)]);
        assert_eq!(summary, Summary { best: ms(900), median: ms(1500), worst: ms(2001), late: 1 });
        let one = Summary::of(vec![ms(7)]);
        assert_eq!(one, Summary { best: ms(7), median: ms(7), worst: ms(7), late: 0 });
    }
}
