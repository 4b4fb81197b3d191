//! Who of several agents writes statuses: the holder of a Lease (`coordination.k8s.io/v1`).

use std::time::{Duration, Instant};

use kube::Client;
use kube::core::Request;
use kube::core::params::{GetParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::trouble::words;

/// How long a holder that says nothing is believed to live.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long no longer acts as one. It sees that within [`PERIOD`] and [`ANSWER_MAX`], before another
/// may act.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often the Lease is looked at and renewed.
const PERIOD: Duration = Duration::from_secs(2);
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// And when everything ends: nobody waits long for it.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(1);

/// Takes part in the election by the Lease `name` in `namespace`, for ever.
pub(crate) async fn take_part(
    client: Client,
    (namespace, name): (String, &'static str),
    identity: String,
    leads: watch::Sender<bool>,
) {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let mut candidate = Candidate { seen: None, renewed: None, identity, said: String::new() };
    loop {
        let before = Instant::now();
        match timeout(ANSWER_MAX, candidate.turn(&client, &path, name)).await {
            Ok(Ok(true)) => candidate.renewed = Some(before),
            Ok(Ok(false)) => candidate.renewed = None,
            Ok(Err(error)) => candidate.say(&path, &words(&error)),
            Err(_) => candidate.say(&path, "no answer"),
        }
        let is_leader = candidate.renewed.is_some_and(|renewed| renewed.elapsed() < DEADLINE);
        leads.send_if_modified(|last| {
            let changed = *last != is_leader;
            if changed {
                let what = if is_leader { "this agent writes" } else { "another agent writes" };
                tracing::info!(identity = candidate.identity, "{what} the status of objects");
            }
            *last = is_leader;
            changed
        });
        sleep(PERIOD).await;
    }
}

/// Gives the Lease up, if `identity` holds it, so that another takes it at once.
pub(crate) async fn release(client: &Client, (namespace, name): (&str, &str), identity: &str) {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let give_up = async {
        let bad = kube::Error::BuildRequest;
        let request = Request::new(&path).get(name, &GetParams::default()).map_err(bad)?;
        let mut lease = client.request::<Value>(request).await?;
        if lease["spec"]["holderIdentity"] == *identity {
            lease["spec"]["holderIdentity"] = json!("");
            let request =
                Request::new(&path).replace(name, &PostParams::default(), body(&lease)).map_err(bad)?;
            client.request::<Value>(request).await?;
        }
        Ok::<(), kube::Error>(())
    };
    // Who cannot give it up loses it in time.
    let _ = timeout(LAST_ANSWER_MAX, give_up).await;
}

struct Candidate {
    identity: String,
    /// The version of the Lease that was seen last, and when it was new here: clocks of others are not asked.
    seen: Option<(String, Instant)>,
    /// When this one renewed it last.
    renewed: Option<Instant>,
    /// What went wrong last.
    said: String,
}

/// What there is to do about a Lease.
#[derive(Debug, PartialEq)]
enum Step {
    Wait,
    /// Writes it so.
    Write(Value),
}

impl Candidate {
    /// Looks at the Lease and renews or takes it where that is due; whether this one holds it.
    async fn turn(&mut self, client: &Client, path: &str, name: &str) -> kube::Result<bool> {
        let bad = kube::Error::BuildRequest;
        let request = Request::new(path).get(name, &GetParams::default()).map_err(bad)?;
        let lease = match client.request::<Value>(request).await {
            Ok(lease) => lease,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let body = body(&renewed(&json!({"metadata": {"name": name}}), &self.identity));
                let request = Request::new(path).create(&PostParams::default(), body).map_err(bad)?;
                return written(client.request(request).await);
            }
            Err(error) => return Err(error),
        };
        match self.step(&lease, Instant::now()) {
            Step::Wait => Ok(false),
            Step::Write(lease) => {
                let request = Request::new(path).replace(name, &PostParams::default(), body(&lease));
                written(client.request(request.map_err(bad)?).await)
            }
        }
    }

    fn step(&mut self, lease: &Value, now: Instant) -> Step {
        let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if seen == version => *since,
            _ => now,
        };
        self.seen = Some((version.to_owned(), since));
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let seconds = lease["spec"]["leaseDurationSeconds"].as_u64().unwrap_or(DURATION.as_secs());
        let is_over = now.duration_since(since) > Duration::from_secs(seconds);
        if holder == self.identity || holder.is_empty() || is_over {
            Step::Write(renewed(lease, &self.identity))
        } else {
            Step::Wait
        }
    }

    fn say(&mut self, path: &str, why: &str) {
        if self.said != why {
            tracing::warn!(
                "cannot have the Lease in {path}: {why}; without it no status is written: allow get, create and update of \
                 leases in API group \"coordination.k8s.io\" there"
            );
            why.clone_into(&mut self.said);
        }
    }
}

/// Somebody else was faster: no error.
fn written(answer: kube::Result<Value>) -> kube::Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// The Lease as `identity` holds it from now on.
fn renewed(lease: &Value, identity: &str) -> Value {
    let mut lease = lease.clone();
    let now = clock::micros();
    let is_taken = lease["spec"]["holderIdentity"] != *identity;
    if is_taken {
        let changes = lease["spec"]["leaseTransitions"].as_u64();
        lease["spec"]["leaseTransitions"] = json!(changes.map_or(0, |changes| changes + 1));
        lease["spec"]["acquireTime"] = json!(now);
    }
    lease["spec"]["holderIdentity"] = json!(identity);
    lease["spec"]["leaseDurationSeconds"] = json!(DURATION.as_secs());
    lease["spec"]["renewTime"] = json!(now);
    lease
}

fn body(lease: &Value) -> Vec<u8> {
    lease.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate() -> Candidate {
        Candidate { identity: "a".to_owned(), seen: None, renewed: None, said: String::new() }
    }

    fn lease(holder: &str, version: &str) -> Value {
        json!({"metadata": {"name": "l", "resourceVersion": version},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3}})
    }

    #[test]
    fn a_holder_that_renews_keeps_it() {
        let (mut candidate, start) = (candidate(), Instant::now());
        for i in 0..20 {
            let now = start + PERIOD * i;
            assert_eq!(candidate.step(&lease("b", &i.to_string()), now), Step::Wait);
        }
    }

    #[test]
    fn a_holder_that_says_nothing_loses_it() {
        let (mut candidate, start) = (candidate(), Instant::now());
        assert_eq!(candidate.step(&lease("b", "1"), start), Step::Wait);
        assert_eq!(candidate.step(&lease("b", "1"), start + DURATION), Step::Wait);
        let late = start + DURATION + Duration::from_millis(1);
        let Step::Write(taken) = candidate.step(&lease("b", "1"), late) else { panic!("not taken") };
        assert_eq!(taken["spec"]["holderIdentity"], "a");
        assert_eq!(taken["spec"]["leaseTransitions"], 4);
        assert_eq!(taken["metadata"]["resourceVersion"], "1");
    }

    #[test]
    fn its_own_is_renewed_and_one_that_was_given_up_is_taken_at_once() {
        let Step::Write(renewed) = candidate().step(&lease("a", "1"), Instant::now()) else {
            panic!("not renewed")
        };
        assert_eq!(renewed["spec"]["leaseTransitions"], 3);
        assert!(renewed["spec"]["renewTime"].is_string());
        assert!(matches!(candidate().step(&lease("", "1"), Instant::now()), Step::Write(_)));
    }
}
