//! Rate limits of routes: whose bucket a request takes from. All threads share the buckets; there are no locks.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http1::RequestHead;
use ipnet::IpNet;
use model::RateLimitKey;
use policy::{RateLimit, RateTable, RateVerdict};
use tokio::time::Instant;

use crate::remembered;

/// Clients and header values that are told apart, of all routes together: 2 MiB.
const KEYS_MAX: usize = 131_072;

/// The buckets of all keys of all routes.
pub(crate) struct Rates {
    epoch: Instant,
    hasher: RandomState,
    table: OnceLock<RateTable>,
}

/// The limit of a route.
pub(crate) struct Limiter {
    said: model::RateLimit,
    limit: RateLimit,
    /// The one bucket of a limit without keys.
    shared: Line,
    /// Tells its keys from those of other limits.
    name: u64,
}

/// On a cache line of its own: every thread writes it.
#[repr(align(128))]
struct Line(AtomicU64);

impl Rates {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), hasher: RandomState::new(), table: OnceLock::new() }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Limiter {
    pub(crate) fn new(said: &model::RateLimit) -> Self {
        let period_ns = u64::try_from(said.period.as_nanos()).unwrap_or(u64::MAX);
        Self {
            said: said.clone(),
            limit: RateLimit::new(said.requests, period_ns, said.burst),
            shared: Line(AtomicU64::new(0)),
            name: remembered::name(),
        }
    }

    /// What it was made from.
    pub(crate) fn said(&self) -> &model::RateLimit {
        &self.said
    }

    /// Counts a request; how long to wait for the next one that may pass, if it may not.
    pub(crate) fn take(
        &self,
        rates: &Rates,
        address: impl FnOnce() -> Option<IpAddr>,
        head: &RequestHead,
    ) -> Result<(), Duration> {
        let exempt = &self.said.exempt;
        let address = (!exempt.is_empty() || self.said.key == RateLimitKey::Address).then(address).flatten();
        if address.is_some_and(|address| is_exempt(exempt, address)) {
            return Ok(());
        }
        let of_key = |write: &dyn Fn(&mut dyn Hasher)| {
            let mut hasher = rates.hasher.build_hasher();
            hasher.write_u64(self.name);
            write(&mut hasher);
            rates.table.get_or_init(|| RateTable::new(KEYS_MAX)).bucket(hasher.finish())
        };
        let bucket = match &self.said.key {
            RateLimitKey::Route => &self.shared.0,
            RateLimitKey::Address => {
                let network = address.map(network);
                of_key(&|hasher| network.iter().for_each(|bits| hasher.write_u128(*bits)))
            }
            RateLimitKey::Header(name) => of_key(&|hasher| {
                for value in head.values(name) {
                    hasher.write(value);
                    hasher.write_u8(b',');
                }
            }),
        };
        match self.limit.take(bucket, rates.now_ns()) {
            RateVerdict::Pass => Ok(()),
            RateVerdict::Limited { retry_after_ns } => Err(Duration::from_nanos(retry_after_ns)),
        }
    }
}

/// Whether a client has no limit.
pub(crate) fn is_exempt(exempt: &[IpNet], address: IpAddr) -> bool {
    exempt.iter().any(|network| network.contains(&address.to_canonical()))
}

/// What counts as one client: an IPv4 address, or the 64 bits of IPv6 in which a host takes any address it likes (RFC 4291 section
/// 2.5.1).
pub(crate) fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_ipv6_is_its_first_64_bits() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }
}
