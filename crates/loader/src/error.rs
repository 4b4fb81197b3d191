//! What can go wrong, in words that say what to do. One enum per operation.

use std::{io, path::PathBuf};

use aya::{EbpfError, programs::ProgramError};
use thiserror::Error;

use crate::MissingCapabilities;

/// The kernel programs could not be started; serving from userspace is unaffected.
#[derive(Debug, Error)]
pub enum StartError {
    /// By settings.
    #[error("kernel programs are switched off (dataplane.hook: off)")]
    SwitchedOff,
    /// The binary carries no object.
    #[error("built without the kernel programs: run ./x setup and build again")]
    NotBuilt,
    /// `dataplane.hook: xdp`.
    #[error("the XDP hook is not offered yet: set dataplane.hook to auto or tc")]
    XdpNotOffered,
    /// Capabilities.
    #[error(
        "loading kernel programs needs {missing}: run as root, or give the container or service those capabilities"
    )]
    Privilege {
        /// The missing capabilities.
        missing: MissingCapabilities,
    },
    /// The kernel refused in spite of the capabilities.
    #[error(
        "the kernel refuses bpf(2) here although the capabilities are there: a user namespace, seccomp profile or lockdown is in the way (`rauta doctor` shows more)"
    )]
    Refused(#[source] Box<EbpfError>),
    /// Pins.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The interfaces could not be listed.
    #[error("cannot list the network interfaces")]
    Interfaces(#[source] io::Error),
    /// Nothing to attach to.
    #[error(
        "no Ethernet interface is up, so there is nothing to attach to: bring one up, or name it in dataplane.interfaces"
    )]
    NoInterfaces,
    /// A named interface.
    #[error("interface {interface} does not exist in this network namespace: correct dataplane.interfaces")]
    UnknownInterface {
        /// Its name.
        interface: String,
    },
    /// A named interface without Ethernet headers.
    #[error(
        "interface {interface} carries no Ethernet frames, which the programs expect: remove it from dataplane.interfaces"
    )]
    NotEthernet {
        /// Its name.
        interface: String,
    },
    /// Loading.
    #[error("the kernel did not accept the programs (`rauta doctor` shows what this kernel lacks)")]
    Load(#[source] Box<EbpfError>),
    /// A program or map that should be in the object.
    #[error("the embedded object lacks {name}: rebuild from a clean checkout")]
    Incomplete {
        /// Of the program or map.
        name: &'static str,
    },
    /// Map access while starting.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Attaching.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// The pin folder cannot be used.
#[derive(Debug, Error)]
pub enum PinError {
    /// Not a bpf file system.
    #[error(
        "{path} is not on a bpf file system: mount one (`mount -t bpf bpf /sys/fs/bpf`) or set dataplane.pinRoot"
    )]
    NotBpffs {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Folder operations.
    #[error("cannot use the pin folder {path}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another user's folder.
    #[error("the pin folder {path} belongs to user {uid}, not to us: remove it, or set dataplane.pinRoot")]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Another process has the folder locked.
    #[error(
        "another agent uses the pin folder {path}: stop it, or set dataplane.pinRoot to a folder of its own"
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is not what we would have pinned.
    #[error("{path} is not ours ({what}): remove it, or set dataplane.pinRoot")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How it differs.
        what: &'static str,
    },
    /// Another version's pins, possibly attached.
    #[error(
        "{path} belongs to another version of rauta: run `rauta detach` of that version (or of this one) first"
    )]
    OtherLayout {
        /// The other version's folder.
        path: PathBuf,
    },
}

/// A program could not be attached to an interface.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The kernel's answer.
    #[error("cannot attach rauta_tc_ingress to {interface}")]
    Program {
        /// The interface.
        interface: String,
        /// Why.
        #[source]
        source: Box<ProgramError>,
    },
    /// The pinned link of that name serves elsewhere.
    #[error(
        "the pinned link {pin} is attached to another interface or network namespace: give each agent its own dataplane.pinRoot, \
         or run `rauta detach` where it was started"
    )]
    Elsewhere {
        /// The pinned link.
        pin: PathBuf,
    },
    /// Pinning.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// A map could not be read or written.
#[derive(Debug, Error)]
pub enum MapError {
    /// No room for another listener.
    #[error(
        "the kernel counts at most {} listeners; the rest are served but not counted",
        wire::LISTENERS_MAX
    )]
    Full,
    /// The kernel's answer.
    #[error("cannot access map {map}")]
    Access {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: aya::maps::MapError,
    },
}

/// Attachments could not be removed.
#[derive(Debug, Error)]
pub enum DetachError {
    /// Pins.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The interfaces could not be listed.
    #[error("cannot list the network interfaces")]
    Interfaces(#[source] io::Error),
    /// A clsact filter.
    #[error("cannot remove the filter from {interface} (CAP_NET_ADMIN needed)")]
    Filter {
        /// The interface.
        interface: String,
        /// Why.
        #[source]
        source: Box<aya::programs::tc::TcError>,
    },
}
