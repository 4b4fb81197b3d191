use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

/// A use within so short a time of the one before does not change the order.
const NOTED: Duration = Duration::from_millis(100);

/// The sessions of a listening socket, by client and the address that it sends to. There are at most so many: a new one
/// takes the place of the one that was idle longest.
#[derive(Debug)]
pub struct Sessions<S> {
    by_client: HashMap<(SocketAddr, IpAddr), Kept<S>>,
    by_use: BTreeMap<(Instant, u64), (SocketAddr, IpAddr)>,
    next: u64,
    max: usize,
}

#[derive(Debug)]
struct Kept<S> {
    session: S,
    used: (Instant, u64),
}

impl<S> Sessions<S> {
    /// Keeps at most `max`, at least one.
    pub fn new(max: usize) -> Self {
        Self { by_client: HashMap::new(), by_use: BTreeMap::new(), next: 0, max: max.max(1) }
    }

    /// The session of a client, used now.
    pub fn get(&mut self, client: SocketAddr, local: IpAddr, now: Instant) -> Option<&S> {
        let key = (client, local);
        let kept = self.by_client.get_mut(&key)?;
        if now.duration_since(kept.used.0) >= NOTED {
            self.by_use.remove(&kept.used);
            kept.used.0 = now;
            self.by_use.insert(kept.used, key);
        }
        Some(&kept.session)
    }

    /// Adds a session, in the place of the client's old one; gives the one that had to go because there are too many.
    pub fn insert(&mut self, client: SocketAddr, local: IpAddr, session: S, now: Instant) -> Option<S> {
        self.remove(client, local);
        let full = self.by_client.len() >= self.max;
        let longest = if full { self.by_use.first_key_value().map(|(_, key)| *key) } else { None };
        let gone = longest.and_then(|(client, local)| self.remove(client, local));
        let used = (now, self.next);
        self.next += 1;
        self.by_use.insert(used, (client, local));
        self.by_client.insert((client, local), Kept { session, used });
        gone
    }

    /// Takes a session out.
    pub fn remove(&mut self, client: SocketAddr, local: IpAddr) -> Option<S> {
        let kept = self.by_client.remove(&(client, local))?;
        self.by_use.remove(&kept.used);
        Some(kept.session)
    }

    /// Takes one session out that was not used since `before`.
    pub fn expire(&mut self, before: Instant) -> Option<S> {
        let (used, &(client, local)) = self.by_use.first_key_value()?;
        if used.0 >= before {
            return None;
        }
        self.remove(client, local)
    }

    /// Takes the one out that was idle longest.
    pub fn pop(&mut self) -> Option<S> {
        let (_, &(client, local)) = self.by_use.first_key_value()?;
        self.remove(client, local)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn client(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 1000).into()
    }

    #[test]
    fn the_one_that_was_idle_longest_goes_first() {
        let mut sessions = Sessions::new(2);
        let at = |s| Instant::now() + Duration::from_secs(s);
        assert_eq!(sessions.insert(client(1), LOCAL, "one", at(0)), None);
        assert_eq!(sessions.insert(client(2), LOCAL, "two", at(1)), None);
        assert_eq!(sessions.get(client(1), LOCAL, at(2)), Some(&"one"));
        assert_eq!(sessions.insert(client(3), LOCAL, "three", at(3)), Some("two"));
        assert_eq!(sessions.get(client(2), LOCAL, at(3)), None);
        assert_eq!(sessions.insert(client(3), LOCAL, "again", at(4)), None);
        assert_eq!((sessions.len(), sessions.by_use.len()), (2, 2));
    }

    #[test]
    fn what_is_idle_expires_and_what_is_used_stays() {
        let mut sessions = Sessions::new(9);
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        sessions.insert(client(1), LOCAL, "one", at(0));
        sessions.insert(client(1), "127.0.0.2".parse().unwrap(), "other address", at(0));
        sessions.get(client(1), LOCAL, at(50));
        assert_eq!(sessions.expire(at(30)), Some("other address"));
        assert_eq!(sessions.expire(at(30)), None);
        assert_eq!(sessions.remove(client(1), LOCAL), Some("one"));
        assert!(sessions.is_empty() && sessions.by_use.is_empty());
    }
}
