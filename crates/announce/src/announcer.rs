use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use netlink::Socket;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, sendto, socket};

use crate::error::{AnnounceError, HoldError};
use crate::frame::announcement;
use crate::interface::Interface;
use crate::kernel::{self, LIFETIME_S};

/// When the neighbours are told, since the take-over: at once, and again for those who missed it or were told otherwise by
/// who held the address before.
const TELL_AT: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// How often the addresses' lives are prolonged.
const RENEW: Duration = Duration::from_secs(2);

/// Holds addresses on one interface.
///
/// What it held stays when it is dropped, and goes by itself within ten seconds: [`Announcer::hold`] nothing to give it up at once.
#[derive(Debug)]
pub struct Announcer {
    interface: Interface,
    kernel: Socket,
    frames: OwnedFd,
    held: BTreeMap<IpAddr, Held>,
    renewed: Option<Instant>,
}

/// An address that this machine holds.
#[derive(Debug)]
struct Held {
    /// When it was taken over.
    since: Instant,
    /// How often the neighbours were told since then.
    told: usize,
    /// The interface has it.
    is_there: bool,
    /// Somebody else added it, and somebody else will take it away.
    is_foreign: bool,
}

impl Announcer {
    /// On the interface of that name, or on the one with the default route.
    ///
    /// # Errors
    /// There is no such interface, or the agent lacks the right to speak on it.
    pub fn open(interface: Option<&str>) -> Result<Self, AnnounceError> {
        let interface = Interface::find(interface)?;
        let kernel = Socket::open(SockProtocol::NetlinkRoute).map_err(AnnounceError::Netlink)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Protocol 0: it only sends.
        let frames = socket(AddressFamily::Packet, SockType::Raw, flags, None)
            .map_err(|error| AnnounceError::Frames(error.into()))?;
        Ok(Self { interface, kernel, frames, held: BTreeMap::new(), renewed: None })
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface.name
    }

    /// The addresses that are this machine's now.
    pub fn held(&self) -> BTreeSet<IpAddr> {
        self.held.iter().filter(|(_, held)| held.is_there).map(|(address, _)| *address).collect()
    }

    /// Holds `wanted` from now on and nothing else, as [`Announcer::tick`] sees to: what an earlier agent left goes, too. Others' addresses stay as they are; one that is
    /// wanted is announced where it stands.
    ///
    /// # Errors
    /// One for each address that could not be had or given up, or one for all; the others are as they should be. What failed
    /// is tried again by [`Announcer::tick`].
    pub fn hold(&mut self, wanted: &BTreeSet<IpAddr>, now: Instant) -> Vec<HoldError> {
        self.held.retain(|address, _| wanted.contains(address));
        for address in wanted {
            let new = Held { since: now, told: 0, is_there: false, is_foreign: false };
            self.held.entry(*address).or_insert(new);
        }
        self.renewed = None;
        self.tick(now)
    }

    /// Tells the neighbours of an address anew: somebody else said that it was his.
    pub fn tell_again(&mut self, address: IpAddr, now: Instant) {
        if let Some(held) = self.held.get_mut(&address) {
            (held.since, held.told) = (now, 0);
        }
    }

    /// Does what is due: to be called every 100 ms or so, once it was said what to hold.
    ///
    /// # Errors
    /// One for each address that is not held as it should be; it is tried again in time.
    pub fn tick(&mut self, now: Instant) -> Vec<HoldError> {
        let mut errors = Vec::new();
        if self.renewed.is_none_or(|renewed| now.duration_since(renewed) >= RENEW) {
            self.renewed = Some(now);
            errors = self.renew();
        }
        let interface = &self.interface;
        for (address, held) in self.held.iter_mut().filter(|(_, held)| held.is_there) {
            let due = TELL_AT.iter().filter(|at| now.duration_since(held.since) >= **at).count();
            if held.told >= due {
                continue;
            }
            let frame = announcement(interface.hardware, *address);
            match sent(&self.frames, &frame, interface) {
                Ok(()) => held.told = due,
                Err(source) => errors.push(HoldError::Tell {
                    address: *address,
                    interface: interface.name.clone(),
                    source,
                }),
            }
        }
        errors
    }

    /// Makes the interface have what is held and nothing else of ours. Others may have changed it since the last time.
    fn renew(&mut self) -> Vec<HoldError> {
        let interface = &self.interface;
        let mut errors = Vec::new();
        match kernel::list(&self.kernel, interface.index) {
            Ok(found) => {
                for address in found.iter().filter(|found| found.is_ours).map(|found| found.address) {
                    if !self.held.contains_key(&address)
                        && let Err(source) = kernel::remove(&self.kernel, interface.index, address)
                    {
                        let interface = interface.name.clone();
                        errors.push(HoldError::Remove { address, interface, source, seconds: LIFETIME_S });
                    }
                }
                for (address, held) in &mut self.held {
                    held.is_foreign = found.iter().any(|found| found.address == *address && !found.is_ours);
                    held.is_there |= held.is_foreign;
                }
            }
            Err(source) => errors.push(HoldError::List { interface: interface.name.clone(), source }),
        }
        // Not listed, one that is not there yet may be somebody else's: adding would give it a lifetime.
        let is_listed = errors.iter().all(|error| !matches!(error, HoldError::List { .. }));
        let due = |held: &Held| !held.is_foreign && (held.is_there || is_listed);
        for (address, held) in self.held.iter_mut().filter(|(_, held)| due(held)) {
            let added = kernel::add(&self.kernel, interface.index, *address);
            held.is_there = added.is_ok();
            if let Err(source) = added {
                errors.push(HoldError::Add { address: *address, interface: interface.name.clone(), source });
            }
        }
        errors
    }
}

fn sent(frames: &OwnedFd, frame: &[u8], interface: &Interface) -> io::Result<()> {
    sendto(frames.as_raw_fd(), frame, &interface.link, MsgFlags::empty())?;
    Ok(())
}
