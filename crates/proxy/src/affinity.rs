//! Clients that keep their endpoint, whichever connection a request comes by.
//!
//! The first choice is a hash of client and backend ([`balance::hash_client`]), so that both tiers and all machines make the
//! same one without asking each other. A [`ClientCache`] keeps the client there when the backend's endpoints change.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{Affinity, BackendId};

use crate::worker::Worker;

/// Which endpoint each client has. Shared by all threads, and with the kernel tier where that routes.
pub trait ClientCache: Send + Sync {
    /// The endpoint that the client has of `subject` ([`balance::subject`] of a backend), and how long ago it was last used.
    fn get(&self, client: IpAddr, subject: u64) -> Option<(SocketAddr, Duration)>;
    /// Notes that the client uses this endpoint now; the client that was silent longest may go for it.
    fn put(&self, client: IpAddr, subject: u64, endpoint: SocketAddr);
}

/// Where clients keep their endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) subject: u64,
    /// For how long after the last request.
    pub(crate) timeout: Duration,
}

/// What a backend is to clients that keep its endpoints: the same number in the kernel tier, and however it is spoken to.
pub(crate) fn subject(backend: &BackendId) -> u64 {
    balance::subject(&backend.unspoken().to_string())
}

impl Kept {
    pub(crate) fn new(backend: &BackendId, asked: Affinity) -> Self {
        Self { subject: subject(backend), timeout: asked.timeout }
    }
}

/// What one client has, for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    client: IpAddr,
    kept: Kept,
    had: Option<(SocketAddr, Duration)>,
}

/// A use that is noted is not noted again for so long.
const NOTED: Duration = Duration::from_secs(1);

impl Holding {
    pub(crate) fn of(client: IpAddr, kept: Kept, cache: &dyn ClientCache) -> Self {
        let had = cache.get(client, kept.subject).filter(|(_, idle)| *idle <= kept.timeout);
        Self { client, kept, had }
    }

    /// The endpoint that it has, if it comes back in time.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.had.map(|(endpoint, _)| endpoint)
    }

    /// The hash of its `round`th choice.
    pub(crate) fn hash(&self, round: u64) -> u64 {
        balance::hash_client(self.client, self.kept.subject, round)
    }

    /// It has this one from now on.
    pub(crate) fn keep(&mut self, endpoint: SocketAddr, cache: &dyn ClientCache) {
        if !self.had.is_some_and(|(had, idle)| had == endpoint && idle < NOTED) {
            cache.put(self.client, self.kept.subject, endpoint);
            self.had = Some((endpoint, Duration::ZERO));
        }
    }
}

/// What one client has, and the memory in which a change of it is noted.
pub(crate) struct Keeping {
    holding: Holding,
    clients: Arc<Box<dyn ClientCache>>,
}

impl Keeping {
    pub(crate) fn of(worker: &Worker, client: IpAddr, kept: Kept) -> Self {
        let clients = worker.shared.clients();
        Self { holding: Holding::of(client, kept, clients.as_ref().as_ref()), clients }
    }

    pub(crate) fn holding(&self) -> &Holding {
        &self.holding
    }

    /// It has this one from now on.
    pub(crate) fn keep(&mut self, endpoint: SocketAddr) {
        self.holding.keep(endpoint, self.clients.as_ref().as_ref());
    }
}

/// The memory of a gateway without a kernel tier: as many clients as it is told, those that were silent longest go.
pub(crate) struct LocalCache {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    /// How many fill the newer half of a shard.
    half: usize,
}

type Entries = HashMap<(IpAddr, u64), (SocketAddr, Instant)>;

/// What was used lately, and what was used before that: when the newer half is full it becomes the older one.
#[derive(Default)]
struct Shard {
    newer: Entries,
    older: Entries,
}

const SHARDS: usize = 16;

