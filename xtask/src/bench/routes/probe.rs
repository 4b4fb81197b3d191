//! A client that asks for each route that was created until it is served.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::{Connection, Netns};

use super::creators::Created;

/// Between two rounds: one round asks for every route that is waited for, so this bounds what the asking costs.
const PAUSE: Duration = Duration::from_millis(1);
/// Routes asked for in one round, the oldest first.
const ROUND: usize = 64;
/// No route takes so long.
const LIMIT: Duration = Duration::from_secs(60);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of each route the time from the call that creates it to the first good answer through the gateway.
    pub(super) live: Vec<Duration>,
    /// The same from the answer to that call.
    pub(super) behind: Vec<Duration>,
    /// How long each round took, its pause included: so exact are the times.
    pub(super) rounds: Vec<Duration>,
}

/// Asks, from `netns`, until nothing more is told of and every route is served by `endpoint`.
pub(super) fn watch(
    netns: &Netns,
    gateway: SocketAddr,
    endpoint: &str,
    told: &Receiver<Created>,
) -> Result<Seen> {
    let mut connection = Connection::open(netns, gateway)?;
    let (mut waiting, mut seen) = (VecDeque::<Created>::new(), Seen::default());
    loop {
        let begun = Instant::now();
        let is_over = loop {
            match told.try_recv() {
                Ok(created) => waiting.push_back(created),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        if is_over && waiting.is_empty() {
            return Ok(seen);
        }
        for (i, created) in std::mem::take(&mut waiting).into_iter().enumerate() {
            if i >= ROUND {
                waiting.push_back(created);
                continue;
            }
            let answer = connection.get(&created.host, "/").context("the probe's connection")?;
            match answer.status {
                200 => {
                    ensure!(
                        answer.endpoint() == Some(endpoint),
                        "{}: the wrong endpoint answers",
                        created.host
                    );
                    seen.live.push(created.asked.elapsed());
                    seen.behind.push(created.at.elapsed());
                }
                404 => {
                    ensure!(created.at.elapsed() < LIMIT, "{} is not served within 60 s", created.host);
                    waiting.push_back(created);
                }
                other => anyhow::bail!("{}: {other}", created.host),
            }
            if answer.closes() {
                connection = Connection::open(netns, gateway)?;
            }
        }
        sleep(PAUSE.saturating_sub(begun.elapsed()));
        seen.rounds.push(begun.elapsed());
    }
}
