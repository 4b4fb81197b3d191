//! Which endpoint each client has: shared by the programs and userspace.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wire::{CachedClient, CachedEndpoint};
use zerocopy::IntoBytes;

use super::{FLOW_CACHE, Maps, raw::RawMap};
use crate::{Datapath, MapError, object::Shape};

/// A handle on `FLOW_CACHE` for other threads.
pub struct Clients(RawMap);

impl Datapath {
    /// The clients that keep their endpoint.
    ///
    /// # Errors
    ///
    /// The kernel's answer to opening the map.
    pub fn clients(&self) -> Result<Clients, MapError> {
        Ok(Clients(RawMap::open(self.maps.shape(FLOW_CACHE)?, &self.pin(FLOW_CACHE))?))
    }
}

impl Maps {
    pub(super) fn shape(&self, name: &str) -> Result<&Shape, MapError> {
        self.raw(name).map(RawMap::shape)
    }
}

impl Clients {
    /// The endpoint that the client has of `subject`, and how long ago it was last used.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn get(&self, client: IpAddr, subject: u64) -> Result<Option<(SocketAddr, Duration)>, MapError> {
        let found = self.0.get::<_, CachedEndpoint>(&key(client, subject), 0)?;
        Ok(found.map(|cached| {
            let address = IpAddr::from(cached.address).to_canonical();
            let idle = seconds().saturating_sub(cached.used_s);
            (SocketAddr::new(address, u16::from_be_bytes(cached.port)), Duration::from_secs(idle.into()))
        }))
    }

    /// Notes that the client uses this endpoint now.
    ///
    /// # Errors
    ///
    /// The kernel's answer to writing the map.
    pub fn put(&self, client: IpAddr, subject: u64, endpoint: SocketAddr) -> Result<(), MapError> {
        let cached = CachedEndpoint {
            address: mapped(endpoint.ip()),
            port: endpoint.port().to_be_bytes(),
            pad: [0; 2],
            used_s: seconds(),
        };
        self.0.put(key(client, subject).as_bytes(), cached.as_bytes(), 0)
    }
}

fn key(client: IpAddr, subject: u64) -> CachedClient {
    CachedClient { client: mapped(client), subject }
}

pub(super) fn mapped(address: IpAddr) -> wire::IpAddress {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Seconds since boot, on the programs' clock.
fn seconds() -> u32 {
    u32::try_from(crate::now() / 1_000_000_000).unwrap_or(u32::MAX)
}
