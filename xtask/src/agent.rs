//! What the agent says of its kernel tier, as `rauta status -o json` has it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use testkit::{Lab, exec};

/// Requests by who decided them, and the time of the kernel programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tiers {
    /// Requests that the kernel decided.
    pub(crate) kernel: u64,
    /// Requests that userspace answered.
    pub(crate) userspace: u64,
    /// Of them those over HTTP/1.1 without TLS: what the kernel can decide.
    pub(crate) cleartext_http11: u64,
    /// Time in the programs, in nanoseconds, while the kernel measured it.
    pub(crate) program_ns: u64,
    /// Packets meanwhile, the gateway's or not.
    pub(crate) packets: u64,
}

impl Tiers {
    /// Asks the agent whose control socket is `rauta.sock` in the lab's folder.
    ///
    /// # Errors
    /// It does not answer, or has no kernel programs.
    pub(crate) fn ask(lab: &Lab, rauta: &Path) -> Result<Self> {
        Self::parse(&ask(lab, rauta, &["status", "-o", "json"])?)
    }

    /// What came since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            kernel: self.kernel.saturating_sub(earlier.kernel),
            userspace: self.userspace.saturating_sub(earlier.userspace),
            cleartext_http11: self.cleartext_http11.saturating_sub(earlier.cleartext_http11),
            program_ns: self.program_ns.saturating_sub(earlier.program_ns),
            packets: self.packets.saturating_sub(earlier.packets),
        }
    }

    /// All requests.
    pub(crate) fn requests(self) -> u64 {
        self.kernel + self.userspace
    }

    /// The kernel's part of all requests, 0 to 1; 0 without requests.
    pub(crate) fn kernel_share(self) -> f64 {
        ratio(self.kernel, self.requests())
    }

    /// Nanoseconds that the programs take for a packet; 0 where none was measured.
    pub(crate) fn ns_per_packet(self) -> f64 {
        ratio(self.program_ns, self.packets)
    }

    /// Of what `rauta status -o json` prints.
    ///
    /// # Errors
    /// It is not that, or there are no kernel programs.
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let status: Status = serde_json::from_str(json).context("rauta status -o json")?;
        let dataplane = status.dataplane.unwrap_or_default();
        let tier = dataplane.tier.with_context(|| {
            format!("the kernel does not route ({}): `./x doctor` says what is missing", dataplane.summary)
        })?;
        let time = tier.run_time.unwrap_or_default();
        Ok(Self {
            kernel: tier.requests,
            userspace: status.traffic.requests,
            cleartext_http11: status.traffic.requests_cleartext_http11,
            program_ns: time.nanoseconds,
            packets: time.packets,
        })
    }
}

/// What `rauta ARGUMENTS` prints.
///
/// # Errors
/// It fails; the error says how.
pub(crate) fn ask(lab: &Lab, rauta: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(rauta);
    command.args(arguments).arg("--socket").arg(lab.folder().join("rauta.sock"));
    let output = exec(Some(lab.gateway()), command, Duration::from_secs(20))?;
    ensure!(
        output.status.success(),
        "rauta {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[allow(clippy::cast_precision_loss, reason = "counts of a demo or bench are below 2^52")]
fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

#[derive(Deserialize)]
struct Status {
    traffic: Traffic,
    dataplane: Option<Dataplane>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traffic {
    requests: u64,
    requests_cleartext_http11: u64,
}

#[derive(Default, Deserialize)]
struct Dataplane {
    summary: String,
    tier: Option<Tier>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tier {
    requests: u64,
    run_time: Option<RunTime>,
}

#[derive(Default, Deserialize)]
struct RunTime {
    nanoseconds: u64,
    packets: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_tier() {
        let json = r#"{"traffic":{"requests":10,"requestsCleartextHttp11":9,"refusals":0},"dataplane":{"summary":"TC routes all","tier":
            {"requests":90,"flows":1,"runTime":{"measured":true,"nanoseconds":5000,"packets":20}}}}"#;
        let tiers = Tiers::parse(json).unwrap();
        assert_eq!(
            tiers,
            Tiers { kernel: 90, userspace: 10, cleartext_http11: 9, program_ns: 5000, packets: 20 }
        );
        assert!((tiers.kernel_share() - 0.9).abs() < 1e-9);
        assert!((tiers.ns_per_packet() - 250.0).abs() < 1e-9);
        let later = Tiers { kernel: 95, ..tiers };
        assert_eq!(later.since(tiers), Tiers { kernel: 5, ..Tiers::default() });
        assert!((later.since(tiers).kernel_share() - 1.0).abs() < 1e-9);
        assert!(Tiers::default().kernel_share().abs() < 1e-9, "nothing is no share");
    }

    #[test]
    fn without_programs_the_status_says_why() {
        let json = r#"{"traffic":{"requests":1,"requestsCleartextHttp11":1},"dataplane":{"summary":"off: not root","tier":null}}"#;
        let error = Tiers::parse(json).unwrap_err().to_string();
        assert!(error.contains("off: not root") && error.contains("doctor"), "{error}");
    }
}
