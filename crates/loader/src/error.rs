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
    /// `dataplane.xdpMode: hw`.
    #[error(
        "no network card runs these programs by itself: they call helpers that none offers. Set dataplane.xdpMode to auto, native or skb"
    )]
    HardwareXdp,
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
    /// The embedded object is not ELF.
    #[error("the embedded object cannot be read: rebuild from a clean checkout")]
    Object(#[source] object::Error),
    /// The embedded object is not one of programs and maps.
    #[error("the embedded object cannot be understood: rebuild from a clean checkout")]
    Parse(#[source] Box<aya_obj::ParseError>),
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
    /// Whoever wanted the programs wants them no more.
    #[error("loading was given up")]
    Abandoned,
}

/// The kernel programs count packets here, but cannot route requests.
#[derive(Debug, Error)]
pub enum RoutingError {
    /// No BTF.
    #[error(
        "this kernel has no type information (/sys/kernel/btf/vmlinux), so that its functions cannot be called: use one built \
         with CONFIG_DEBUG_INFO_BTF"
    )]
    NoTypeInformation,
    /// A kernel function.
    #[error(
        "this kernel lacks {name}, so that connections could not be handed to userspace: use Linux 6.9 or later"
    )]
    NoKernelFunction {
        /// Its name.
        name: &'static str,
    },
    /// Programs may preempt each other on one CPU.
    #[error(
        "this kernel is preemptible while it receives packets (PREEMPT_RT), and the programs share their memory on each CPU: use a \
         kernel without PREEMPT_RT, if the kernel tiers are wanted"
    )]
    Realtime,
    /// The object has no such map.
    #[error("the embedded object lacks map {name}: this build only counts packets")]
    Incomplete {
        /// Name of the map.
        name: &'static str,
    },
    /// The verifier, or a helper that this kernel lacks.
    #[error("this kernel does not accept the program that routes (`rauta doctor` shows what it lacks)")]
    Load(#[source] Box<EbpfError>),
}

/// A frame could not be sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// The object lacks the program.
    #[error("rauta_tc_send is not loaded: rebuild from a clean checkout")]
    NotLoaded,
    /// The kernel's answer to the test run that sends.
    #[error("cannot send a frame of {length} bytes through rauta_tc_send")]
    Run {
        /// Length of the frame.
        length: usize,
        /// Why.
        #[source]
        source: Box<ProgramError>,
    },
    /// The device's answer.
    #[error("device {device} did not take a frame (error {code}): it may be gone or down")]
    Device {
        /// Its index.
        device: u32,
        /// Negative errno.
        code: i32,
    },
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
    /// The kernel refuses the XDP program.
    #[error("cannot attach rauta_ingress to {interface}")]
    Early {
        /// Name of the interface.
        interface: String,
        /// Its answer.
        #[source]
        source: Box<ProgramError>,
    },
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
    /// A name that the object does not have.
    #[error("there is no map {map} in this build")]
    Unknown {
        /// The name.
        map: String,
    },
    /// A key or value of another length.
    #[error(
        "key or value of map {map} has another length than this build gives it: rebuild from a clean checkout"
    )]
    Shape {
        /// Its name.
        map: String,
    },
    /// A full map.
    #[error("map {map} is full at {entries} entries: what does not fit is served by userspace")]
    NoRoom {
        /// Its name.
        map: String,
        /// Its capacity.
        entries: u32,
    },
    /// The answer of bpf(2).
    #[error("cannot access map {map}")]
    Kernel {
        /// Its name.
        map: String,
        /// Why.
        #[source]
        source: io::Error,
    },
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

/// A dry run came to nothing; what runs is unaffected.
#[derive(Debug, Error)]
pub enum DryRunError {
    /// The second load.
    #[error("the programs cannot be loaded a second time")]
    Start(#[from] StartError),
    /// Map access.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The run itself.
    #[error("the kernel did not run the programs on a frame of {length} bytes")]
    Run {
        /// Of the frame.
        length: usize,
        /// Its answer.
        #[source]
        source: Box<ProgramError>,
    },
    /// An answer that no program gives.
    #[error("the programs answered {code}, which none of them does: this build is broken")]
    Verdict {
        /// The answer.
        code: u32,
    },
    /// Client and listener.
    #[error("one is an IPv4 address and one an IPv6 address")]
    Families,
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
