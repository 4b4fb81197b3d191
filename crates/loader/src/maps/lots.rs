//! The lots of requests that went to userspace.

use std::net::SocketAddr;

use wire::{Lot, Tuple};

use super::{LOTS, clients::mapped, raw::RawMap};
use crate::{Datapath, MapError};

/// A handle on `LOTS` for other threads.
pub struct Lots(RawMap);

/// A lot that was noted longer ago is that of another connection on the same ports: one that went to userspace is accepted sooner.
const FRESH_S: u32 = 10;

impl Datapath {
    /// The lots of requests that went to userspace.
    ///
    /// # Errors
    ///
    /// The kernel's answer to opening the map.
    pub fn lots(&self) -> Result<Lots, MapError> {
        Ok(Lots(RawMap::open(self.maps.shape(LOTS)?, &self.pin(LOTS))?))
    }
}

impl Lots {
    /// The lot of the request with which the connection went to userspace, if one was drawn. It is given once.
    ///
    /// # Errors
    ///
    /// The kernel's answer to changing the map.
    pub fn take(&self, client: SocketAddr, vip: SocketAddr) -> Result<Option<u32>, MapError> {
        let tuple = Tuple {
            source: mapped(client.ip()),
            destination: mapped(vip.ip()),
            source_port: client.port().to_be_bytes(),
            destination_port: vip.port().to_be_bytes(),
        };
        let now_s = u32::try_from(crate::now() / 1_000_000_000).unwrap_or(u32::MAX);
        let noted = self.0.take::<_, Lot>(&tuple, 0)?;
        Ok(noted.filter(|noted| now_s.saturating_sub(noted.noted_s) <= FRESH_S).map(|noted| noted.lot))
    }
}