impl LocalCache {
    /// For about as many clients as `entries`: at least half of them, at most so many.
    pub(crate) fn new(entries: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards, half: (entries / SHARDS / 2).max(1) }
    }

    fn shard(&self, key: &(IpAddr, u64)) -> &Mutex<Shard> {
        // SHARDS is a power of two: the remainder has no bias.
        let place = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        &self.shards[place]
    }
}

impl ClientCache for LocalCache {
    fn get(&self, client: IpAddr, subject: u64) -> Option<(SocketAddr, Duration)> {
        let key = (client.to_canonical(), subject);
        let shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        let (endpoint, used) = *shard.newer.get(&key).or_else(|| shard.older.get(&key))?;
        Some((endpoint, used.elapsed()))
    }

    fn put(&self, client: IpAddr, subject: u64, endpoint: SocketAddr) {
        let key = (client.to_canonical(), subject);
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.newer.len() >= self.half && !shard.newer.contains_key(&key) {
            shard.older = mem::take(&mut shard.newer);
        }
        shard.newer.insert(key, (endpoint, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 80).into()
    }

    fn client(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a01_0000 + n).into()
    }

    #[test]
    fn a_backend_is_the_same_to_clients_however_it_is_spoken_to() {
        let plain = BackendId::service("shop", "cart", 80);
        let grpc = model::Speaks { protocol: model::AppProtocol::Http2, tls: None };
        let spoken = BackendId { speaks: Some(grpc.into()), ..plain.clone() };
        assert_eq!(subject(&spoken), balance::subject("shop/cart:80"), "as before, and in the kernel tier");
        assert_eq!(subject(&spoken), subject(&plain));
        assert_ne!(subject(&plain), subject(&BackendId::udp_service("shop", "cart", 80)));
    }

    #[test]
    fn a_client_has_its_endpoint_of_each_subject_under_either_form_of_its_address() {
        let cache = LocalCache::new(1000);
        cache.put(client(1), 7, endpoint(1));
        cache.put(client(1), 8, endpoint(2));
        cache.put("::ffff:10.1.0.1".parse().unwrap(), 7, endpoint(3));
        let of = |subject| cache.get(client(1), subject).map(|(endpoint, _)| endpoint);
        assert_eq!((of(7), of(8), of(9)), (Some(endpoint(3)), Some(endpoint(2)), None));
    }

    #[test]
    fn a_full_cache_keeps_those_who_came_last_and_stays_within_its_size() {
        const ENTRIES: usize = 3200;
        let cache = LocalCache::new(ENTRIES);
        for n in 0..20_000 {
            cache.put(client(n), 7, endpoint(1));
            cache.put(client(0), 7, endpoint(2));
        }
        let has = |n| cache.get(client(n), 7).is_some();
        assert!(has(0), "it kept coming");
        assert!((19_000..20_000).all(has), "the last third of the size");
        assert!(!(1..16_000).any(has));
        let kept = (0..20_000).filter(|&n| has(n)).count();
        assert!((ENTRIES / 2..=ENTRIES).contains(&kept), "{kept}");
    }

    #[test]
    fn a_use_is_noted_once_a_second_and_late_clients_have_nothing() {
        struct Fixed(Duration, Mutex<u32>);
        impl ClientCache for Fixed {
            fn get(&self, _: IpAddr, _: u64) -> Option<(SocketAddr, Duration)> {
                Some((endpoint(1), self.0))
            }
            fn put(&self, _: IpAddr, _: u64, _: SocketAddr) {
                *self.1.lock().unwrap() += 1;
            }
        }
        let kept = Kept { subject: 7, timeout: Duration::from_secs(60) };
        for (idle, had, puts) in [(0, true, 0), (1, true, 1), (60, true, 1), (61, false, 1)] {
            let cache = Fixed(Duration::from_secs(idle), Mutex::default());
            let mut holding = Holding::of(client(1), kept, &cache);
            assert_eq!(holding.endpoint().is_some(), had, "{idle} s");
            for _ in 0..2 {
                holding.keep(endpoint(1), &cache);
            }
            assert_eq!(*cache.1.lock().unwrap(), puts, "{idle} s");
        }
    }
}
