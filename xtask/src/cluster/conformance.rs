//! The conformance suite of the Gateway API, v1.6.1, against a gateway in a cluster of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use testkit::cluster::{Cluster, Program, build};
use testkit::{Netns, Process, exec, until};

use super::images;
use super::own::{self, Own};
use crate::agent::Tiers;
use crate::paths;

/// All that a gateway can have; the others are of meshes.
const PROFILES: &str = "GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP";

/// The part of the requests over HTTP/1.1 without TLS that kernel programs must decide over the whole suite, where they are on.
const SHARE_LEAST: f64 = 0.3;

/// Tests that the suite of this version has for a gateway with all features: with fewer a feature was lost, or a test is new.
const TESTS: usize = 131;

/// Options of `./x cluster conformance`. Without `--gateway` and `--apply` the gateway is RAUTA, as its chart installs it.
#[derive(Args)]
pub(crate) struct Options {
    /// The tier that serves at most: 3 is RAUTA without its kernel programs.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3), conflicts_with_all = ["gateway", "manifests"])]
    tier: u8,
    /// Keep the suite's report in docs/conformance.
    #[arg(long)]
    keep_report: bool,
    /// The GatewayClass to test.
    #[arg(long, default_value = "rauta")]
    gateway_class: String,
    /// The profiles to test, with commas.
    #[arg(long, default_value = PROFILES)]
    profiles: String,
    /// Only this test, by its name in the suite: HTTPRouteWeight.
    #[arg(long)]
    run_test: Option<String>,
    /// Manifests to apply first: the class, and the gateway where it runs as Pods.
    #[arg(long = "apply", value_name = "FILE")]
    manifests: Vec<PathBuf>,
    /// A gateway that runs beside the first node's Pods, as a shell's command; KUBECONFIG leads to the API server.
    #[arg(long, value_name = "COMMAND")]
    gateway: Option<String>,
    /// How many nodes, where the gateway is another one.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=100))]
    nodes: u8,
    /// A program that stands for all images of a name.
    #[arg(long = "image", value_name = "NAME=PROGRAM", value_parser = images::parse)]
    images: Vec<(String, PathBuf)>,
    /// Passed on to the suite: --supported-features=…, --usable-address=…
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Options {
    /// All of the suite, against RAUTA with this tier at most.
    pub(super) fn own(tier: u8) -> Self {
        Self {
            tier,
            keep_report: false,
            gateway_class: "rauta".to_owned(),
            profiles: PROFILES.to_owned(),
            run_test: None,
            manifests: Vec::new(),
            gateway: None,
            nodes: 1,
            images: Vec::new(),
            arguments: Vec::new(),
        }
    }

    fn is_own(&self) -> bool {
        self.gateway.is_none() && self.manifests.is_empty()
    }

    /// Whether nothing of the suite is left out.
    fn is_whole(&self) -> bool {
        self.run_test.is_none() && self.profiles == PROFILES && self.arguments.is_empty()
    }
}

/// Runs the suite. It is judged by its exit code and the lines of its tests, since its report may be written before
/// the last of them have ended.
pub(super) fn run(options: &Options) -> Result<()> {
    build(&Program::CLUSTER)?;
    build(&[Program::Conformance])?;
    let folder = paths::target().join("conformance");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = fs::canonicalize(folder)?;
    let is_own = options.is_own();
    let mut named = options.images.clone();
    if is_own {
        named.push(("rauta".to_owned(), Own::build()?));
    }
    // Nodes share the machine's bpf file system: one of them has the chart's kernel programs.
    let nodes = if is_own { 1 } else { options.nodes };
    let cluster = Cluster::start(nodes, &images::table(&named, &folder)?)?;
    for manifest in &options.manifests {
        apply(&cluster, manifest)?;
    }
    let own = is_own.then(|| Own::install(&cluster, options.tier < 3)).transpose()?;
    let _gateway = options.gateway.as_ref().map(|words| gateway(&cluster, words, &folder)).transpose()?;
    until_accepted(&cluster, &options.gateway_class)?;
    let log = folder.join("log");
    let (status, outcome) = suite(&cluster, options, &folder, &log)?;
    println!("{} tests passed, {} failed; {}", outcome.passed, outcome.failed.len(), log.display());
    if let Some(own) = &own {
        let place = folder.join("metrics");
        fs::write(&place, own.metrics()?).with_context(|| format!("cannot write {}", place.display()))?;
    }
    let tiers = own.as_ref().filter(|_| options.tier < 3).map(Own::tiers).transpose()?;
    let share = tiers.as_ref().map(share_of_the_kernel);
    if let Some(share) = &share {
        println!("{share}");
    }
    if !status.success() || !outcome.failed.is_empty() {
        bail!("conformance failed ({status}): {}", outcome.failed.join(", "));
    }
    ensure!(outcome.passed > 0, "the suite has run no test: see {}", log.display());
    if options.is_whole() {
        tiers.as_ref().map_or(Ok(()), enough)?;
        if is_own {
            complete(outcome.passed, &fs::read_to_string(folder.join("report.yaml"))?)?;
        }
    }
    if options.keep_report {
        keep(&folder.join("report.yaml"), options.tier, share.as_deref())?;
    }
    Ok(())
}

fn share_of_the_kernel(tiers: &Tiers) -> String {
    let http11 = tiers.kernel + tiers.cleartext_http11;
    format!(
        "{} of {http11} requests over HTTP/1.1 without TLS were decided in the kernel ({:.0} %), of {} requests in all",
        tiers.kernel,
        100.0 * share_of_http11(tiers),
        tiers.requests(),
    )
}

/// The kernel's part of what it can decide, 0 to 1.
fn share_of_http11(tiers: &Tiers) -> f64 {
    Tiers { userspace: tiers.cleartext_http11, ..*tiers }.kernel_share()
}

/// Whether kernel programs decided as much as they must.
fn enough(tiers: &Tiers) -> Result<()> {
    ensure!(
        share_of_http11(tiers) >= SHARE_LEAST,
        "{}: at least {:.0} % are wanted, and `rauta drops` says why requests go to userspace",
        share_of_the_kernel(tiers),
        100.0 * SHARE_LEAST,
    );
    Ok(())
}

/// Whether nothing was left out: the suite skips in silence the tests of features that a gateway does not name.
fn complete(passed: usize, report: &str) -> Result<()> {
    ensure!(
        passed == TESTS,
        "{passed} tests have passed, not {TESTS}: a feature was lost, or the suite has others"
    );
    let left_out = |line: &&str| {
        let line = line.trim();
        line.starts_with("unsupportedFeatures:")
            || line.strip_prefix("Skipped: ").is_some_and(|count| count != "0")
    };
    if let Some(line) = report.lines().find(left_out) {
        bail!("the report leaves something out: {}", line.trim());
    }
    let profiles = report.lines().filter(|line| line.trim_start().starts_with("name: GATEWAY-")).count();
    ensure!(
        profiles == PROFILES.split(',').count(),
        "the report has {profiles} profiles: {PROFILES} are wanted"
    );
    Ok(())
}

fn apply(cluster: &Cluster, manifest: &Path) -> Result<()> {
    let mut command = cluster.control_plane().kubectl()?;
    command.args(["apply", "--server-side", "-f"]).arg(manifest);
    let output = exec(None, command, Duration::from_secs(60))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot apply {}: {}", manifest.display(), said.trim());
    Ok(())
}

/// Copies the report into the documentation, `share` as a comment in front.
fn keep(report: &Path, tier: u8, share: Option<&str>) -> Result<()> {
    let name = if tier < 3 { "kernel" } else { "userspace" };
    let place = paths::root().join(format!("docs/conformance/v1.6.1-{name}.yaml"));
    let text = fs::read_to_string(report).with_context(|| format!("cannot read {}", report.display()))?;
    let comment = share.map(|share| format!("# {share}.\n")).unwrap_or_default();
    fs::write(&place, comment + &text).with_context(|| format!("cannot write {}", place.display()))?;
    println!("{}", place.display());
    Ok(())
}

fn gateway(cluster: &Cluster, words: &str, folder: &Path) -> Result<Process> {
    let node = Netns::open(&format!("{}-node0", cluster.prefix()))?;
    let mut command = Command::new("sh");
    command.args(["-c", words]).env("KUBECONFIG", cluster.kubeconfig_of_nodes()?);
    Process::spawn(Some(&node), "gateway", command, folder)
}

/// Waits until the class says what its gateway can do: the suite asks at once, and for nothing else.
fn until_accepted(cluster: &Cluster, class: &str) -> Result<()> {
    let path = format!("/apis/gateway.networking.k8s.io/v1/gatewayclasses/{class}");
    let is_accepted = || {
        let object = cluster.control_plane().client().get(&path).ok()?;
        let mut conditions = object["status"]["conditions"].as_array()?.iter();
        conditions.find(|one| one["type"] == "Accepted" && one["status"] == "True").map(drop)
    };
    until(Duration::from_secs(60), &format!("GatewayClass {class} to be Accepted"), is_accepted)
}

fn suite(cluster: &Cluster, options: &Options, folder: &Path, log: &Path) -> Result<(ExitStatus, Outcome)> {
    let control = cluster.control_plane();
    let mut command = Command::new(Program::Conformance.path()?);
    command.args([
        "-test.v",
        "-test.run=^TestConformance$",
        "-test.timeout=60m",
        &format!("--gateway-class={}", options.gateway_class),
        &format!("--conformance-profiles={}", options.profiles),
        &format!("--report-output={}", folder.join("report.yaml").display()),
        "--organization=rauta",
        "--project=rauta",
        "--url=https://github.com/rauta/rauta",
        &format!("--version={}", env!("CARGO_PKG_VERSION")),
        "--contact=https://github.com/rauta/rauta/issues",
    ]);
    if options.is_own() {
        command.args(own::ADDRESSES);
    }
    command.args(options.run_test.as_ref().map(|test| format!("--run-test={test}"))).args(&options.arguments);
    // It dials addresses of Gateways, which are in there.
    control.netns().place(&mut command);
    let mut child = command
        .current_dir(folder)
        .env("KUBECONFIG", control.kubeconfig_inside())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the suite")?;
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut outcome = Outcome::default();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        writeln!(file, "{line}")?;
        if outcome.read(&line) {
            println!("{}", line.trim());
        }
    }
    Ok((child.wait()?, outcome))
}

