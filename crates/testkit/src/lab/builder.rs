use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use super::netns::Netns;
use super::{Lab, LabError, wiring};

/// Segmentation and checksum offloads of every interface in the lab (`ethtool -K`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums left to the device (which on veth means: not computed at all).
    pub tx: bool,
    /// Segmentation left to the device: packets of up to 64 KiB travel the wire.
    pub tso: bool,
    /// Segmentation late in the stack.
    pub gso: bool,
    /// Joining of segments on receipt.
    pub gro: bool,
}

impl Offloads {
    /// Everything on: what two pods on one machine have.
    pub const ON: Self = Self { tx: true, tso: true, gso: true, gro: true };
    /// Everything off: each packet fits the MTU and carries its checksum, as on a physical wire.
    pub const OFF: Self = Self { tx: false, tso: false, gso: false, gro: false };
}

/// Parameters of a [`Lab`].
#[derive(Clone, Debug)]
pub struct LabBuilder {
    backends: u8,
    clients: u8,
    mtu: u16,
    offloads: Option<Offloads>,
    name: Option<String>,
}

impl Default for LabBuilder {
    fn default() -> Self {
        Self { backends: 1, clients: 2, mtu: 1500, offloads: None, name: None }
    }
}

impl LabBuilder {
    /// This many endpoint namespaces (1 to 200).
    #[must_use]
    pub fn backends(mut self, count: u8) -> Self {
        self.backends = count.clamp(1, 200);
        self
    }

    /// The MTU of every interface, in bytes; at least 1280 (RFC 8200 section 5).
    #[must_use]
    pub fn mtu(mut self, bytes: u16) -> Self {
        self.mtu = bytes.max(1280);
        self
    }

    /// The offloads of every interface; the kernel's defaults (all but GRO) unless given.
    #[must_use]
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = Some(offloads);
        self
    }

    /// A lab that outlives this process, with namespaces called `rauta-NAME-gateway` and so on.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Makes the lab.
    ///
    /// # Errors
    /// [`LabError::NotRoot`]; [`LabError::Missing`] programs; what `ip` or `ethtool` complain of. Nothing is left behind.
    pub fn build(self) -> Result<Lab> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            return Err(LabError::NotRoot.into());
        }
        Lab::sweep()?;
        let prefix = match &self.name {
            Some(name) => format!("rauta-{name}"),
            None => format!("rauta-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)),
        };
        let made = self.make(&prefix);
        if made.is_err() {
            super::sweep::remove(&prefix)?;
        }
        made
    }

    fn make(&self, prefix: &str) -> Result<Lab> {
        let create = |role: String| Netns::create(&format!("{prefix}-{role}"));
        let lab = Lab {
            prefix: prefix.to_owned(),
            keep: self.name.is_some(),
            switch: create("switch".into())?,
            gateway: create("gateway".into())?,
            clients: (0..self.clients)
                .map(|index| {
                    create(if index == 0 { "client".into() } else { format!("client{}", index + 1) })
                })
                .collect::<Result<_>>()?,
            backends: (0..self.backends).map(|index| create(format!("b{index}"))).collect::<Result<_>>()?,
            folder: tempfile::Builder::new().prefix(&format!("{prefix}-")).tempdir()?,
        };
        wiring::connect(&lab, self.mtu)?;
        if let Some(offloads) = self.offloads {
            wiring::set_offloads(&lab, offloads)?;
        }
        Ok(lab)
    }
}
