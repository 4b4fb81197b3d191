//! What `rauta trace` says of single requests.

use std::fmt;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use testkit::{Connection, Process, until};

use super::{LIMIT, Stage};

/// A running `rauta trace`.
pub(super) struct Trace {
    process: Process,
}

/// Who decided a request, as an event tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Decision {
    client: String,
    /// 2 for TC, 3 for userspace.
    pub(super) tier: u32,
    endpoint: String,
    route: String,
    reason: String,
}

impl Trace {
    /// Begins to listen; `request` is sent until an event shows that it does.
    pub(super) fn start(stage: &Stage, request: &str) -> Result<Self> {
        let mut command = Command::new(&stage.program);
        command.args(["trace", "-o", "json", "--socket"]).arg(stage.lab.folder().join("rauta.sock"));
        let process = stage.lab.spawn(stage.lab.gateway(), "trace", command)?;
        until(LIMIT, "an event of rauta trace", || {
            Connection::open(stage.lab.client(), stage.gateway.address())
                .and_then(|mut c| c.request(request))
                .ok()?;
            (!process.log().is_empty()).then_some(())
        })?;
        Ok(Self { process })
    }

    /// How the first request on the connection from the client's `port` was decided.
    pub(super) fn decision(&mut self, port: u16) -> Result<Decision> {
        let client = format!(":{port}");
        until(LIMIT, &format!("the event of the request from port {port}"), || {
            let log = self.process.log();
            let events = log.lines().filter_map(|line| serde_json::from_str::<Decision>(line).ok());
            events.into_iter().find(|event| event.client.ends_with(&client) && event.is_decision())
        })
        .with_context(|| format!("rauta trace says:\n{}", self.process.log()))
    }
}

impl Decision {
    fn is_decision(&self) -> bool {
        self.reason == "bound" || self.reason.starts_with("hand_")
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tier {
            2 => write!(f, "tier 2 (TC): {}, {}", self.endpoint, self.route),
            tier => write!(f, "tier {tier}: {}", self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_told_in_a_line() {
        let event = |text: &str| serde_json::from_str::<Decision>(text).unwrap();
        let bound = event(
            r#"{"client":"10.77.0.2:40000","tier":2,"endpoint":"10.77.1.11:80","route":"HTTPRoute a/b rule 0","reason":"bound",
            "status":0}"#,
        );
        assert_eq!(bound.to_string(), "tier 2 (TC): 10.77.1.11:80, HTTPRoute a/b rule 0");
        let handed = event(r#"{"client":"c:1","tier":3,"endpoint":"","route":"","reason":"hand_off_route"}"#);
        assert_eq!(handed.to_string(), "tier 3: hand_off_route");
        assert!(bound.is_decision() && handed.is_decision());
        assert!(!Decision { reason: "answered".into(), ..bound }.is_decision());
    }
}
