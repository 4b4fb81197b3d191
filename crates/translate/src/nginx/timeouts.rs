//! How long endpoints may take: `proxy-connect-timeout`, `proxy-read-timeout` and `proxy-send-timeout`, in seconds.

use std::time::Duration;

use model::Timeouts;

use super::values::Said;

/// What follows a problem with any of them.
const OUTCOME: &str = "so the limit of the gateway counts: write seconds, such as \"60\"";

pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Timeouts {
    Timeouts {
        connect: seconds(said, "proxy-connect-timeout"),
        read: seconds(said, "proxy-read-timeout"),
        send: seconds(said, "proxy-send-timeout"),
        ..Timeouts::default()
    }
}

fn seconds(said: &mut Said<'_, '_, '_>, name: &str) -> Option<Duration> {
    match said.number(name, OUTCOME)?.ok()? {
        0 => {
            said.bad(name, format!("\"0\" would leave no time at all, {OUTCOME}"));
            None
        }
        seconds => Some(Duration::from_secs(u64::from(seconds))),
    }
}
