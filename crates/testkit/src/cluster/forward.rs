//! Lets programs outside of a namespace reach a port on its loopback.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::Netns;

/// A port of our loopback whose connections go on to a port on the loopback of a namespace, until this is dropped.
#[derive(Debug)]
pub(super) struct Forward {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Forward {
    /// Begins, on a port that is free.
    pub(super) fn start(netns: &Netns, port: u16) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback")?;
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let (netns, stop) = (netns.clone(), Arc::clone(&ended));
        std::thread::Builder::new().name("forward".into()).spawn(move || {
            for downstream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(downstream) = downstream else { continue };
                // Refused there is closed here: the API server may be down on purpose.
                let upstream = netns.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
                if let Ok(Ok(upstream)) = upstream {
                    // A pair of which one clone fails is closed as it is dropped.
                    let _ = relay(downstream, upstream);
                }
            }
        })?;
        Ok(Self { address, ended })
    }

    /// Where to connect to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the accepting thread; when nobody listens any more there is nobody to wake.
        let _ = TcpStream::connect(self.address);
    }
}

/// Copies both ways, each on a thread of its own that ends with its direction.
fn relay(downstream: TcpStream, upstream: TcpStream) -> io::Result<()> {
    let pairs = [(downstream.try_clone()?, upstream.try_clone()?), (upstream, downstream)];
    for (mut from, mut to) in pairs {
        std::thread::Builder::new().name("relay".into()).spawn(move || {
            // A reset is an end like any other: the other side learns it below.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })?;
    }
    Ok(())
}
