//! Load of HTTP/2 by h2load, each request read from its log.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::{Lab, exec};

use super::load::{Load, Measured, Protocol, STREAMS};

/// An empty message: not compressed, no bytes (gRPC over HTTP/2, "Length-Prefixed-Message").
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

/// Runs h2load with 2 threads from the lab's client for `time`.
///
/// # Errors
/// h2load is missing, or says something unexpected.
pub(super) fn run(lab: &Lab, address: SocketAddr, load: Load, time: Duration) -> Result<Measured> {
    let log = lab.folder().join("h2load.log");
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let seconds = time.as_secs().max(1);
    let mut command = Command::new("h2load");
    command.args(["-t2", "-c", &load.connections.to_string(), "-m", &STREAMS.to_string()]);
    command.args(["-D", &seconds.to_string(), "--connection-active-timeout", "30"]);
    command.arg("--log-file").arg(&log).args(["-H", ":authority: bench.example"]);
    if load.protocol == Protocol::Grpc {
        let body = lab.folder().join("empty-message");
        fs::write(&body, EMPTY_MESSAGE)?;
        command.arg("-d").arg(&body).args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
    }
    command.arg(format!("https://{address}{}", load.path));
    let output = exec(Some(lab.client()), command, time + Duration::from_secs(30))
        .context("the load of HTTP/2 comes from h2load: install the Debian package nghttp2-client")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.contains("Application protocol: h2"),
        "h2load speaks no HTTP/2 to {address}:\n{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let failed = failures(&said).with_context(|| format!("h2load printed no result:\n{said}"))?;
    let log = fs::read_to_string(&log).context("h2load wrote no log")?;
    measured(&log, failed, load.body, seconds)
}

/// "requests: A total, B started, C done, D succeeded, E failed, F errored, G timeout": E, which has F and G in it.
fn failures(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let part = line.split(", ").find_map(|part| part.strip_suffix(" failed"))?;
    part.parse().ok()
}

/// Each line of the log is a request: when it began (us), its status, how long it took (us).
fn measured(log: &str, failed: u64, body: u64, seconds: u64) -> Result<Measured> {
    let mut times = Vec::new();
    let mut errors = failed;
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        let (status, time) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let time: u32 = time.parse().with_context(|| format!("no line of h2load's log: {line}"))?;
        if status == "200" {
            times.push(time);
        } else {
            errors += 1;
        }
    }
    ensure!(!times.is_empty(), "h2load got no answer of status 200");
    times.sort_unstable();
    let at = |percent: usize| f64::from(times[(times.len() - 1) * percent / 100]);
    let requests = u64::try_from(times.len())?;
    let (p50_us, p99_us) = (at(50), at(99));
    Ok(Measured {
        requests,
        duration_us: seconds * 1_000_000,
        p50_us,
        p99_us,
        errors,
        bytes: requests * body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_log_and_summary_are_read() {
        let said = "progress\nrequests: 12 total, 12 started, 11 done, 9 succeeded, 3 failed, 1 errored, 0 timeout\n";
        assert_eq!(failures(said), Some(3));
        assert_eq!(failures("nothing"), None);
        let log = "1\t200\t300\n2\t200\t100\n3\t503\t9\n4\t200\t200\n";
        let seen = measured(log, 0, 128, 2).unwrap();
        assert_eq!((seen.requests, seen.errors, seen.bytes), (3, 1, 384));
        assert!((seen.p50_us - 200.0).abs() < 1e-9 && (seen.rate() - 1.5).abs() < 1e-9, "{seen:?}");
        assert!(measured("1\t503\t9\n", 0, 1, 1).is_err());
        assert!(measured("what\n", 0, 1, 1).unwrap_err().to_string().contains("what"));
    }
}