/// What the lines of the suite say: its tests are one level below its one Go test.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: usize,
    failed: Vec<String>,
}

impl Outcome {
    /// Takes a line; true if it is the verdict on a test.
    fn read(&mut self, line: &str) -> bool {
        let Some((verdict, rest)) =
            line.trim_start().strip_prefix("--- ").and_then(|line| line.split_once(": "))
        else {
            return false;
        };
        let name = rest.split(' ').next().unwrap_or(rest);
        let Some(test) = name.strip_prefix("TestConformance/").filter(|test| !test.contains('/')) else {
            return false;
        };
        match verdict {
            "PASS" => self.passed += 1,
            "FAIL" => self.failed.push(test.to_owned()),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_below_the_least_is_a_failure() {
        let tiers = |kernel| Tiers { kernel, userspace: 200, cleartext_http11: 70, ..Tiers::default() };
        assert!(enough(&tiers(30)).is_ok());
        let error = enough(&tiers(29)).unwrap_err().to_string();
        assert!(error.starts_with("29 of 99") && error.contains("30 % are wanted"), "{error}");
        assert!(Options::own(2).is_whole());
        assert!(!Options { run_test: Some("HTTPRouteWeight".to_owned()), ..Options::own(2) }.is_whole());
    }

    #[test]
    fn what_the_suite_leaves_out_is_a_failure() {
        let place = paths::root().join("docs/conformance/v1.6.1-kernel.yaml");
        let report = fs::read_to_string(place).unwrap();
        assert!(complete(TESTS, &report).is_ok());
        let error = |passed, report: &str| complete(passed, report).unwrap_err().to_string();
        assert!(error(TESTS - 1, &report).starts_with("130 tests have passed, not 131"));
        assert!(error(TESTS, &report.replacen("Skipped: 0", "Skipped: 2", 1)).contains("Skipped: 2"));
        let other = report.replacen("supportedFeatures:", "unsupportedFeatures:", 1);
        assert!(error(TESTS, &other).contains("unsupportedFeatures"));
        assert!(error(TESTS, &report.replace("name: GATEWAY-UDP", "name: MESH")).contains("4 profiles"));
    }

    #[test]
    fn tests_are_counted_and_their_parts_are_not() {
        let mut outcome = Outcome::default();
        for line in [
            "=== RUN   TestConformance/HTTPRouteWeight",
            "--- FAIL: TestConformance (3.00s)",
            "    --- PASS: TestConformance/HTTPRouteWeight (1.00s)",
            "        --- FAIL: TestConformance/GatewayModify/part_one (0.10s)",
            "    --- FAIL: TestConformance/GatewayModify (1.00s)",
            "    --- SKIP: TestConformance/MeshBasic (0.00s)",
        ] {
            outcome.read(line);
        }
        assert_eq!(outcome, Outcome { passed: 1, failed: vec!["GatewayModify".to_owned()] });
    }
}
