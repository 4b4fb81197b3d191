//! The kernel programs from load to detach.

use std::{error::Error, io, path::Path};

use aya::{Ebpf, EbpfLoader, programs::SchedClassifier};
use tracing::{info, warn};
use wire::{ListenerCounters, Metrics};

use crate::{
    AttachError, Attachment, DetachError, Hook, ListenerAddress, MapError, Mechanism, Options, PinError,
    StartError,
    attach::{self, Attached, DetachOne},
    capabilities::Effective,
    interfaces::{self, Interface},
    maps::{self, Maps},
    object::{self, TC_PROGRAM},
    pins::{self, PinFolder},
};

/// The running kernel programs.
///
/// Dropped, it leaves everything attached and counting, as a crash would; the next [`Datapath::start`] takes over.
/// [`Datapath::detach`] removes everything.
pub struct Datapath {
    maps: Maps,
    attachments: Vec<Attachment>,
    pins: PinFolder,
}

impl Datapath {
    /// Loads the programs, creates or adopts the pinned maps, attaches to the interfaces.
    ///
    /// A start that fails leaves nothing behind that it made itself.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is missing and what to do about it.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        match options.hook {
            Hook::Auto | Hook::Tc => {}
            Hook::Xdp => return Err(StartError::XdpNotOffered),
            Hook::Off => return Err(StartError::SwitchedOff),
        }
        let object = object::object().ok_or(StartError::NotBuilt)?;
        if let Some(missing) = Effective::current().missing_to_attach() {
            return Err(StartError::Privilege { missing });
        }
        let interfaces = interfaces::choose(&options.interfaces)?;
        let pins = PinFolder::open(&options.pin_root)?;
        maps::check_pins(&pins)?;

        raise_memory_limit();
        let mut ebpf = load(object, &pins)?;
        let maps = Maps::take(&mut ebpf)?;
        let program = program(&mut ebpf)?;
        program.load().map_err(|error| load_error(error.into()))?;

        // Where the operator named interfaces each must work; of all that are up, those that can.
        let strict = !options.interfaces.is_empty();
        let attachments = attach_all(program, &interfaces, &pins, options.tcx, strict)?;
        pin_program(program, &pins)?;
        Ok(Self { maps, attachments, pins })
    }

    /// Makes the kernel count exactly these listeners; what stays keeps its counters.
    ///
    /// # Errors
    ///
    /// [`MapError::Full`] when there are more than [`wire::LISTENERS_MAX`]; as many as fit are counted.
    pub fn set_listeners(&mut self, listeners: &[ListenerAddress]) -> Result<(), MapError> {
        self.maps.set_listeners(listeners)
    }

    /// The six counters, summed over CPUs, since the maps were first pinned.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn metrics(&self) -> Result<Metrics, MapError> {
        self.maps.metrics()
    }

    /// Packets and connections per listener, summed over CPUs, ordered by address and port.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn listener_counters(&self) -> Result<Vec<(ListenerAddress, ListenerCounters)>, MapError> {
        self.maps.listener_counters()
    }

    /// Where the programs are attached, and how.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Detaches from every interface and removes the pins.
    ///
    /// # Errors
    ///
    /// The first thing that could not be removed; the rest was tried all the same.
    pub fn detach(self) -> Result<(), DetachError> {
        let mut result = Ok(());
        for attachment in &self.attachments {
            result = result.and(detach_one(attachment));
        }
        result.and(self.pins.remove().map_err(DetachError::Pin))
    }

    /// Leaves everything attached for the next start to take over.
    pub fn keep(self) {
        drop(self);
    }
}

