//! A snapshot by socket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Listener, ListenerId, Snapshot, Transport};

use super::Socket;
use crate::Facts;

/// The places of the routes of each listener, ascending.
pub(super) fn attached(snapshot: &Snapshot) -> HashMap<&ListenerId, Vec<usize>> {
    let mut attached: HashMap<&ListenerId, Vec<usize>> = HashMap::new();
    for (at, route) in snapshot.routes.iter().enumerate() {
        for id in &route.listeners {
            let places = attached.entry(id).or_default();
            if places.last() != Some(&at) {
                places.push(at);
            }
        }
    }
    attached
}

/// The listeners of each socket, by id.
pub(super) fn sockets(snapshot: &Snapshot) -> BTreeMap<Socket, Vec<&Arc<Listener>>> {
    let mut sockets: BTreeMap<Socket, Vec<&Arc<Listener>>> = BTreeMap::new();
    let tcp = |listener: &&Arc<Listener>| listener.protocol.transport() == Transport::Tcp;
    for listener in snapshot.listeners.values().filter(tcp) {
        let addresses: BTreeSet<_> =
            listener.addresses.iter().map(|address| Some(address.to_canonical())).collect();
        let addresses = if addresses.is_empty() { BTreeSet::from([None]) } else { addresses };
        for address in addresses {
            sockets.entry((address, listener.port)).or_default().push(listener);
        }
    }
    sockets
}

/// The addresses that clients reach a socket at through a device.
pub(super) fn concrete(socket: Socket, all: &BTreeSet<Socket>, facts: &Facts) -> Vec<IpAddr> {
    let (address, port) = socket;
    let ours = facts.addresses.iter().map(|address| address.to_canonical());
    let addresses: Vec<IpAddr> = match address {
        Some(address) => vec![address],
        None => ours.filter(|address| !all.contains(&(Some(*address), port))).collect(),
    };
    addresses.into_iter().filter(|address| !address.is_loopback() && !address.is_unspecified()).collect()
}
