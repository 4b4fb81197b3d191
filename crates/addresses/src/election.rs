use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What a node's Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: String,
    /// Changes whenever the Lease is renewed, and only then.
    pub version: String,
    /// Whether it has left in order.
    pub has_left: bool,
    /// The addresses that it announces.
    pub announces: BTreeSet<IpAddr>,
}

/// Which node announces which address, decided by each node for itself from what it sees.
///
/// An address stays where it is announced. One that no living node announces goes to the node that ranks highest for it, among
/// those that live (rendezvous hashing), so each node's share of a dead one's addresses is about the same. Where several
/// announce it, as after a partition, the highest of those keeps it.
///
/// A node lives as long as it is seen to renew its Lease, by the clock of who looks. Only a complete [`Election::observe`] counts as
/// looking: where the API server, or the way to it, is gone, nothing lapses and nothing moves.
///
/// Source: Thaler, Ravishankar, "A name-based mapping scheme for rendezvous" (1996); the clocks as in client-go's leader election.
#[derive(Clone, Debug)]
pub struct Election {
    own: String,
    patience: Duration,
    seen: BTreeMap<String, Seen>,
    /// When it was looked last.
    looked: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Seen {
    peer: Peer,
    /// How long it has been seen not to renew.
    silent: Duration,
    /// In how many looks in a row.
    looks: u32,
}

/// So often a node is seen silent before it counts as dead, however far apart: after a silence of the API server every node has the
/// time to be heard of.
const LOOKS_MIN: u32 = 3;

impl Election {
    /// Nothing seen yet, on the node `own`. Others are believed to live for `patience` without renewing.
    pub fn new(own: &str, patience: Duration) -> Self {
        Self { own: own.to_owned(), patience, seen: BTreeMap::new(), looked: None }
    }

    /// What there is to see at `now`: the Leases of all nodes. To be called after this node has renewed its own, and only if it could: who
    /// cannot write cannot tell whether others do not live or cannot write either.
    pub fn observe(&mut self, peers: Vec<Peer>, now: Instant) {
        let since = self.looked.map(|looked| now.duration_since(looked));
        // Who did not look did not see anybody be silent.
        let watched = since.filter(|since| *since <= self.patience).unwrap_or_default();
        let mut before = std::mem::take(&mut self.seen);
        let see = |peer: Peer| {
            let same = before.remove(&peer.node).filter(|seen| seen.peer.version == peer.version);
            let (silent, looks) =
                same.map_or((Duration::ZERO, 0), |seen| (seen.silent + watched, seen.looks + 1));
            (peer.node.clone(), Seen { peer, silent, looks })
        };
        self.seen = peers.into_iter().filter(|peer| peer.node != self.own).map(see).collect();
        self.looked = Some(now);
    }

    /// Of the addresses that this node could announce, those that it should; `held` are those that it announces.
    pub fn own(&self, wanted: &BTreeSet<IpAddr>, held: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        if self.looked.is_none() {
            return wanted.intersection(held).copied().collect();
        }
        let is_own = |address: &&IpAddr| self.announcer(**address, held.contains(*address)) == self.own;
        wanted.iter().filter(is_own).copied().collect()
    }

    /// The other living nodes that announce an address.
    pub fn others(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        self.living().filter(move |peer| peer.announces.contains(&address)).map(|peer| peer.node.as_str())
    }

    /// Every address that a living node announces, this one's `held` among them.
    pub fn announced(&self, held: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        self.living().flat_map(|peer| &peer.announces).chain(held).copied().collect()
    }

    /// Whether no other node lives.
    pub fn is_alone(&self) -> bool {
        self.living().next().is_none()
    }

    /// The other nodes that live.
    fn living(&self) -> impl Iterator<Item = &Peer> {
        let lives =
            |seen: &&Seen| !seen.peer.has_left && (seen.silent < self.patience || seen.looks < LOOKS_MIN);
        self.seen.values().filter(lives).map(|seen| &seen.peer)
    }

    fn announcer(&self, address: IpAddr, is_held: bool) -> &str {
        let holders: Vec<&str> = self.others(address).chain(is_held.then_some(self.own.as_str())).collect();
        let living = || self.living().map(|peer| peer.node.as_str()).chain([self.own.as_str()]).collect();
        let candidates: Vec<&str> = if holders.is_empty() { living() } else { holders };
        candidates.into_iter().max_by_key(|node| (rank(node, address), *node)).unwrap_or(&self.own)
    }
}

/// How high a node ranks for an address: the same everywhere and in every version.
///
/// FNV-1a over both, and the finaliser of SplitMix64, without which names that differ in their last letter rank alike.
fn rank(node: &str, address: IpAddr) -> u64 {
    let (v4, v6);
    let octets: &[u8] = match address {
        IpAddr::V4(address) => {
            v4 = address.octets();
            &v4
        }
        IpAddr::V6(address) => {
            v6 = address.octets();
            &v6
        }
    };
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = octets.iter().chain(&[0]).chain(node.as_bytes()).fold(0xcbf2_9ce4_8422_2325, fnv);
    let z = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