/// Removes every attachment and pin under `pin_root`, of any layout version, left by an agent that no longer runs.
///
/// # Errors
///
/// [`PinError::Busy`] while an agent runs: stop that one instead.
pub fn detach_all(pin_root: &Path) -> Result<Vec<Attachment>, DetachError> {
    let mut removed: Vec<Attachment> = pins::remove_all(pin_root)?
        .into_iter()
        .map(|(interface, pin)| Attachment { interface, mechanism: Mechanism::Tcx, pin: Some(pin) })
        .collect();
    for Interface { name: interface, .. } in interfaces::list().map_err(DetachError::Interfaces)? {
        match attach::detach_clsact(&interface) {
            Ok(true) => removed.push(Attachment { interface, mechanism: Mechanism::Clsact, pin: None }),
            Ok(false) => {}
            Err(source) => return Err(DetachError::Filter { interface, source: Box::new(source) }),
        }
    }
    Ok(removed)
}

fn load(object: &[u8], pins: &PinFolder) -> Result<Ebpf, StartError> {
    let mut loader = EbpfLoader::new();
    for name in maps::names() {
        loader.map_pin_path(name, pins.object(name));
    }
    loader.load(object).map_err(load_error)
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, StartError> {
    ebpf.program_mut(TC_PROGRAM)
        .and_then(|program| program.try_into().ok())
        .ok_or(StartError::Incomplete { name: TC_PROGRAM })
}

fn attach_all(
    program: &mut SchedClassifier,
    interfaces: &[Interface],
    pins: &PinFolder,
    tcx: bool,
    strict: bool,
) -> Result<Vec<Attachment>, StartError> {
    let mut done: Vec<Attached> = Vec::with_capacity(interfaces.len());
    let mut failure: Option<AttachError> = None;
    for interface in interfaces {
        match attach::attach(program, interface, pins, tcx) {
            Ok(attached) => {
                let Attachment { interface, mechanism, .. } = &attached.attachment;
                info!(%interface, %mechanism, adopted = !attached.is_new, "{TC_PROGRAM} attached");
                done.push(attached);
            }
            Err(error) if strict => {
                failure = Some(error);
                break;
            }
            Err(error) => {
                warn!(interface = interface.name, error = &error as &dyn Error, "not attached");
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        Some(error) if strict || done.is_empty() => {
            for attached in done.iter().filter(|attached| attached.is_new) {
                let _ = attach::detach(&attached.attachment);
            }
            Err(error.into())
        }
        _ => Ok(done.into_iter().map(|attached| attached.attachment).collect()),
    }
}

/// Pins the program in use under its whole name, in place of the one before.
fn pin_program(program: &mut SchedClassifier, pins: &PinFolder) -> Result<(), StartError> {
    let path = pins.object(TC_PROGRAM);
    pins::remove_pin(&path)?;
    program.pin(&path).map_err(|error| {
        let source = match error {
            aya::pin::PinError::SyscallError(error) => error.io_error,
            _ => io::ErrorKind::InvalidInput.into(),
        };
        StartError::Pin(PinError::Folder { path, source })
    })
}

fn detach_one(attachment: &Attachment) -> Result<(), DetachError> {
    attach::detach(attachment).map_err(|error| match error {
        DetachOne::Pin(error) => DetachError::Pin(error),
        DetachOne::Filter(source) => {
            DetachError::Filter { interface: attachment.interface.clone(), source: Box::new(source) }
        }
    })
}

/// EPERM is a refusal to try; EACCES, which std calls by the same name, is the verifier's verdict.
fn load_error(error: aya::EbpfError) -> StartError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    let refused = loop {
        let Some(this) = cause else { break false };
        if this.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(libc::EPERM)) {
            break true;
        }
        cause = this.source();
    };
    if refused {
        return StartError::Refused(Box::new(error));
    }
    StartError::Load(Box::new(error))
}

/// Before Linux 5.11 maps count against RLIMIT_MEMLOCK (commit "bpf: Eliminate rlimit-based memory accounting"); later
/// kernels ignore it. Without CAP_SYS_RESOURCE the limit stays, and small maps may still fit.
fn raise_memory_limit() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a plain system call reading a structure that outlives it.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}
