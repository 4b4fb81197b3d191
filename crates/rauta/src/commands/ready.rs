//! `rauta ready`: whether the agent takes traffic, for probes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use api::v1::Status;

use super::ask::with_client;
use crate::agent::pod_name;

/// Ends with 0 if the agent behind the control socket takes traffic and is this Pod's.
///
/// While one Pod takes over from another both are on one node, and one of them answers at the addresses and the control
/// socket of both: a Pod that asked by HTTP would take the other's readiness for its own.
pub(crate) fn run(socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let status = with_client(socket, async |client| Ok(client.status().await?))?;
    if let Some(why) = not_ready(&status, pod_name().as_deref()) {
        bail!("not ready: {why}");
    }
    Ok(ExitCode::SUCCESS)
}

fn not_ready(status: &Status, pod: Option<&str>) -> Option<String> {
    match pod {
        Some(pod) if pod != status.pod => {
            let other = if status.pod.is_empty() { "an agent outside of Pods" } else { &status.pod };
            Some(format!("{other} is at work, {pod} is not"))
        }
        _ if status.ready => None,
        _ => Some(status.not_ready_reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readiness_of_another_pod_is_not_ours() {
        let status = |pod: &str, ready| Status {
            pod: pod.to_owned(),
            ready,
            not_ready_reason: if ready { String::new() } else { "draining".to_owned() },
            ..Status::default()
        };
        assert_eq!(not_ready(&status("a", true), Some("a")), None);
        assert_eq!(not_ready(&status("a", true), None), None);
        assert_eq!(not_ready(&status("a", false), Some("a")).as_deref(), Some("draining"));
        assert_eq!(not_ready(&status("a", true), Some("b")).as_deref(), Some("a is at work, b is not"));
        let outside = "an agent outside of Pods is at work, b is not";
        assert_eq!(not_ready(&status("", true), Some("b")).as_deref(), Some(outside));
    }
}
