//! Requests that an endpoint acknowledged and never read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use testkit::{ClientError, Connection, Netns, Response};

use crate::world::World;

/// Counts what clients see of endpoints that close with a request unread. An endpoint that closes when its time is over does not look first
/// whether something has come; on a busy machine that takes a while, in which its TCP has acknowledged the request. It resets the
/// connection then, and so does the kernel tier: it has let go of the bytes (docs/guide/kernel.md, "When something fails").
pub(crate) struct Unread<'w> {
    world: &'w World,
    before: u64,
    seen: AtomicU64,
}

impl<'w> Unread<'w> {
    /// From here on.
    pub(crate) fn begin(world: &'w World) -> Self {
        Self { world, before: closed_unread(world), seen: AtomicU64::new(0) }
    }

    /// A GET; once more on a new connection, if this one is reset.
    pub(crate) fn get(&self, connection: &mut Connection, path: &str) -> Result<Response, ClientError> {
        match connection.get("a.test", path) {
            Err(ClientError::Reset) => {
                self.seen.fetch_add(1, Relaxed);
                *connection = self.world.connect();
                connection.get("a.test", path)
            }
            answer => answer,
        }
    }

    /// Clients must have seen no reset that was not an endpoint's; none at all of userspace, which asks again.
    #[track_caller]
    pub(crate) fn end(self) {
        let closed = if self.world.hook == "off" { 0 } else { closed_unread(self.world) - self.before };
        let seen = self.seen.into_inner();
        assert!(seen <= closed, "{seen} connections were reset, {closed} of them by endpoints");
    }
}

/// How many connections the endpoints have closed with something unread (net/ipv4/tcp.c).
fn closed_unread(world: &World) -> u64 {
    (0..2).map(|index| of(world.lab.backend(index), "TCPAbortOnClose")).sum()
}

/// A counter of `TcpExt`: a line of names, then one of values.
fn of(netns: &Netns, name: &str) -> u64 {
    let text = netns.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat")).unwrap().unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt: ")).map(|line| line.split(' '));
    let (names, mut values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.clone().position(|found| found == name).unwrap();
    values.nth(at).unwrap().parse().unwrap()
}
